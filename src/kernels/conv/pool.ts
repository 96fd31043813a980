/**
 * Pooling of planes [H, W], its gradients, and the moves between channels and pixels of sub-pixel convolution.
 *
 * Padding is counted in no mean and wins no maximum. Among equal values the first of a window, row by row, is its
 * maximum. Units are planes throughout: an image's channel.
 */
import type { Kernel } from "../kernel.ts";
import { type Described, defineKernel, described } from "../pointwise/define.ts";
import { fold, stream } from "../pointwise/stream.ts";
import type { Expr, FunctionScope, Local, Stmt, ValType } from "../wasm/asm.ts";
import { f32, forRange, i32, select, seq, when } from "../wasm/asm.ts";
import { poolTrials } from "./pool.trials.ts";

const { add, sub, mul, shl, lt, gt } = i32;
const n = i32.const;
const bytes = (count: Expr<"i32">): Expr<"i32"> => shl(count, n(2));
const RANGE = { from: "i32", to: "i32" } as const;

const WINDOWS = {
  height: "i32",
  width: "i32",
  outHeight: "i32",
  outWidth: "i32",
  kernelHeight: "i32",
  kernelWidth: "i32",
  strideY: "i32",
  strideX: "i32",
  top: "i32",
  left: "i32",
  ...RANGE,
} as const;

type Scope = Pick<FunctionScope<Record<string, ValType>, "void">, "local" | "locals">;
type Ints<P> = { readonly [K in keyof P]: Local<"i32"> };

interface Window {
  /** first element of the plane in the input and in the output, and the output's index in it */
  readonly plane: Local<"i32">;
  readonly outPlane: Local<"i32">;
  readonly out: Local<"i32">;
  /** elements of the input in the window, at least one */
  readonly count: Expr<"i32">;
  /** the window's elements; `at` is the element's index in its plane */
  each(body: (at: Local<"i32">) => Stmt): Stmt;
}

/** `start` for each plane, then `body` for every output of it in order. */
function windows(f: Scope, p: Ints<typeof WINDOWS>, start: (w: Window) => Stmt, body: (w: Window) => Stmt): Stmt {
  const [u, plane, outPlane, out, oy, ox, y0, y1, x0, x1, y, x, at] = f.locals("i32", 13);
  const least = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => select(a, b, lt(a, b));
  const most = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => select(a, b, gt(a, b));
  const w: Window = {
    plane,
    outPlane,
    out,
    count: mul(sub(y1, y0), sub(x1, x0)),
    each: (visit) =>
      forRange(
        y,
        y0,
        y1,
        1,
        at.set(add(mul(y, p.width), x0)),
        forRange(x, x0, x1, 1, visit(at), at.set(add(at, n(1)))),
      ),
  };
  return forRange(
    u,
    p.from,
    p.to,
    1,
    plane.set(mul(u, mul(p.height, p.width))),
    outPlane.set(mul(u, mul(p.outHeight, p.outWidth))),
    start(w),
    out.set(n(0)),
    forRange(
      oy,
      n(0),
      p.outHeight,
      1,
      y0.set(sub(mul(oy, p.strideY), p.top)),
      y1.set(least(add(y0, p.kernelHeight), p.height)),
      y0.set(most(y0, n(0))),
      forRange(
        ox,
        n(0),
        p.outWidth,
        1,
        x0.set(sub(mul(ox, p.strideX), p.left)),
        x1.set(least(add(x0, p.kernelWidth), p.width)),
        x0.set(most(x0, n(0))),
        body(w),
        out.set(add(out, n(1))),
      ),
    ),
  );
}

const place = (base: Expr<"i32">, plane: Expr<"i32">, at: Expr<"i32">): Expr<"i32"> => add(base, bytes(add(plane, at)));

const max = described(
  { x: "i32", out: "i32", index: "i32", ...WINDOWS },
  "out = largest value of each window, index i32 = its place in the plane; NaN wins; units are planes",
  (f) => {
    const { p } = f;
    const best = f.local("i32");
    const [value, top] = f.locals("f32", 2);
    return windows(
      f,
      p,
      () => seq(),
      (w) =>
        seq(
          best.set(n(-1)),
          w.each((at) =>
            seq(
              value.set(f32.load(place(p.x, w.plane, at))),
              when(
                i32.or(i32.or(lt(best, n(0)), f32.gt(value, top)), f32.ne(value, value)),
                seq(best.set(at), top.set(value)),
              ),
            ),
          ),
          f32.store(place(p.out, w.outPlane, w.out), top),
          i32.store(place(p.index, w.outPlane, w.out), best),
        ),
    );
  },
);

const zeroPlane = (f: Scope, base: Expr<"i32">, plane: Expr<"i32">, size: Expr<"i32">): Stmt => {
  const at = f.local("i32");
  return seq(
    at.set(add(base, bytes(plane))),
    stream(f, size, [[at, 4]], 4, (o, k) => o.store(at, o.value(0), 4 * k)),
  );
};

