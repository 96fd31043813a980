/**
 * RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba, Kiros and Hinton 2016) over the last axis, with gradients.
 *
 * Backward passes work on chunks of rows: each chunk writes its own sum of the weight's gradient, and the caller adds
 * the chunks, so that neither threads nor their number change a bit. dx may lie over dy.
 */
import type { Kernel } from "../kernel.ts";
import { type Described, defineKernel, described } from "../pointwise/define.ts";
import { type Cursor, eachRow, fold, stream } from "../pointwise/stream.ts";
import type { Expr, Local, Stmt, ValType } from "../wasm/asm.ts";
import { f32, forRange, i32, select, seq } from "../wasm/asm.ts";
import { layernormTrials, rmsnormTrials } from "./norm.trials.ts";

const c = i32.const;
const bytesOf = (count: Expr<"i32">): Expr<"i32"> => i32.shl(count, c(2));
const next = (p: Local<"i32">): Stmt => p.set(i32.add(p, c(4)));
const f32Of = (count: Expr<"i32">): Expr<"f32"> => f32.convertI32s(count);

const rmsForward = described(
  { x: "i32", w: "i32", out: "i32", rstd: "i32", cols: "i32", eps: "f32", from: "i32", to: "i32" },
  "out = x * rstd * w, rstd[r] = 1 / sqrt(mean(x[r]^2) + eps); units are rows",
  (f) => {
    const { x, w, out, rstd, cols, eps, from, to } = f.p;
    const [a, weight] = f.locals("i32", 2);
    const [squares, r] = f.locals("f32", 2);
    return eachRow(
      f,
      from,
      to,
      [
        [x, bytesOf(cols)],
        [out, bytesOf(cols)],
        [rstd, c(4)],
      ],
      a.set(x),
      fold(f, cols, [[a, 4]], [squares], "sum", (o, k) => [o.mul(o.load(a, 4 * k), o.load(a, 4 * k))]),
      r.set(f32.div(f32.const(1), f32.sqrt(f32.add(f32.div(squares, f32Of(cols)), eps)))),
      f32.store(rstd, r),
      next(rstd),
      weight.set(w),
      stream(
        f,
        cols,
        [
          [x, 4],
          [weight, 4],
          [out, 4],
        ],
        4,
        (o, k) => o.store(out, o.mul(o.mul(o.load(x, 4 * k), o.splat(r)), o.load(weight, 4 * k)), 4 * k),
      ),
    );
  },
);

const layerForward = described(
  {
    x: "i32",
    w: "i32",
    b: "i32",
    out: "i32",
    mean: "i32",
    rstd: "i32",
    cols: "i32",
    eps: "f32",
    from: "i32",
    to: "i32",
  },
  "out = (x - mean) * rstd * w + b, rstd[r] = 1 / sqrt(var(x[r]) + eps); units are rows",
  (f) => {
    const { x, w, b, out, mean, rstd, cols, eps, from, to } = f.p;
    const [a, weight, bias] = f.locals("i32", 3);
    const [sum, m, r] = f.locals("f32", 3);
    const square = f.locals("v128", 4);
    const single = f.local("f32");
    return eachRow(
      f,
      from,
      to,
      [
        [x, bytesOf(cols)],
        [out, bytesOf(cols)],
        [mean, c(4)],
        [rstd, c(4)],
      ],
      a.set(x),
      fold(f, cols, [[a, 4]], [sum], "sum", (o, k) => [o.load(a, 4 * k)]),
      m.set(f32.div(sum, f32Of(cols))),
      a.set(x),
      fold(f, cols, [[a, 4]], [sum], "sum", (o, k) => {
        const d = (o.type === "v128" ? square[k / 4] : single) as unknown as Local<typeof o.type>;
        return [o.mul(d.tee(o.sub(o.load(a, 4 * k), o.splat(m))), d)];
      }),
      r.set(f32.div(f32.const(1), f32.sqrt(f32.add(f32.div(sum, f32Of(cols)), eps)))),
      f32.store(mean, m),
      f32.store(rstd, r),
      next(mean),
      next(rstd),
      weight.set(w),
      bias.set(b),
      stream(
        f,
        cols,
        [
          [x, 4],
          [weight, 4],
          [bias, 4],
          [out, 4],
        ],
        4,
        (o, k) =>
          o.store(
            out,
            o.add(
              o.mul(o.mul(o.sub(o.load(x, 4 * k), o.splat(m)), o.splat(r)), o.load(weight, 4 * k)),
              o.load(bias, 4 * k),
            ),
            4 * k,
          ),
      ),
    );
  },
);

