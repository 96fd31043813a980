/**
 * Y[T, R] = X[T, C] · W[R, C]^T for few tokens T, straight from the row-major stored weights (f32, bf16 or f16).
 *
 * Dot products along the row, several rows and up to three tokens at a time, so that a weight is fetched from memory and
 * widened once for those tokens. Each (row, token) has one four-lane sum that takes the columns in the same order
 * whatever the grouping: a row's result does not depend on the split, nor on how many tokens are computed with it.
 * `listed` does the same for one token and chosen rows: the outputs of a layer that will be used.
 * Narrow types need the tokens prepared: `prepare` reorders x (bf16) or scales it (f16), see element.ts.
 */

import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import {
  block,
  brIf,
  type Expr,
  type FnRef,
  f32,
  f32x4,
  forRange,
  i32,
  type Local,
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
import {
  bytesOf,
  decodeAll,
  type ElementType,
  encode,
  HALF_AFTER,
  HALF_BEFORE,
  loadEightRaw,
  loadOneRaw,
  shiftOf,
} from "./element.ts";
import { product, sumTolerance } from "./twin.ts";

const { add, mul, shl, lt, le, sub, and } = i32;
const n = i32.const;

/** Columns a step takes. */
const STEP = 8;

interface Tile {
  readonly rows: number;
  /** a never-taken exit after every so many products of vectors; 0: none */
  readonly fence: number;
}

/**
 * Rows computed together with 1, 2 and 3 tokens. Measured choices: 15 vector registers hold no more, and the fences
 * keep V8 11 from collecting a step's loads before its sums. Four tokens at once are slower than two and two.
 */
const TILES: readonly Tile[] = [
  { rows: 4, fence: 0 },
  { rows: 3, fence: 4 },
  { rows: 2, fence: 4 },
];
const TOKENS = [1, 2, 3] as const;
const MOST_ROWS = TILES[0].rows;
/** Rows that run through all tokens before the next: a multiple of every tile, few enough to stay in cache. */
export const GEMV_ROWS = 12;

const tokenBytes = 4;

/** `w<r>` is the address of row r. */
const dotParams = {
  w0: "i32",
  w1: "i32",
  w2: "i32",
  w3: "i32",
  x: "i32",
  ldx: "i32",
  c: "i32",
  y: "i32",
  ldy: "i32",
  never: "i32",
} as const;

/** Adds a function that writes `rows` x `tokens` values of Y; strides in bytes; `never` is 0. */
function emitDot(m: ModuleBuilder, type: ElementType, fused: boolean, { rows, fence }: Tile, tokens: number) {
  const size = bytesOf(type);
  return m.func(
    `dot${rows}x${tokens}`,
    dotParams,
    ({ p, local, locals }) => {
      const acc = Array.from({ length: rows }, () => locals("v128", tokens));
      const wp = [p.w0, p.w1, p.w2, p.w3].slice(0, rows);
      const xp = [p.x, ...locals("i32", tokens - 1)];
      const [left, tail] = locals("i32", 2);
      const [at, xat] = locals("i32", 2);
      const sum = local("f32");
      const done = label("done");
      const again = label("again");

      // The side with fewer vectors is held in registers over the step, the other passes by.
      const holdX = tokens <= rows;
      const held = Array.from({ length: Math.min(rows, tokens) }, () => locals("v128", 2));
      const pass = locals("v128", 2);
      const one = local("v128");
      let products = 0;
      const accumulate = (r: number, t: number, a: Expr<"v128">, b: Expr<"v128">): Stmt => {
        const sum = acc[r][t].set(madd(fused, a, b, acc[r][t]));
        return fence > 0 && ++products % fence === 0 ? seq(sum, brIf(done, p.never)) : sum;
      };
      const step = holdX
        ? seq(
            ...xp.flatMap((x, t) => [held[t][0].set(v128.load(x)), held[t][1].set(v128.load(x, 16))]),
            ...wp.flatMap((w, r) => [
              loadEightRaw(type, w, 0, pass[0], pass[1]),
              ...[0, 1].flatMap((half) => xp.map((_, t) => accumulate(r, t, pass[half], held[t][half]))),
            ]),
          )
        : seq(
            ...wp.map((w, r) => loadEightRaw(type, w, 0, held[r][0], held[r][1])),
            ...[0, 1].flatMap((half) =>
              xp.flatMap((x, t) => [
                one.set(v128.load(x, 16 * half)),
                ...wp.map((_, r) => accumulate(r, t, held[r][half], one)),
              ]),
            ),
          );
      const advance = (pointers: Local<"i32">[], bytes: number): Stmt[] =>
        pointers.map((pointer) => pointer.set(add(pointer, n(bytes))));

      /** Lane sums in the same order for every tile, then the columns that fill no step, one by one. */
      const finish = (r: number, t: number): Stmt =>
        seq(
          one.set(f32x4.add(acc[r][t], v128.shuffle32(acc[r][t], acc[r][t], [2, 3, 0, 1]))),
          sum.set(f32.add(f32x4.extract(one, 0), f32x4.extract(one, 1))),
          when(
            tail,
            seq(
              at.set(wp[r]),
              xat.set(xp[t]),
              forRange(
                left,
                n(0),
                tail,
                1,
                sum.set(f32.add(sum, f32.mul(loadOneRaw(type, at), f32.load(xat)))),
                at.set(add(at, n(size))),
                xat.set(add(xat, n(tokenBytes))),
              ),
            ),
          ),
          f32.store(add(p.y, mul(p.ldy, n(t))), type === "f16" ? f32.mul(sum, f32.const(HALF_AFTER)) : sum, 4 * r),
        );

      return [
        ...xp.slice(1).map((x, t) => x.set(add(xp[t], p.ldx))),
        tail.set(and(p.c, n(STEP - 1))),
        left.set(i32.shru(p.c, n(3))),
        block(
          done,
          brIf(done, i32.eqz(left)),
          loop(
            again,
            step,
            ...advance(wp, STEP * size),
            ...advance(xp, STEP * tokenBytes),
            brIf(again, left.tee(sub(left, n(1)))),
          ),
        ),
        ...acc.flatMap((row, r) => row.map((_, t) => finish(r, t))),
      ];
    },
    "void",
    false,
  );
}

function emitGemv(m: ModuleBuilder, type: ElementType, fused: boolean): void {
  const grouped = TOKENS.map((t) => emitDot(m, type, fused, TILES[t - 1], t));
  const single = TOKENS.map((t) => emitDot(m, type, fused, { rows: 1, fence: 0 }, t));
  const params = {
    w: "i32",
    ldw: "i32",
    x: "i32",
    ldx: "i32",
    c: "i32",
    y: "i32",
    ldy: "i32",
    tokens: "i32",
    from: "i32",
    to: "i32",
  } as const;
  emitListed(m, type, grouped[0], single[0]);
  m.func("rows", params, ({ p, locals }) => {
    const [row, end, r, t, group, xAt, yAt] = locals("i32", 7);
    const wAt = locals("i32", MOST_ROWS);
    const args = [...wAt, xAt, p.ldx, p.c, yAt, p.ldy, n(0)] as const;
    const place = seq(
      wAt[0].set(add(p.w, mul(r, p.ldw))),
      ...wAt.slice(1).map((w, i) => w.set(add(wAt[i], p.ldw))),
      xAt.set(add(p.x, mul(t, p.ldx))),
      yAt.set(add(p.y, add(mul(t, p.ldy), shl(r, n(2))))),
    );
    const withTokens = (tokens: number): Stmt => {
      const together = TILES[tokens - 1].rows;
      return seq(
        r.set(row),
        whileLoop(le(add(r, n(together)), end), place, grouped[tokens - 1].call(...args), r.set(add(r, n(together)))),
        whileLoop(lt(r, end), place, single[tokens - 1].call(...args), r.set(add(r, n(1)))),
      );
    };
    // By threes, but four as 2 + 2 at the end, since a single token left over is the slowest.
    const next = seq(
      group.set(sub(p.tokens, t)),
      when(lt(n(3), group), when(i32.eq(group, n(4)), group.set(n(2)), group.set(n(3)))),
    );
    return [
      p.ldw.set(shl(p.ldw, n(shiftOf(type)))),
      p.ldx.set(shl(p.ldx, n(2))),
      p.ldy.set(shl(p.ldy, n(2))),
      row.set(p.from),
      whileLoop(
        lt(row, p.to),
        end.set(add(row, n(GEMV_ROWS))),
        when(lt(p.to, end), end.set(p.to)),
        t.set(n(0)),
        whileLoop(
          lt(t, p.tokens),
          next,
          ...TOKENS.map((tokens) => when(i32.eq(group, n(tokens)), withTokens(tokens))),
          t.set(add(t, group)),
        ),
        row.set(end),
      ),
    ];
  });
}

function emitListed(m: ModuleBuilder, type: ElementType, grouped: FnRef<"void">, single: FnRef<"void">): void {
  const params = {
    w: "i32",
    ldw: "i32",
    x: "i32",
    c: "i32",
    list: "i32",
    y: "i32",
    from: "i32",
    to: "i32",
  } as const;
  m.func("listed", params, ({ p, locals }) => {
    const [i, at] = locals("i32", 2);
    const wAt = locals("i32", MOST_ROWS);
    const zero = n(0);
    const take = (dot: FnRef<"void">, rows: number): Stmt =>
      seq(
        at.set(add(p.list, shl(i, n(2)))),
        ...wAt.slice(0, rows).map((w, r) => w.set(add(p.w, mul(i32.load(at, 4 * r), p.ldw)))),
        dot.call(...wAt, p.x, zero, p.c, add(p.y, shl(i, n(2))), zero, zero),
        i.set(add(i, n(rows))),
      );
    return [
      p.ldw.set(shl(p.ldw, n(shiftOf(type)))),
      i.set(p.from),
      whileLoop(le(add(i, n(MOST_ROWS)), p.to), take(grouped, MOST_ROWS)),
      whileLoop(lt(i, p.to), take(single, 1)),
    ];
  });
}

function emitPrepare(m: ModuleBuilder, type: "bf16" | "f16"): void {
  m.func("prepare", { x: "i32", ldx: "i32", c: "i32", tokens: "i32", prepared: "i32" }, ({ p, local, locals }) => {
    const [t, i, at, to] = locals("i32", 4);
    const a = local("v128");
    const b = local("v128");
    const scale = f32x4.splat(f32.const(HALF_BEFORE));
    const eight =
      type === "bf16"
        ? seq(
            v128.store(to, v128.shuffle32(a, b, [0, 2, 4, 6])),
            v128.store(to, v128.shuffle32(a, b, [1, 3, 5, 7]), 16),
          )
        : seq(v128.store(to, f32x4.mul(a, scale)), v128.store(to, f32x4.mul(b, scale), 16));
    const one = f32.store(to, type === "bf16" ? f32.load(at) : f32.mul(f32.load(at), f32.const(HALF_BEFORE)));
    const move = (bytes: number): Stmt => seq(at.set(add(at, n(bytes))), to.set(add(to, n(bytes))));
    return [
      to.set(p.prepared),
      forRange(
        t,
        n(0),
        p.tokens,
        1,
        at.set(add(p.x, mul(t, shl(p.ldx, n(2))))),
        forRange(i, n(STEP), add(p.c, n(1)), STEP, a.set(v128.load(at)), b.set(v128.load(at, 16)), eight, move(32)),
        forRange(i, and(p.c, n(-STEP)), p.c, 1, one, move(4)),
      ),
    ];
  });
}

function trial(mostTokens: number, mostColumns: number) {
  return (type: ElementType) =>
    (draw: Draw, box: Sandbox): Comparison[] => {
      const tokens = draw.int(mostTokens === 1 ? 1 : 0, mostTokens);
      const rows = draw.int(0, 21);
      const c = draw.int(0, mostColumns);
      const ldw = c + draw.int(0, 3);
      const ldx = c + draw.int(0, 3);
      const ldy = rows + draw.int(0, 3);
      const stored = encode(type, draw.floats(rows * ldw));
      const x = draw.floats(tokens * ldx);
      const weights = decodeAll(type, stored);
      const xPacked = Float64Array.from({ length: tokens * c }, (_, i) => x[Math.floor(i / c) * ldx + (i % c)]);
      const wTransposed = new Float64Array(c * rows);
      for (let r = 0; r < rows; r++) for (let k = 0; k < c; k++) wTransposed[k * rows + r] = weights[r * ldw + k];
      const { sums, sizes } = product(xPacked, wTransposed, tokens, rows, c);

      const w = box.put(stored);
      let xp = box.put(x);
      let xStride = ldx;
      if (type !== "f32") {
        const prepared = box.room(tokens * c * 4);
        box.call("prepare", xp, ldx, c, tokens, prepared);
        [xp, xStride] = [prepared, c];
      }
      const whole = box.room(tokens * ldy * 4);
      const split = box.room(tokens * ldy * 4);
      const apart = box.room(tokens * ldy * 4);
      box.call("rows", w, ldw, xp, xStride, c, whole, ldy, tokens, 0, rows);
      const middle = draw.int(0, rows);
      box.call("rows", w, ldw, xp, xStride, c, split, ldy, tokens, middle, rows);
      box.call("rows", w, ldw, xp, xStride, c, split, ldy, tokens, 0, middle);
      for (let t = 0; t < tokens; t++) {
        box.call("rows", w, ldw, xp + t * xStride * 4, xStride, c, apart + t * ldy * 4, ldy, 1, 0, rows);
      }
      const want = new Float64Array(tokens * ldy);
      const tolerance = new Float64Array(tokens * ldy);
      const bounds = sumTolerance(c, sizes);
      for (let t = 0; t < tokens; t++) {
        want.set(sums.subarray(t * rows, (t + 1) * rows), t * ldy);
        tolerance.set(bounds.subarray(t * rows, (t + 1) * rows), t * ldy);
      }
      const got = box.f32(whole, want.length);
      return [
        { what: "rows", got, want, tolerance },
        { what: "split by rows", got: box.f32(split, want.length), want: got, tolerance: 0 },
        { what: "token by token", got: box.f32(apart, want.length), want: got, tolerance: 0 },
      ];
    };
}

/** Some rows, in any order and more than once: the same bits as all rows. */
const listedTrial =
  (type: ElementType) =>
  (draw: Draw, box: Sandbox): Comparison[] => {
    const rows = draw.int(1, 21);
    const c = draw.int(0, 40);
    const ldw = c + draw.int(0, 3);
    const list = Int32Array.from({ length: draw.int(0, 13) }, () => draw.int(0, rows - 1));
    const w = box.put(encode(type, draw.floats(rows * ldw)));
    let x = box.put(draw.floats(c));
    if (type !== "f32") {
      const prepared = box.room(c * 4);
      box.call("prepare", x, c, c, 1, prepared);
      x = prepared;
    }
    const all = box.room(rows * 4);
    box.call("rows", w, ldw, x, c, c, all, rows, 1, 0, rows);
    const y = box.room(list.length * 4);
    const middle = draw.int(0, list.length);
    const given = [w, ldw, x, c, box.put(list), y];
    box.call("listed", ...given, middle, list.length);
    box.call("listed", ...given, 0, middle);
    const each = box.f32(all, rows);
    return [{ what: "listed", got: box.f32(y, list.length), want: Array.from(list, (row) => each[row]), tolerance: 0 }];
  };

const trials = [
  { name: "one token", of: trial(1, 70) },
  { name: "few tokens", of: trial(9, 35) },
  { name: "long rows", of: trial(4, 600) },
  { name: "listed rows", of: listedTrial },
];

function gemvKernel(type: ElementType): Kernel {
  const rows = {
    params: ["w", "ldw", "x", "ldx", "c", "y", "ldy", "tokens", "from", "to"],
    does:
      `Y[tokens, R] = X[tokens, c] · W[R, c]^T, W row-major ${type}${type === "f32" ? "" : ", x prepared"}; row strides ` +
      "in elements; from, to: rows of W",
  };
  const listed = {
    params: ["w", "ldw", "x", "c", "list", "y", "from", "to"],
    does: `y[i] = W[list[i], c] · x[c], W and x as in rows and with its bits, list i32; from, to: entries of the list`,
  };
  const prepare = {
    params: ["x", "ldx", "c", "tokens", "prepared"],
    does:
      type === "bf16"
        ? "copies X[tokens, c] densely, each full group of 8 columns as its 4 even ones, then its 4 odd ones"
        : "copies X[tokens, c] densely, times 2^64",
  };
  return {
    name: `gemv-${type}`,
    family: "dense",
    summary: `Few tokens times row-major ${type} weights, by dot products`,
    functions: type === "f32" ? { rows, listed } : { rows, listed, prepare },
    emit({ shared, fused }) {
      const m = new ModuleBuilder({ shared });
      emitGemv(m, type, fused);
      if (type !== "f32") emitPrepare(m, type);
      return m.bytes();
    },
    trials: trials.map(({ name, of }) => ({ name, run: of(type) })),
  };
}

export const gemvF32 = gemvKernel("f32");
export const gemvBf16 = gemvKernel("bf16");
export const gemvF16 = gemvKernel("f16");
