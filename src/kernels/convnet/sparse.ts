/**
 * Sparse 1x1 convolutions over planes (Fast Sparse ConvNets, Elsen et al. 2020): one weight, or a block of 2 or 4
 * outputs that share an input, times vectors of pixels.
 *
 * A tile of `block` outputs x `vectors` vectors stays in registers while the entries of the group stream by; it begins
 * with the bias and ends with the activation and, where wanted, the sum with a residual. Pixels need no remainder, since
 * planes have room behind the last one. Each entry ends with an exit from the loop, see dense/gemm.ts.
 */
import type { EmitOptions, Kernel } from "../kernel.ts";
import {
  block as blockOf,
  brIf,
  type Expr,
  type FnRef,
  f32x4,
  forRange,
  i32,
  label,
  loop,
  ModuleBuilder,
  madd,
  type Stmt,
  seq,
  v128,
  when,
  whileLoop,
} from "../wasm/asm.ts";
import { add, at, bounds, c, clamped, lt, min, mul, params, range, shl, sub } from "./planes.ts";
import { sparseTrials } from "./sparse-trials.ts";
import { type Block, entryBytes, MOST_VECTORS } from "./stream.ts";

const TILE = [
  "words",
  "starts",
  "bias",
  "x",
  "y",
  "residual",
  "yBytes",
  "out",
  "lo",
  "hi",
  "groupFrom",
  "groupTo",
] as const;
const GIVEN = [
  "words",
  "starts",
  "bias",
  "x",
  "y",
  "residual",
  "yPlane",
  "out",
  "pixels",
  "vectors",
  "lo",
  "hi",
] as const;
const COLUMNS = [...GIVEN, "from", "to"] as const;
const ROWS = [...GIVEN, "cuts", "from", "to"] as const;

const UNROLL = 4;
function addTile(m: ModuleBuilder, block: Block, vectors: number, fused: boolean): FnRef<"void"> {
  return m.func(
    `tile${vectors}`,
    params(TILE),
    (f) => {
      const { words, starts, bias, x, y, residual, yBytes, out, groupFrom, groupTo } = f.p;
      const { low, high, set } = bounds(f, f.p.lo, f.p.hi);
      const [g, s, end, input, b, target, extra, left] = f.locals("i32", 8);
      const exits = f.locals("i32", UNROLL);
      const acc = range(block).map(() => f.locals("v128", vectors));
      const xs = f.locals("v128", block === 1 ? 1 : vectors);
      const w = f.local("v128");
      const done = label("group");
      const again = label("entries");
      const bytes = entryBytes(block);
      const step = (q: number): Stmt[] => {
        const weight = (r: number): Stmt => w.set(v128.load32splat(s, bytes * q + 4 + 4 * r));
        return [
          input.set(add(x, i32.load(s, bytes * q))),
          ...(block === 1
            ? [weight(0), ...acc[0].map((a, v) => a.set(madd(fused, w, v128.load(input, 16 * v), a)))]
            : [
                ...xs.map((v, i) => v.set(v128.load(input, 16 * i))),
                ...acc.flatMap((row, r) => [weight(r), ...row.map((a, v) => a.set(madd(fused, w, xs[v], a)))]),
              ]),
          brIf(done, i32.eq(s, exits[q])),
        ];
      };
      const store = (r: number): Stmt => {
        const sums = acc[r].map((a): Expr<"v128"> => clamped(a, low, high));
        return seq(
          when(
            residual,
            seq(...sums.map((sum, v) => v128.store(target, f32x4.add(sum, v128.load(extra, 16 * v)), 16 * v))),
            seq(...sums.map((sum, v) => v128.store(target, sum, 16 * v))),
          ),
          target.set(add(target, yBytes)),
          extra.set(add(extra, yBytes)),
        );
      };
      return [
        set,
        end.set(add(words, i32.load(at(starts, groupFrom, 2)))),
        b.set(at(bias, mul(groupFrom, c(block)), 2)),
        target.set(add(y, mul(mul(groupFrom, c(block)), yBytes))),
        extra.set(add(residual, mul(mul(groupFrom, c(block)), yBytes))),
        left.set(sub(out, mul(groupFrom, c(block)))),
        forRange(
          g,
          groupFrom,
          groupTo,
          1,
          s.set(end),
          end.set(add(words, i32.load(at(starts, g, 2), 4))),
          ...exits.map((e, q) => e.set(sub(end, c(bytes * (q + 1))))),
          ...acc.flatMap((row, r) => [w.set(v128.load32splat(b, 4 * r)), ...row.map((a) => a.set(w))]),
          blockOf(
            done,
            brIf(done, i32.eq(s, end)),
            loop(again, ...range(UNROLL).flatMap(step), s.set(add(s, c(bytes * UNROLL))), brIf(again, c(1))),
          ),
          store(0),
          ...range(block - 1).map((r) => when(i32.gt(left, c(r + 1)), store(r + 1))),
          b.set(add(b, c(4 * block))),
          left.set(sub(left, c(block))),
        ),
      ];
    },
    "void",
    false,
  );
}

