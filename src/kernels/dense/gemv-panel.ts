/**
 * Y[T, out] = X[T, in] · W[out, in]^T for one token or very few, from weights copied into panels of 32 outputs.
 *
 * A panel is one stream of memory: each input's 32 weights are widened and added to eight vectors of sums. That is what a
 * weight larger than the second-level cache wants; within it, `gemv-<type>` (rows in place) is as fast. Tokens beyond
 * the first find the panel in the cache. Ladder, one thread, f32, weights not in any cache, GB/s (memory: 26):
 * four rows at a time in place 13; one row at a time with four sums 19; four panels of 8 (the layout of the matrix
 * product) 19; one panel of 64 23; this form 25.
 *
 * Each output sums its products in the order of the inputs, from +0. A zero input therefore changes nothing, and
 * `gemv-<type>-byinput`, which leaves zeros out, gives the same bits for finite weights.
 */

import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import { storeLanes } from "../sparse/panels.ts";
import {
  block,
  brIf,
  type Expr,
  forRange,
  i32,
  label,
  loop,
  ModuleBuilder,
  madd,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { addPack, OUTPUTS, ordered, outputBlocks, packFunction, packPlain, splatInput } from "./by-output.ts";
import { bytesOf, decodeAll, type ElementType, encode, loadEightRaw } from "./element.ts";
import { product, sumTolerance } from "./twin.ts";

const { add, mul, shl, sub } = i32;
const n = i32.const;
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

function emitRows(m: ModuleBuilder, type: ElementType, fused: boolean): void {
  const size = bytesOf(type);
  const params = {
    w: "i32",
    x: "i32",
    ldx: "i32",
    in: "i32",
    y: "i32",
    ldy: "i32",
    out: "i32",
    tokens: "i32",
    from: "i32",
    to: "i32",
  } as const;
  m.func("rows", params, ({ p, locals }) => {
    const [panel, t, w, x, end, y, left] = locals("i32", 7);
    const acc = locals("v128", OUTPUTS / 4);
    const [xs, low, high] = locals("v128", 3);
    const done = label("inputs");
    const again = label("input");
    const start = add(p.w, mul(panel, mul(p.in, n(OUTPUTS * size))));
    const store = (at: number, value: Expr<"v128">) => seq(low.set(value), v128.store(y, low, at));
    const storeSome = (v: number, value: Expr<"v128">) =>
      when(i32.gt(left, n(4 * v)), seq(low.set(value), storeLanes(add(y, n(16 * v)), low, sub(left, n(4 * v)))));
    const vectors = range(OUTPUTS / 8).flatMap((i) => ordered(type, acc[2 * i], acc[2 * i + 1]));
    return forRange(
      panel,
      p.from,
      p.to,
      1,
      left.set(sub(p.out, mul(panel, n(OUTPUTS)))),
      forRange(
        t,
        n(0),
        p.tokens,
        1,
        w.set(start),
        x.set(add(p.x, shl(mul(t, p.ldx), n(2)))),
        end.set(add(x, shl(p.in, n(2)))),
        ...acc.map((a) => a.set(v128.const32(0, 0, 0, 0))),
        block(
          done,
          brIf(done, i32.eqz(p.in)),
          loop(
            again,
            xs.set(splatInput(type, x)),
            ...range(OUTPUTS / 8).flatMap((i) => [
              loadEightRaw(type, w, 8 * i * size, low, high),
              acc[2 * i].set(madd(fused, low, xs, acc[2 * i])),
              acc[2 * i + 1].set(madd(fused, high, xs, acc[2 * i + 1])),
            ]),
            w.set(add(w, n(OUTPUTS * size))),
            brIf(again, i32.ne(x.tee(add(x, n(4))), end)),
          ),
        ),
        y.set(add(p.y, shl(add(mul(t, p.ldy), mul(panel, n(OUTPUTS))), n(2)))),
        when(
          i32.ge(left, n(OUTPUTS)),
          seq(...vectors.map((value, v) => store(16 * v, value))),
          seq(...vectors.map((value, v) => storeSome(v, value))),
        ),
      ),
    );
  });
}

function trial(most: number, mostInputs: number) {
  return (type: ElementType) =>
    (draw: Draw, box: Sandbox): Comparison[] => {
      const tokens = draw.int(1, 3);
      const out = draw.int(0, most);
      const width = draw.int(0, mostInputs);
      const [ldw, ldx, ldy] = [width, width, out].map((least) => least + draw.int(0, 3));
      const stored = encode(type, draw.floats(out * ldw));
      const x = draw.floats(tokens * ldx);
      const blocks = outputBlocks(out);
      const twin = packPlain(stored, ldw, out, width, "panel32");
      const packed = box.room(twin.byteLength);
      const given = [box.put(stored), ldw, out, width, packed];
      const cut = draw.int(0, blocks);
      box.call("pack", ...given, cut, blocks);
      box.call("pack", ...given, 0, cut);

      const [xAt, whole, split] = [box.put(x), box.room(4 * tokens * ldy), box.room(4 * tokens * ldy)];
      const call = (y: number, from: number, to: number): number =>
        box.call("rows", packed, xAt, ldx, width, y, ldy, out, tokens, from, to);
      call(whole, 0, blocks);
      call(split, cut, blocks);
      call(split, 0, cut);

      const weights = decodeAll(type, stored);
      const xs = Float64Array.from({ length: tokens * width }, (_, i) => x[Math.floor(i / width) * ldx + (i % width)]);
      const transposed = new Float64Array(width * out);
      for (let o = 0; o < out; o++) for (let k = 0; k < width; k++) transposed[k * out + o] = weights[o * ldw + k];
      const { sums, sizes } = product(xs, transposed, tokens, out, width);
      const bounds = sumTolerance(width, sizes);
      const want = new Float64Array(tokens * ldy);
      const tolerance = new Float64Array(tokens * ldy);
      for (let t = 0; t < tokens; t++) {
        want.set(sums.subarray(t * out, (t + 1) * out), t * ldy);
        tolerance.set(bounds.subarray(t * out, (t + 1) * out), t * ldy);
      }
      const got = box.f32(whole, want.length);
      const copy = type === "f32" ? box.f32(packed, twin.length) : box.u16(packed, twin.length);
      return [
        { what: "pack", got: copy, want: twin, tolerance: 0 },
        { what: "rows", got, want, tolerance },
        { what: "split by panels", got: box.f32(split, want.length), want: got, tolerance: 0 },
      ];
    };
}

const trials = [
  { name: "small shapes", of: trial(70, 9) },
  { name: "long rows", of: trial(40, 300) },
];

const panelKernel = (type: ElementType): Kernel => ({
  name: `gemv-${type}-panel32`,
  family: "dense",
  summary: `Y[T, out] = X[T, in] W^T for one token or very few, W ${type} in panels of 32 outputs`,
  functions: {
    pack: packFunction(type, "panel32"),
    rows: {
      params: ["w", "x", "ldx", "in", "y", "ldy", "out", "tokens", "from", "to"],
      does: "Y[tokens, out] = X[tokens, in] · W^T, W as pack left it; from, to: panels of 32 outputs",
    },
  },
  emit({ shared, fused }) {
    const m = new ModuleBuilder({ shared });
    addPack(m, type, "panel32");
    emitRows(m, type, fused);
    return m.bytes();
  },
  trials: trials.map(({ name, of }) => ({ name, run: of(type) })),
});

export const gemvPanelF32 = panelKernel("f32");
export const gemvPanelBf16 = panelKernel("bf16");
export const gemvPanelF16 = panelKernel("f16");
