/**
 * The gradient of a CSR weight at its stored places only: G[o, k] = sum over tokens of dY[t, o] X[t, k] (SDDMM), and the
 * copy of values from one stream's order to another's.
 *
 * Both activations come in the panels of `panels.ts`, 16 tokens wide; dY's lanes beyond the last token must be 0
 * (`clearTail`). A panel's four vectors of dY stay in registers while the row's columns stream by, four entries a turn;
 * four accumulators are summed across by one 4x4 transpose. Rows are padded to four entries, so there is no remainder; the
 * padding gets 0.
 *
 * Ladder, one thread, 1024x1024 at 95 %, 128 tokens, where SpMM does 29 GFLOP/s: two panels at once (eight vectors) 21
 * whatever the order of its steps, as their columns miss the first cache twice as often; one panel 27, with or without
 * exits between entries, entries interleaved or not; a function call for each row instead of one for all rows 20.
 */

import type { Comparison, EmitOptions, Kernel, Trial } from "../kernel.ts";
import {
  block,
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
  v128,
  when,
} from "../wasm/asm.ts";
import { add, at, c, min, names, range } from "./panels.ts";
import { csrStream, evenCuts, GROUP } from "./streams.ts";

const WIDTH = 16;
const SDDMM = [
  "starts",
  "ends",
  "columns",
  "g",
  "packedX",
  "packedDy",
  "T",
  "in",
  "out",
  "cuts",
  "from",
  "to",
] as const;

/** Rows `first` .. `last` against a panel of `vectors` vectors of tokens. `onto`: add to what is there. */
function addStrip(m: ModuleBuilder, vectors: number, fused: boolean): FnRef<"void"> {
  const params = ["starts", "columns", "g", "x", "dy", "first", "last", "onto", "never"];
  return m.func(
    `strip${4 * vectors}`,
    names(params),
    (f) => {
      const { starts, columns, x, dy, first, last, onto, never } = f.p;
      const d = f.locals("v128", vectors);
      const acc = f.locals("v128", 4);
      const [t0, t1] = f.locals("v128", 2);
      const [p, r, g, col, end] = f.locals("i32", 5);
      const again = label("entries");
      const done = label("row");
      const entry = (e: number): Stmt[] => [
        p.set(add(x, i32.mul(i32.load16u(col, 2 * e), c(16 * vectors)))),
        ...d.map((v, i) => {
          const xs = v128.load(p, 16 * i);
          return acc[e].set(i === 0 ? f32x4.mul(v, xs) : madd(fused, v, xs, acc[e]));
        }),
        brIf(done, never),
      ];
      /** lanes [a0 + a2, b0 + b2, a1 + a3, b1 + b3] */
      const halves = (a: Expr<"v128">, b: Expr<"v128">): Expr<"v128"> =>
        f32x4.add(v128.shuffle32(a, b, [0, 4, 1, 5]), v128.shuffle32(a, b, [2, 6, 3, 7]));
      return [
        dy.set(add(dy, i32.mul(first, c(16 * vectors)))),
        forRange(
          r,
          first,
          last,
          1,
          col.set(at(columns, i32.load(at(starts, r, 2)), 1)),
          end.set(at(columns, i32.load(at(starts, r, 2), 4), 1)),
          g.set(at(f.p.g, i32.load(at(starts, r, 2)), 2)),
          ...d.map((v, i) => v.set(v128.load(dy, 16 * i))),
          dy.set(add(dy, c(16 * vectors))),
          block(
            done,
            brIf(done, i32.eq(col, end)),
            loop(
              again,
              ...range(4).flatMap(entry),
              t0.set(halves(acc[0], acc[1])),
              t1.set(halves(acc[2], acc[3])),
              t0.set(f32x4.add(v128.shuffle32(t0, t1, [0, 1, 4, 5]), v128.shuffle32(t0, t1, [2, 3, 6, 7]))),
              when(onto, t0.set(f32x4.add(t0, v128.load(g)))),
              v128.store(g, t0),
              g.set(add(g, c(16))),
              col.set(add(col, c(8))),
              brIf(again, i32.ne(col, end)),
            ),
          ),
        ),
      ];
    },
    "void",
    false,
  );
}