function emit(block: Block, { shared, fused }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  const tiles = range(MOST_VECTORS[block]).map((i) => addTile(m, block, i + 1, fused));
  // One column tile: at most `vectors` vectors, from pixel `pixel` on.
  const one = m.func(
    "one",
    params([...GIVEN, "pixel", "groupFrom", "groupTo"]),
    (f) => {
      const { words, starts, bias, x, y, residual, yPlane, out, pixels, vectors, pixel, lo, hi } = f.p;
      const [count, bytes] = f.locals("i32", 2);
      const run = (tile: FnRef<"void">): Stmt =>
        tile.call(
          ...[words, starts, bias, add(x, bytes), add(y, bytes)],
          i32.mul(add(residual, bytes), i32.ne(residual, c(0))),
          ...[shl(yPlane, c(2)), out, lo, hi, f.p.groupFrom, f.p.groupTo],
        );
      const choose = (i: number): Stmt =>
        i === 0 ? run(tiles[0]) : when(i32.gt(count, c(i)), run(tiles[i]), choose(i - 1));
      return [
        bytes.set(shl(pixel, c(2))),
        count.set(min(vectors, i32.shru(add(sub(pixels, pixel), c(3)), c(2)))),
        choose(tiles.length - 1),
      ];
    },
    "void",
    false,
  );
  const given = (f: { p: Record<(typeof GIVEN)[number], Expr> }): Expr[] => GIVEN.map((name) => f.p[name]);
  m.func("columns", params(COLUMNS), (f) => {
    const [t, groups] = f.locals("i32", 2);
    return [
      groups.set(i32.divs(add(f.p.out, c(block - 1)), c(block))),
      forRange(t, f.p.from, f.p.to, 1, one.call(...given(f), mul(t, shl(f.p.vectors, c(2))), c(0), groups)),
    ];
  });
  m.func("rows", params(ROWS), (f) => {
    const { cuts, from, to, vectors, pixels } = f.p;
    const pixel = f.local("i32");
    const cut = (i: Expr<"i32">): Expr<"i32"> => i32.load(at(cuts, i, 2));
    return whileLoop(
      lt(pixel, pixels),
      one.call(...given(f), pixel, cut(from), cut(to)),
      pixel.set(add(pixel, shl(vectors, c(2)))),
    );
  });
  return m.bytes();
}

const TITLE = { 1: "single weights", 2: "blocks of 2 outputs", 4: "blocks of 4 outputs" } as const;
const NAME = { 1: "csr", 2: "block2x1", 4: "block4x1" } as const;

const does = (unit: string): string =>
  "y = min(max(w * x + bias, lo), hi) + residual, where that is not 0; words, starts: see planeStream; bias padded to " +
  "whole blocks; y and residual [out][yPlane]; tiles of `vectors` vectors of 4 pixels; may write up to 3 floats behind " +
  `the last pixel of a plane; from, to: ${unit}`;

const sparse1x1 = (block: Block): Kernel => ({
  name: `conv1x1-f32-planes-${NAME[block]}`,
  family: "convnet",
  summary: `1x1 convolution of planes by ${TITLE[block]}, with bias, activation and residual`,
  functions: {
    columns: { params: COLUMNS, does: does("tiles of pixels") },
    rows: { params: ROWS, does: does("all pixels for the groups cuts[from]..cuts[to]") },
  },
  emit: (options) => emit(block, options),
  trials: sparseTrials(block),
});

export const conv1x1Csr = sparse1x1(1);
export const conv1x1Block2 = sparse1x1(2);
export const conv1x1Block4 = sparse1x1(4);

export const CONV1X1: Readonly<Record<Block, Kernel>> = { 1: conv1x1Csr, 2: conv1x1Block2, 4: conv1x1Block4 };