const scatter = described(
  { dy: "i32", index: "i32", dx: "i32", size: "i32", outSize: "i32", ...RANGE },
  "dx = 0, then dx[index] += dy for each output of a plane in order; units are planes",
  (f) => {
    const { p } = f;
    const [u, i, at, source, which] = f.locals("i32", 5);
    return forRange(
      u,
      p.from,
      p.to,
      1,
      zeroPlane(f, p.dx, mul(u, p.size), p.size),
      source.set(add(p.dy, bytes(mul(u, p.outSize)))),
      which.set(add(p.index, bytes(mul(u, p.outSize)))),
      forRange(
        i,
        n(0),
        p.outSize,
        1,
        at.set(place(p.dx, mul(u, p.size), i32.load(which))),
        f32.store(at, f32.add(f32.load(at), f32.load(source))),
        source.set(add(source, n(4))),
        which.set(add(which, n(4))),
      ),
    );
  },
);

const sum = described(
  { x: "i32", out: "i32", mean: "i32", ...WINDOWS },
  "out = sum of each window, or where mean is 1 its mean over the elements that exist; units are planes",
  (f) => {
    const { p } = f;
    const total = f.local("f32");
    return windows(
      f,
      p,
      () => seq(),
      (w) =>
        seq(
          total.set(f32.const(0)),
          w.each((at) => total.set(f32.add(total, f32.load(place(p.x, w.plane, at))))),
          when(p.mean, total.set(f32.div(total, f32.convertI32s(w.count)))),
          f32.store(place(p.out, w.outPlane, w.out), total),
        ),
    );
  },
);

const spread = described(
  { dy: "i32", dx: "i32", mean: "i32", ...WINDOWS },
  "dx = 0, then each output of dy is added to its window, divided by the elements that exist where mean is 1; units " +
    "are planes of dx [height, width]",
  (f) => {
    const { p } = f;
    const [share, at4] = [f.local("f32"), f.local("i32")];
    return windows(
      f,
      p,
      (w) => zeroPlane(f, p.dx, w.plane, mul(p.height, p.width)),
      (w) =>
        seq(
          share.set(f32.load(place(p.dy, w.outPlane, w.out))),
          when(p.mean, share.set(f32.div(share, f32.convertI32s(w.count)))),
          w.each((at) => seq(at4.set(place(p.dx, w.plane, at)), f32.store(at4, f32.add(f32.load(at4), share)))),
        ),
    );
  },
);

const means = described(
  { x: "i32", out: "i32", size: "i32", ...RANGE },
  "out[u] = mean of the plane; units are planes",
  (f) => {
    const { p } = f;
    const [u, at] = f.locals("i32", 2);
    const total = f.local("f32");
    return seq(
      at.set(add(p.x, bytes(mul(p.from, p.size)))),
      forRange(
        u,
        p.from,
        p.to,
        1,
        fold(f, p.size, [[at, 4]], [total], "sum", (o, k) => [o.load(at, 4 * k)]),
        f32.store(add(p.out, bytes(u)), f32.div(total, f32.convertI32s(p.size))),
      ),
    );
  },
);

const meansBackward = described(
  { dy: "i32", dx: "i32", size: "i32", ...RANGE },
  "dx = dy[u] / size all over the plane; units are planes",
  (f) => {
    const { p } = f;
    const [u, at] = f.locals("i32", 2);
    const share = f.local("f32");
    return seq(
      at.set(add(p.dx, bytes(mul(p.from, p.size)))),
      forRange(
        u,
        p.from,
        p.to,
        1,
        share.set(f32.div(f32.load(add(p.dy, bytes(u))), f32.convertI32s(p.size))),
        stream(f, p.size, [[at, 4]], 4, (o, k) => o.store(at, o.splat(share), 4 * k)),
      ),
    );
  },
);

/** Between [C r r, H, W] and [C, H r, W r]; units are the C planes of the larger image. */
function shuffle(out: boolean): Described {
  const params = { x: "i32", out: "i32", height: "i32", width: "i32", factor: "i32", ...RANGE } as const;
  const does = out
    ? "out[u, y r + i, x r + j] = x[u r r + i r + j, y, x]; units are planes of out"
    : "out[u r r + i r + j, y, x] = x[u, y r + i, x r + j] with out of planes [height, width]; units are planes of x";
  return described(params, does, (f) => {
    const { p } = f;
    const [u, i, j, y, x, small, large, step] = f.locals("i32", 8);
    const [narrow, wide] = out ? [p.x, p.out] : [p.out, p.x];
    return [
      step.set(bytes(p.factor)),
      small.set(add(narrow, bytes(mul(mul(mul(p.from, mul(p.factor, p.factor)), p.height), p.width)))),
      forRange(
        u,
        p.from,
        p.to,
        1,
        forRange(
          i,
          n(0),
          p.factor,
          1,
          forRange(
            j,
            n(0),
            p.factor,
            1,
            forRange(
              y,
              n(0),
              p.height,
              1,
              // row (u H + y) r + i of the larger image, column j
              large.set(mul(add(mul(add(mul(u, p.height), y), p.factor), i), mul(p.width, p.factor))),
              large.set(add(wide, bytes(add(large, j)))),
              forRange(
                x,
                n(0),
                p.width,
                1,
                out ? f32.store(large, f32.load(small)) : f32.store(small, f32.load(large)),
                small.set(add(small, n(4))),
                large.set(add(large, step)),
              ),
            ),
          ),
        ),
      ),
    ];
  });
}

export const pool: Kernel = defineKernel({
  name: "pool-f32",
  family: "conv",
  summary: "Largest values, sums and means of windows with their gradients; channels to pixels and back",
  functions: { max, scatter, sum, spread, means, meansBackward, toPixels: shuffle(true), toChannels: shuffle(false) },
  trials: poolTrials,
});