function emit({ shared, fused }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  const strips = range(WIDTH / 4).map((i) => addStrip(m, i + 1, fused));
  m.func("rows", names(SDDMM), (f) => {
    const { starts, ends, columns, g, packedX, packedDy, T, out, cuts, from, to } = f.p;
    const width = f.p.in;
    const [first, last, r, token, e] = f.locals("i32", 5);
    const panel = (packed: Expr<"i32">, lines: Expr<"i32">): Expr<"i32"> =>
      add(packed, i32.shl(i32.mul(token, lines), c(2)));
    const choose = (i: number): Stmt => {
      const x = panel(packedX, width);
      const run = strips[i].call(starts, columns, g, x, panel(packedDy, out), first, last, token, c(0));
      return i === 0 ? run : when(i32.gt(i32.sub(T, token), c(4 * i)), run, choose(i - 1));
    };
    return [
      first.set(i32.shl(i32.load(at(cuts, from, 2)), c(2))),
      last.set(min(out, i32.shl(i32.load(at(cuts, to, 2)), c(2)))),
      forRange(token, c(0), T, WIDTH, choose(strips.length - 1)),
      forRange(
        r,
        first,
        last,
        1,
        forRange(e, i32.load(at(ends, r, 2)), i32.load(at(starts, r, 2), 4), 1, i32.store(at(g, e, 2), c(0))),
      ),
    ];
  });
  m.func("clearTail", names(["packed", "T", "lines"]), (f) => {
    const { packed, T, lines } = f.p;
    const [token, wide, pointer, k, lane] = f.locals("i32", 5);
    return [
      token.set(i32.and(i32.sub(T, c(1)), c(-WIDTH))),
      wide.set(i32.and(add(i32.sub(T, token), c(3)), c(-4))),
      pointer.set(add(packed, i32.shl(i32.mul(token, lines), c(2)))),
      forRange(
        k,
        c(0),
        lines,
        1,
        forRange(lane, i32.sub(T, token), wide, 1, i32.store(at(pointer, lane, 2), c(0))),
        pointer.set(at(pointer, wide, 2)),
      ),
    ];
  });
  m.func("gather", names(["values", "order", "target", "from", "to"]), (f) => {
    const { values, order, target, from, to } = f.p;
    const [i, whole] = f.locals("i32", 2);
    const one = (k: number): Stmt => i32.store(target, i32.load(at(values, i32.load(order, 4 * k), 2)), 4 * k);
    const by = (n: number): Stmt[] => [
      ...range(n).map(one),
      order.set(add(order, c(4 * n))),
      target.set(add(target, c(4 * n))),
    ];
    return [
      order.set(at(order, from, 2)),
      target.set(at(target, from, 2)),
      whole.set(add(from, i32.and(i32.sub(to, from), c(-4)))),
      forRange(i, from, whole, 4, ...by(4)),
      forRange(i, whole, to, 1, ...by(1)),
    ];
  });
  return m.bytes();
}

/** Plain twin in f64, from the dense operands: the gradient at every place, and how far an f32 sum may be from it. */
export function sddmmTwin(
  dy: Float32Array,
  x: Float32Array,
  tokens: number,
  out: number,
  width: number,
): { readonly values: Float64Array; readonly bounds: Float64Array } {
  const values = new Float64Array(out * width);
  const bounds = new Float64Array(out * width);
  for (let o = 0; o < out; o++) {
    for (let k = 0; k < width; k++) {
      let size = 0;
      for (let t = 0; t < tokens; t++) {
        const term = dy[t * out + o] * x[t * width + k];
        values[o * width + k] += term;
        size += Math.abs(term);
      }
      // a product and at most tokens + 3 sums, each off by a factor of 1 + 2^-24; doubled for the higher orders
      bounds[o * width + k] = 2 * (tokens + 4) * 2 ** -24 * size;
    }
  }
  return { values, bounds };
}

/** X[T, K] in panels as `pack` writes them, with zeros or the last token beyond T. */
function panelsOf(x: Float32Array, tokens: number, lines: number, fill: "zero" | "last"): Float32Array {
  const packed = new Float32Array(4 * Math.ceil(tokens / 4) * lines);
  for (let token = 0; token < tokens; token += WIDTH) {
    const wide = Math.min(WIDTH, 4 * Math.ceil((tokens - token) / 4));
    for (let k = 0; k < lines; k++) {
      for (let lane = 0; lane < wide; lane++) {
        const t = token + lane;
        const value = t < tokens ? x[t * lines + k] : fill === "last" ? x[(tokens - 1) * lines + k] : 0;
        packed[token * lines + k * wide + lane] = value;
      }
    }
  }
  return packed;
}

