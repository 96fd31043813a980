/**
 * Dense product C[M, N] = (or +=) A · B of packed f32 factors: A in panels of 4 rows, B in panels of 8 columns.
 *
 * A 4x8 tile of C stays in eight vectors while k runs. Sums over k are blocked by 256 and the blocks added in order, so
 * that a value of C has the same bits wherever the work is split and in whatever order blocks are visited.
 *
 * Blocking after Goto and van de Geijn (2008), for a wide second-level cache: a block of A (up to 512 KiB) stays there
 * while the panels of B pass by one after the other, each read once and in the order of its addresses; the prefetcher
 * follows that, and does not follow the 8 KiB pieces of an order by blocks of k. Ladder:
 * `gemm-trials.ts`.
 */

import type { EmitOptions, Kernel } from "../kernel.ts";
import {
  block,
  br,
  brIf,
  type Expr,
  type FunctionScope,
  f32x4,
  forRange,
  i32,
  type Local,
  label,
  loop,
  ModuleBuilder,
  madd,
  type Stmt,
  select,
  seq,
  v128,
  when,
  whileLoop,
} from "../wasm/asm.ts";
import { type GemmBuild, TILE_COLUMNS, TILE_ROWS } from "./gemm-build.ts";
import { gemmLadder, gemmTrial } from "./gemm-trials.ts";

export { TILE_COLUMNS, TILE_ROWS };

const K_BLOCK = 256;
const BLOCK_PANELS = { wide: 64 / TILE_ROWS, narrow: 32 / TILE_ROWS } as const;
/** Steps after which the next panel of B is taken up. */
const K_CHUNK = 4096;
/** Up to so many steps 64 rows of A stay in L2 meanwhile (512 KiB), beyond 32. */
const WIDE_BLOCK = 2048;
const UNROLL = 4;
const ZERO = v128.const32(0, 0, 0, 0);

const { add, mul, lt, le, ge, gt, sub } = i32;
const n = i32.const;

/**
 * acc[r][j] = sum over kb steps. Each step ends with an exit from the loop: it serves any kb, and it makes V8 11 finish
 * the step's sums there. Without it the loads of all unrolled steps come first and the tile spills.
 */
function tileSums(
  fused: boolean,
  build: GemmBuild,
  acc: readonly (readonly Local<"v128">[])[],
  a: Local<"i32">,
  b: Local<"i32">,
  left: Local<"i32">,
  b0: Local<"v128">,
  b1: Local<"v128">,
  av: Local<"v128">,
): Stmt {
  const done = label("done");
  const again = label("again");
  const step = (i: number): Stmt =>
    seq(
      b0.set(v128.load(b, i * 32)),
      b1.set(v128.load(b, i * 32 + 16)),
      ...acc.flatMap(([c0, c1], r) => [
        av.set(v128.load32splat(a, i * 16 + r * 4)),
        c0.set(madd(fused, av, b0, c0)),
        c1.set(madd(fused, av, b1, c1)),
      ]),
      ...(build.exits ? [brIf(done, i32.eqz(left.tee(sub(left, n(1)))))] : []),
    );
  const { unroll } = build;
  const turn = (steps: number): Stmt =>
    seq(
      ...Array.from({ length: steps }, (_, i) => step(i)),
      a.set(add(a, n(steps * 16))),
      b.set(add(b, n(steps * 32))),
    );
  if (!build.exits) {
    const left0 = (steps: number): Stmt => left.set(sub(left, n(steps)));
    return seq(
      whileLoop(ge(left, n(unroll)), turn(unroll), left0(unroll)),
      ...(unroll > 1 ? [whileLoop(gt(left, n(0)), turn(1), left0(1))] : []),
    );
  }
  return block(done, brIf(done, i32.eqz(left)), loop(again, turn(unroll), br(again)));
}

const BUILD: GemmBuild = { unroll: UNROLL, exits: true, chunk: K_CHUNK };

const tileParams = { a: "i32", b: "i32", steps: "i32", c: "i32", ldc: "i32", onto: "i32" } as const;

interface Tile {
  readonly acc: readonly (readonly Local<"v128">[])[];
  /** a vector that is free between the sums */
  readonly spare: Local<"v128">;
  readonly c: Local<"i32">;
  readonly onto: Local<"i32">;
}

