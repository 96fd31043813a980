/**
 * Sparse 1x1 convolutions over planes (Fast Sparse ConvNets, Elsen et al. 2020): one weight, or a block of 2 or 4
 * outputs that share an input, times vectors of pixels.
 *
 * A tile of `block` outputs x `vectors` vectors stays in registers while the entries of the group stream by; it begins
 * with the bias and ends with the activation and, where wanted, the sum with a residual. Pixels need no remainder, since
 * planes have room behind the last one. A group computes a strip of tiles before the next group does.
 *
 * Ladder, one thread, GFLOP/s of work done at 90 %, 64 outputs x 32 inputs x 12,544 pixels / 256 x 256 x 784 (Zen 4,
 * V8 11; dense 45 / 49): CSR, tiles of 4 vectors, one by one 16 / 29; planes of an even number of cache lines 15 / 27;
 * 6 vectors 19 / 31; strips 24 / 33. Blocks of 2 one by one 23 / 42, strips 29 / 44; of 4 22 / 40, strips 27 / 41.
 * Panels [pixels / 16][channels][16] instead of planes gain 1.3 times at 12,544 pixels tile by tile, which strips gain
 * too, and nothing below.
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
import { add, at, bounds, c, clamped, exitsTo, lt, min, mul, params, range, shl, sub } from "./planes.ts";
import { sparseTrials } from "./sparse-trials.ts";
import { type Block, entryBytes, MOST_VECTORS } from "./stream.ts";

const STRIP = [
  "words",
  "starts",
  "bias",
  "x",
  "y",
  "residual",
  "yBytes",
  "out",
  "tiles",
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
  "strip",
  "lo",
  "hi",
] as const;
const COLUMNS = [...GIVEN, "from", "to"] as const;
const ROWS = [...GIVEN, "cuts", "from", "to"] as const;

const UNROLL = 4;
/** Vectors of a tile of single weights that fit into registers beside what is being loaded. */
const VECTORS_AT_ONCE = 6;

/** `tiles` tiles of `vectors` vectors from x and y on, for the groups groupFrom..groupTo. */
function addStrip(m: ModuleBuilder, block: Block, vectors: number, fused: boolean): FnRef<"void"> {
  return m.func(
    `strip${vectors}`,
    params(STRIP),
    (f) => {
      const { words, starts, bias, x, y, residual, yBytes, out, tiles, groupFrom, groupTo } = f.p;
      const { low, high, set } = bounds(f, f.p.lo, f.p.hi);
      const [g, s, begin, end, input, b, target, extra, left, entries, tile, tileEnd] = f.locals("i32", 12);
      const acc = range(block).map(() => f.locals("v128", vectors));
      const xs = f.locals("v128", block === 1 ? 0 : vectors);
      const w = f.local("v128");
      const done = label("group");
      const again = label("entries");
      const exit = exitsTo(done, words);
      const bytes = entryBytes(block);
      const weight = (q: number, r: number): Stmt => w.set(v128.load32splat(s, bytes * q + 4 + 4 * r));
      const step = (q: number): Stmt[] => [
        input.set(add(add(x, tile), i32.load(s, bytes * q))),
        ...(block === 1
          ? [
              weight(q, 0),
              ...acc[0].flatMap((a, v) => [
                a.set(madd(fused, w, v128.load(input, 16 * v), a)),
                ...(vectors > VECTORS_AT_ONCE && v === 3 ? [exit()] : []),
              ]),
            ]
          : [
              ...xs.map((v, i) => v.set(v128.load(input, 16 * i))),
              ...acc.flatMap((row, r) => [weight(q, r), ...row.map((a, v) => a.set(madd(fused, w, xs[v], a)))]),
            ]),
        brIf(done, i32.eqz(left.tee(sub(left, c(1))))),
      ];
      /** Row r of the group, at `target`. */
      const store = (r: number): Stmt => {
        const sums = acc[r].map((a): Expr<"v128"> => clamped(a, low, high));
        return seq(
          when(
            residual,
            seq(...sums.map((sum, v) => v128.store(target, f32x4.add(sum, v128.load(extra, 16 * v)), 16 * v))),
            seq(...sums.map((sum, v) => v128.store(target, sum, 16 * v))),
          ),
          ...(r + 1 < block ? [target.set(add(target, yBytes)), extra.set(add(extra, yBytes))] : []),
        );
      };
      const outputs = sub(out, mul(g, c(block)));
      const row = mul(mul(g, c(block)), yBytes);
      return [
        set,
        end.set(add(words, i32.load(at(starts, groupFrom, 2)))),
        b.set(at(bias, mul(groupFrom, c(block)), 2)),
        tileEnd.set(mul(tiles, c(16 * vectors))),
        forRange(
          g,
          groupFrom,
          groupTo,
          1,
          begin.set(end),
          end.set(add(words, i32.load(at(starts, g, 2), 4))),
          entries.set(i32.divu(sub(end, begin), c(bytes))),
          forRange(
            tile,
            c(0),
            tileEnd,
            16 * vectors,
            s.set(begin),
            left.set(entries),
            ...acc.flatMap((sums, r) => [w.set(v128.load32splat(b, 4 * r)), ...sums.map((a) => a.set(w))]),
            blockOf(
              done,
              brIf(done, i32.eqz(left)),
              loop(again, ...range(UNROLL).flatMap(step), s.set(add(s, c(bytes * UNROLL))), brIf(again, c(1))),
            ),
            target.set(add(add(y, tile), row)),
            extra.set(add(add(residual, tile), row)),
            store(0),
            ...range(block - 1).map((r) => when(i32.gt(outputs, c(r + 1)), store(r + 1))),
          ),
          b.set(add(b, c(4 * block))),
        ),
      ];
    },
    "void",
    false,
  );
}