/** The two backward passes differ by the mean that LayerNorm takes off, and its bias. */
function backward(centred: boolean): Described {
  const own: Record<string, ValType> = centred ? { mean: "i32" } : {};
  const partials: Record<string, ValType> = centred ? { dwPartial: "i32", dbPartial: "i32" } : { dwPartial: "i32" };
  const params = {
    x: "i32",
    w: "i32",
    ...own,
    rstd: "i32",
    dy: "i32",
    dx: "i32",
    ...partials,
    cols: "i32",
    rowsPerChunk: "i32",
    rows: "i32",
    from: "i32",
    to: "i32",
  } as const;
  const does = centred
    ? "dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy w; dwPartial[k] and dbPartial[k] = the sums over chunk k"
    : "dx = rstd (g - xhat mean(g xhat)), g = dy w; dwPartial[k] = the sum of dy xhat over chunk k";
  return described(params, `${does}; units are chunks of rowsPerChunk rows`, (f) => {
    const p = f.p as Readonly<Record<string, Local<"i32">>>;
    const { x, w, rstd, dy, dx, cols, rowsPerChunk, rows, from, to } = p;
    const [chunk, row, end, a, b, weight, xx, dd, target, dw, db] = f.locals("i32", 11);
    const [sumG, sumGx, r, m] = f.locals("f32", 4);
    const last = i32.mul(i32.add(chunk, c(1)), rowsPerChunk);
    const rowOf = (base: Expr<"i32">, index: Expr<"i32">): Expr<"i32"> => i32.add(base, bytesOf(i32.mul(index, cols)));
    const scalarOf = (base: Expr<"i32">): Expr<"f32"> => f32.load(i32.add(base, bytesOf(row)));
    const sums = centred ? [sumGx, sumG] : [sumGx];
    const outputs = centred ? [dw, db] : [dw];
    const locals = new Map<string, Local>();
    /** one local for a name and type, shared by the unrolled steps' loops */
    const held = <T extends ValType>(type: T, name: string): Local<T> => {
      const key = `${type} ${name}`;
      const found = locals.get(key) ?? f.local(type);
      locals.set(key, found);
      return found as Local<T>;
    };
    const moving: Cursor[] = [[xx, 4], [dd, 4], [weight, 4], [target, 4], ...outputs.map((o): Cursor => [o, 4])];
    return forRange(
      chunk,
      from,
      to,
      1,
      ...outputs.flatMap((o, i) => [
        o.set(rowOf(i === 0 ? p.dwPartial : p.dbPartial, chunk)),
        stream(f, cols, [[o, 4]], 4, (lanes, k) => lanes.store(o, lanes.value(0), 4 * k)),
      ]),
      end.set(select(last, rows, i32.lt(last, rows))),
      forRange(
        row,
        i32.mul(chunk, rowsPerChunk),
        end,
        1,
        r.set(scalarOf(rstd)),
        centred ? m.set(scalarOf(p.mean)) : seq(),
        a.set(rowOf(x, row)),
        b.set(rowOf(dy, row)),
        weight.set(w),
        fold(
          f,
          cols,
          [
            [a, 4],
            [b, 4],
            [weight, 4],
          ],
          sums,
          "sum",
          (o, k) => {
            const g = held(o.type, `g${k}`);
            const value = o.load(a, 4 * k);
            const xhat = o.mul(centred ? o.sub(value, o.splat(m)) : value, o.splat(r));
            const product = o.mul(g.tee(o.mul(o.load(b, 4 * k), o.load(weight, 4 * k))), xhat);
            return centred ? [product, g] : [product];
          },
        ),
        ...sums.map((s) => s.set(f32.div(s, f32Of(cols)))),
        xx.set(rowOf(x, row)),
        dd.set(rowOf(dy, row)),
        weight.set(w),
        target.set(rowOf(dx, row)),
        ...outputs.map((o, i) => o.set(rowOf(i === 0 ? p.dwPartial : p.dbPartial, chunk))),
        stream(f, cols, moving, 2, (o, k) => {
          const xhat = held(o.type, `xhat${k}`);
          const d = held(o.type, `d${k}`);
          const value = o.load(xx, 4 * k);
          const g = o.mul(d, o.load(weight, 4 * k));
          const level = centred ? o.sub(g, o.splat(sumG)) : g;
          return seq(
            xhat.set(o.mul(centred ? o.sub(value, o.splat(m)) : value, o.splat(r))),
            d.set(o.load(dd, 4 * k)),
            o.store(dw, o.add(o.load(dw, 4 * k), o.mul(d, xhat)), 4 * k),
            centred ? o.store(db, o.add(o.load(db, 4 * k), d), 4 * k) : seq(),
            o.store(target, o.mul(o.splat(r), o.sub(level, o.mul(xhat, o.splat(sumGx)))), 4 * k),
          );
        }),
      ),
    );
  });
}

export const rmsnorm: Kernel = defineKernel({
  name: "rmsnorm-f32",
  family: "norm",
  summary: "RMSNorm over the last axis and its gradient.",
  functions: { forward: rmsForward, backward: backward(false) },
  trials: rmsnormTrials,
});

export const layernorm: Kernel = defineKernel({
  name: "layernorm-f32",
  family: "norm",
  summary: "LayerNorm with bias over the last axis and its gradient.",
  functions: { forward: layerForward, backward: backward(true) },
  trials: layernormTrials,
});