/** The sums of `steps` steps in blocks of `K_BLOCK`, each written by `write` and then added to; `c` is moved by it. */
function tileBody(
  fused: boolean,
  build: GemmBuild,
  { p, local, locals }: FunctionScope<typeof tileParams, "void">,
  write: (t: Tile) => Stmt,
): Stmt {
  const acc = Array.from({ length: TILE_ROWS }, () => locals("v128", 2));
  const [b0, b1, av] = locals("v128", 3);
  const [left, c] = locals("i32", 2);
  const onto = local("i32");
  const again = label("blocks");
  return seq(
    onto.set(p.onto),
    loop(
      again,
      left.set(select(p.steps, n(K_BLOCK), le(p.steps, n(K_BLOCK)))),
      p.steps.set(sub(p.steps, left)),
      ...acc.flat().map((v) => v.set(ZERO)),
      tileSums(fused, build, acc, p.a, p.b, left, b0, b1, av),
      c.set(p.c),
      write({ acc, spare: b0, c, onto }),
      onto.set(n(1)),
      // Full blocks leave the loop at the end of its last turn, before the pointers move.
      ...(build.exits ? [p.a.set(add(p.a, n(build.unroll * 16))), p.b.set(add(p.b, n(build.unroll * 32)))] : []),
      brIf(again, gt(p.steps, n(0))),
    ),
  );
}

function emitFullTile(m: ModuleBuilder, fused: boolean, build: GemmBuild) {
  return m.func(
    "tile",
    tileParams,
    (scope) =>
      tileBody(fused, build, scope, ({ acc, c, onto }) => {
        const rows = (put: (r: number) => Stmt): Stmt =>
          seq(...acc.map((_, r) => seq(put(r), ...(r < TILE_ROWS - 1 ? [c.set(add(c, scope.p.ldc))] : []))));
        return when(
          onto,
          rows((r) =>
            seq(
              v128.store(c, f32x4.add(v128.load(c), acc[r][0])),
              v128.store(c, f32x4.add(v128.load(c, 16), acc[r][1]), 16),
            ),
          ),
          rows((r) => seq(v128.store(c, acc[r][0]), v128.store(c, acc[r][1], 16))),
        );
      }),
    "void",
    false,
  );
}

/** The same tile where C ends inside of it: rows and columns beyond are computed from the padding but not written. */
function emitEdgeTile(m: ModuleBuilder, fused: boolean, build: GemmBuild) {
  return m.func(
    "edge",
    { ...tileParams, rows: "i32", columns: "i32" },
    (scope) =>
      tileBody(fused, build, scope, ({ acc, spare, c, onto }) => {
        const { rows, columns, ldc } = scope.p;
        const old = (r: number, j: number): Stmt => acc[r][j].set(f32x4.add(v128.load(c, 16 * j), acc[r][j]));
        const lane = (r: number, j: number, l: number): Stmt => {
          const at = 16 * j + 4 * l;
          return when(
            gt(columns, n(4 * j + l)),
            seq(
              // The loaded lane is added to lane 0's copy of the sum, so that the sum is one f32 addition as in a full tile.
              spare.set(v128.shuffle32(acc[r][j], acc[r][j], [l, l, l, l])),
              when(onto, spare.set(f32x4.add(v128.load32zero(c, at), spare))),
              v128.store32(c, spare, at),
            ),
          );
        };
        const half = (r: number, j: number): Stmt =>
          when(
            ge(columns, n(4 * j + 4)),
            seq(when(onto, old(r, j)), v128.store(c, acc[r][j], 16 * j)),
            seq(...[0, 1, 2].map((l) => lane(r, j, l))),
          );
        return seq(...acc.map((_, r) => when(gt(rows, n(r)), seq(half(r, 0), half(r, 1), c.set(add(c, ldc))))));
      }),
    "void",
    false,
  );
}

const shape = { a: "i32", b: "i32", c: "i32", ldc: "i32", m: "i32", n: "i32", k: "i32", onto: "i32" } as const;