function emit(block: Block, { shared, fused }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  const strips = range(MOST_VECTORS[block]).map((i) => addStrip(m, block, i + 1, fused));
  // `tiles` tiles of `count` vectors from pixel `pixel` on.
  const one = m.func(
    "one",
    params([...GIVEN, "pixel", "count", "tiles", "groupFrom", "groupTo"]),
    (f) => {
      const { words, starts, bias, x, y, residual, yPlane, out, pixel, count, tiles, lo, hi } = f.p;
      const bytes = f.local("i32");
      const run = (strip: FnRef<"void">): Stmt =>
        strip.call(
          ...[words, starts, bias, add(x, bytes), add(y, bytes)],
          mul(add(residual, bytes), i32.ne(residual, c(0))),
          ...[shl(yPlane, c(2)), out, tiles, lo, hi, f.p.groupFrom, f.p.groupTo],
        );
      const choose = (i: number): Stmt =>
        i === 0 ? run(strips[0]) : when(i32.gt(count, c(i)), run(strips[i]), choose(i - 1));
      return [bytes.set(shl(pixel, c(2))), choose(strips.length - 1)];
    },
    "void",
    false,
  );
  // The tiles from..to: strips of whole tiles, then the narrow one at the end of the image.
  const span = m.func(
    "span",
    params([...GIVEN, "from", "to", "groupFrom", "groupTo"]),
    (f) => {
      const { pixels, vectors, strip, from, to, groupFrom, groupTo } = f.p;
      const [t, whole, count] = f.locals("i32", 3);
      const given = GIVEN.map((name) => f.p[name]);
      const pixel = mul(t, shl(vectors, c(2)));
      return [
        t.set(from),
        whole.set(min(to, i32.divu(i32.shru(add(pixels, c(3)), c(2)), vectors))),
        whileLoop(
          lt(t, whole),
          count.set(min(strip, sub(whole, t))),
          one.call(...given, pixel, vectors, count, groupFrom, groupTo),
          t.set(add(t, count)),
        ),
        when(
          lt(t, to),
          one.call(...given, pixel, i32.shru(add(sub(pixels, pixel), c(3)), c(2)), c(1), groupFrom, groupTo),
        ),
      ];
    },
    "void",
    false,
  );
  const upTo = (count: Expr<"i32">, each: Expr<"i32">): Expr<"i32"> => i32.divu(sub(add(count, each), c(1)), each);
  m.func("columns", params(COLUMNS), (f) =>
    span.call(...GIVEN.map((name) => f.p[name]), f.p.from, f.p.to, c(0), upTo(f.p.out, c(block))),
  );
  m.func("rows", params(ROWS), (f) => {
    const cut = (i: Expr<"i32">): Expr<"i32"> => i32.load(at(f.p.cuts, i, 2));
    const tiles = upTo(f.p.pixels, shl(f.p.vectors, c(2)));
    return span.call(...GIVEN.map((name) => f.p[name]), c(0), tiles, cut(f.p.from), cut(f.p.to));
  });
  return m.bytes();
}

const TITLE = { 1: "single weights", 2: "blocks of 2 outputs", 4: "blocks of 4 outputs" } as const;
const NAME = { 1: "csr", 2: "block2x1", 4: "block4x1" } as const;

const does = (unit: string): string =>
  "y = min(max(w * x + bias, lo), hi) + residual, where that is not 0; words, starts: see planeStream; bias padded to " +
  "whole blocks; y and residual [out][yPlane]; tiles of `vectors` vectors of 4 pixels, `strip` of them a group; may " +
  `write up to 3 floats behind the last pixel of a plane; from, to: ${unit}`;

const sparse1x1 = (block: Block): Kernel => ({
  name: `conv1x1-f32-planes-${NAME[block]}`,
  family: "convnet",
  summary: `1x1 convolution of planes by ${TITLE[block]}, with bias, activation and residual`,
  functions: {
    columns: { params: COLUMNS, does: does("tiles") },
    rows: { params: ROWS, does: does("all tiles for the groups cuts[from]..cuts[to]") },
  },
  emit: (options) => emit(block, options),
  trials: sparseTrials(block),
});

export const conv1x1Csr = sparse1x1(1);
export const conv1x1Block2 = sparse1x1(2);
export const conv1x1Block4 = sparse1x1(4);

export const CONV1X1: Readonly<Record<Block, Kernel>> = { 1: conv1x1Csr, 2: conv1x1Block2, 4: conv1x1Block4 };