const gradient: Trial = {
  name: "gradient at the stored places, and its splits",
  run(draw, box): readonly Comparison[] {
    const [tokens, out, width] = [draw.int(1, 70), draw.int(1, 14), draw.int(1, 23)];
    const weights = draw.floats(out * width);
    const lots = draw.floats(out * width);
    const threshold = draw.int(0, 3) / 2;
    const w = weights.map((v, i) => (Math.abs(lots[i]) < threshold ? 0 : v));
    const s = csrStream(w, out, width);
    const x = draw.floats(tokens * width);
    const dy = draw.floats(tokens * out);
    const packedX = box.put(panelsOf(x, tokens, width, "last"));
    const packedDy = box.put(panelsOf(dy, tokens, out, "last"));
    box.call("clearTail", packedDy, tokens, out);
    const cleared = box.f32(packedDy, 4 * Math.ceil(tokens / 4) * out).slice();
    const index = [box.put(s.starts), box.put(s.ends), box.put(s.columns)];
    const groups = Math.ceil(out / GROUP);
    const cuts = evenCuts(
      Array.from({ length: groups }, () => draw.int(0, 5)),
      draw.int(1, 4),
    );
    const pieces = cuts.length - 1;
    const unwritten = new Float32Array(s.values.length).fill(Number.NaN);
    const [whole, split] = [box.put(unwritten), box.put(unwritten)];
    const all = box.put(Int32Array.of(0, groups));
    const rest = [packedX, packedDy, tokens, width, out];
    box.call("rows", ...index, whole, ...rest, all, 0, 1);
    const cutsAt = box.put(cuts);
    const middle = draw.int(0, pieces);
    box.call("rows", ...index, split, ...rest, cutsAt, middle, pieces);
    box.call("rows", ...index, split, ...rest, cutsAt, 0, middle);
    const twin = sddmmTwin(dy, x, tokens, out, width);
    const want = new Float64Array(s.values.length);
    const bounds = new Float64Array(s.values.length);
    for (let o = 0; o < out; o++) {
      for (let e = s.starts[o]; e < s.ends[o]; e++) {
        want[e] = twin.values[o * width + s.columns[e]];
        bounds[e] = twin.bounds[o * width + s.columns[e]];
      }
    }
    const got = box.f32(whole, want.length);
    return [
      { what: "gradient, padding 0", got, want, tolerance: bounds },
      { what: "split by rows", got: box.f32(split, want.length), want: got, tolerance: 0 },
      { what: "cleared tail", got: cleared, want: panelsOf(dy, tokens, out, "zero"), tolerance: 0 },
    ];
  },
};

const gathered: Trial = {
  name: "gather and its splits",
  run(draw, box): readonly Comparison[] {
    const n = draw.int(0, 40);
    const values = draw.floats(Math.max(1, n));
    const order = Int32Array.from({ length: n }, () => draw.int(0, Math.max(0, n - 1)));
    const target = box.room(4 * n);
    const [v, o] = [box.put(values), box.put(order)];
    const middle = draw.int(0, n);
    box.call("gather", v, o, target, middle, n);
    box.call("gather", v, o, target, 0, middle);
    return [
      { what: "values", got: box.f32(target, n), want: Float32Array.from(order, (i) => values[i]), tolerance: 0 },
    ];
  },
};

export const sddmmCsr: Kernel = {
  name: "sddmm-f32-csr-c16",
  family: "sparse",
  summary: "Gradient of a CSR weight at its stored places, from activations in panels of 16 tokens",
  functions: {
    rows: {
      params: SDDMM,
      does: "g[e] = sum over T of dY X at the stored places, padding 0, rows of the groups of four cuts[from]..cuts[to]",
    },
    clearTail: { params: ["packed", "T", "lines"], does: "sets the lanes beyond the last token to 0" },
    gather: { params: ["values", "order", "target", "from", "to"], does: "target[i] = values[order[i]]" },
  },
  emit,
  trials: [gradient, gathered],
};