function emitGemm(m: ModuleBuilder, fused: boolean, build: GemmBuild): void {
  const tile = emitFullTile(m, fused, build);
  const edge = emitEdgeTile(m, fused, build);
  const blockOf = m.func(
    "block",
    { ...shape, rowFrom: "i32", rowTo: "i32", columnFrom: "i32", columnTo: "i32" },
    ({ p, locals }) => {
      const [i0, i1, i, j, kc, kb, pa, pb, pc] = locals("i32", 9);
      const [rows, columns, onto, aPanel, bPanel, ldcBytes] = locals("i32", 6);
      const upTo = (value: Expr<"i32">, most: Expr<"i32">): Expr<"i32"> => select(value, most, le(value, most));
      const rowsAtOnce = select(n(BLOCK_PANELS.wide), n(BLOCK_PANELS.narrow), le(p.k, n(WIDE_BLOCK)));
      const chunks = label("chunks");
      const tiles = forRange(
        i,
        i0,
        i1,
        1,
        rows.set(sub(p.m, mul(i, n(TILE_ROWS)))),
        when(
          i32.and(ge(rows, n(TILE_ROWS)), ge(columns, n(TILE_COLUMNS))),
          tile.call(pa, pb, kb, pc, ldcBytes, onto),
          edge.call(pa, pb, kb, pc, ldcBytes, onto, rows, columns),
        ),
        pa.set(add(pa, aPanel)),
        pc.set(add(pc, mul(ldcBytes, n(TILE_ROWS)))),
      );
      const panels = forRange(
        j,
        p.columnFrom,
        p.columnTo,
        1,
        columns.set(sub(p.n, mul(j, n(TILE_COLUMNS)))),
        pa.set(add(p.a, add(mul(i0, aPanel), mul(kc, n(4 * TILE_ROWS))))),
        pb.set(add(p.b, add(mul(j, bPanel), mul(kc, n(4 * TILE_COLUMNS))))),
        pc.set(add(p.c, add(mul(mul(i0, n(TILE_ROWS)), ldcBytes), mul(j, n(4 * TILE_COLUMNS))))),
        tiles,
      );
      return [
        aPanel.set(mul(p.k, n(4 * TILE_ROWS))),
        bPanel.set(mul(p.k, n(4 * TILE_COLUMNS))),
        ldcBytes.set(mul(p.ldc, n(4))),
        i0.set(p.rowFrom),
        whileLoop(
          lt(i0, p.rowTo),
          i1.set(upTo(add(i0, rowsAtOnce), p.rowTo)),
          kc.set(n(0)),
          onto.set(p.onto),
          // Once at least, since an empty sum is written, too.
          loop(
            chunks,
            kb.set(upTo(sub(p.k, kc), n(build.chunk))),
            panels,
            onto.set(n(1)),
            kc.set(add(kc, kb)),
            brIf(chunks, lt(kc, p.k)),
          ),
          i0.set(i1),
        ),
      ];
    },
    "void",
    false,
  );
  const upTo = (count: Expr<"i32">, width: number): Expr<"i32"> => i32.divu(add(count, n(width - 1)), n(width));
  m.func("rows", { ...shape, from: "i32", to: "i32" }, ({ p }) =>
    blockOf.call(p.a, p.b, p.c, p.ldc, p.m, p.n, p.k, p.onto, p.from, p.to, n(0), upTo(p.n, TILE_COLUMNS)),
  );
  m.func("columns", { ...shape, from: "i32", to: "i32" }, ({ p }) =>
    blockOf.call(p.a, p.b, p.c, p.ldc, p.m, p.n, p.k, p.onto, n(0), upTo(p.m, TILE_ROWS), p.from, p.to),
  );
}

const params = ["a", "b", "c", "ldc", "m", "n", "k", "onto", "from", "to"];
const does = (unit: string): string =>
  "C[m, n] = A[m, k] · B[k, n], plus the old C where onto is 1; A packed by panels4, B by panels8; ldc is C's row " +
  `stride in elements; from, to: ${unit}`;

function emit({ shared, fused }: EmitOptions, build: GemmBuild = BUILD): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  emitGemm(m, fused, build);
  return m.bytes();
}

export const gemmF32: Kernel = {
  name: "gemm-f32-4x8",
  family: "dense",
  summary: "Dense f32 product of packed factors, 4x8 tile, k in blocks of 256",
  functions: {
    rows: { params, does: does("panels of 4 rows") },
    columns: { params, does: does("panels of 8 columns") },
  },
  emit,
  trials: [
    { name: "small shapes", run: gemmTrial(21, 11) },
    { name: "several k blocks", run: gemmTrial(9, 530) },
    { name: "several row blocks", run: gemmTrial(140, 5) },
    { name: "several chunks of k", run: gemmTrial(5, K_CHUNK + 300) },
  ],
  ladder: () => gemmLadder(emit),
};
