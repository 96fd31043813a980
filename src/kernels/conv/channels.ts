/**
 * Work along the channels of images [B, C, size]: sums, an affine map, and batch normalisation (Ioffe and Szegedy 2015)
 * with its gradient. A channel's pixels are summed image by image in f32, the images in f64; units are channels.
 *
 * `relu` 1 applies max(., 0) to the result, and the backward pass recomputes where it was above 0. dx may lie over dy.
 */
import type { Kernel } from "../kernel.ts";
import { type Described, defineKernel, described } from "../pointwise/define.ts";
import type { Float, Int, Lanes } from "../pointwise/lanes.ts";
import { type Cursor, fold, stream, type Term } from "../pointwise/stream.ts";
import type { Expr, FunctionScope, Local, Stmt, ValType } from "../wasm/asm.ts";
import { after, f32, f64, forRange, i32, seq, when } from "../wasm/asm.ts";
import { channelsTrials } from "./channels.trials.ts";

const c = i32.const;
const bytesOf = (count: Expr<"i32">): Expr<"i32"> => i32.shl(count, c(2));
type Scope = Pick<FunctionScope<Record<string, ValType>, "void">, "local" | "locals">;

const SIZES = { images: "i32", channels: "i32", size: "i32" } as const;
const RANGE = { from: "i32", to: "i32" } as const;

/** A body for every image of a channel, with cursors at the channel's first pixel in each given array. */
function eachImage(
  f: Scope,
  p: Readonly<Record<"images" | "channels" | "size", Local<"i32">>>,
  channel: Local<"i32">,
  arrays: readonly (readonly [at: Local<"i32">, base: Expr<"i32">])[],
  ...body: readonly Stmt[]
): Stmt {
  const image = f.local("i32");
  const first = f.local("i32");
  return forRange(
    image,
    c(0),
    p.images,
    1,
    first.set(bytesOf(i32.mul(i32.add(i32.mul(image, p.channels), channel), p.size))),
    ...arrays.map(([at, base]) => at.set(i32.add(base, first))),
    ...body,
  );
}

/** f64 sums over all pixels of a channel of f32 terms. */
function channelSums(
  f: Scope,
  p: Readonly<Record<"images" | "channels" | "size", Local<"i32">>>,
  channel: Local<"i32">,
  arrays: readonly (readonly [at: Local<"i32">, base: Expr<"i32">])[],
  totals: readonly Local<"f64">[],
  term: Term,
): Stmt {
  const parts = totals.map(() => f.local("f32"));
  const cursors = arrays.map(([at]): Cursor => [at, 4]);
  return seq(
    ...totals.map((t) => t.set(f64.const(0))),
    eachImage(
      f,
      p,
      channel,
      arrays,
      fold(f, p.size, cursors, parts, "sum", term),
      ...totals.map((t, i) => t.set(f64.add(t, f64.promote(parts[i])))),
    ),
  );
}

const scalarAt = (base: Expr<"i32">, channel: Expr<"i32">): Expr<"f32"> => f32.load(i32.add(base, bytesOf(channel)));
const setScalar = (base: Expr<"i32">, channel: Expr<"i32">, value: Expr<"f32">): Stmt =>
  f32.store(i32.add(base, bytesOf(channel)), value);
const countOf = (p: Readonly<Record<"images" | "size", Local<"i32">>>): Expr<"f64"> =>
  f64.convertI32s(i32.mul(p.images, p.size));

/** One value an element that is read more than once: a local for lanes and one for single values. */
function held(f: Scope, count: number) {
  const wide = f.locals("v128", count);
  const single = f.locals("f32", count);
  return <F extends Float>(o: { readonly type: F }, i: number): Local<F> =>
    (o.type === "v128" ? wide[i] : single[i]) as unknown as Local<F>;
}

const sum = described(
  { x: "i32", out: "i32", ...SIZES, ...RANGE },
  "out[c] = sum over images and pixels of x[b, c, i]; units are channels",
  (f) => {
    const { p } = f;
    const channel = f.local("i32");
    const at = f.local("i32");
    const total = f.local("f64");
    return forRange(
      channel,
      p.from,
      p.to,
      1,
      channelSums(f, p, channel, [[at, p.x]], [total], (o, k) => [o.load(at, 4 * k)]),
      setScalar(p.out, channel, f32.demote(total)),
    );
  },
);

/** out = (x - mean) gain + beta, perhaps max(., 0), for all pixels of a channel. */
function normalise(
  f: Scope,
  p: Readonly<Record<"images" | "channels" | "size" | "relu", Local<"i32">>>,
  channel: Local<"i32">,
  x: Expr<"i32">,
  out: Expr<"i32">,
  [mean, gain, beta]: readonly Local<"f32">[],
): Stmt {
  const [source, target] = [f.local("i32"), f.local("i32")];
  const values = held(f, 4);
  const cursors: readonly Cursor[] = [
    [source, 4],
    [target, 4],
  ];
  const affine = <F extends Float, I extends Int>(o: Lanes<F, I>, k: number): Expr<F> =>
    o.add(o.mul(o.sub(o.load(source, 4 * k), o.splat(mean)), o.splat(gain)), o.splat(beta));
  const plain = stream(f, p.size, cursors, 4, (o, k) => o.store(target, affine(o, k), 4 * k));
  const rectified = stream(f, p.size, cursors, 4, (o, k) => {
    const v = values(o, Math.floor(k / 4));
    return seq(v.set(affine(o, k)), o.store(target, o.choose(o.value(0), v, o.lt(v, o.value(0))), 4 * k));
  });
  return eachImage(
    f,
    p,
    channel,
    [
      [source, x],
      [target, out],
    ],
    when(p.relu, rectified, plain),
  );
}

const forward = described(
  {
    x: "i32",
    gamma: "i32",
    beta: "i32",
    out: "i32",
    mean: "i32",
    variance: "i32",
    ...SIZES,
    eps: "f32",
    relu: "i32",
    ...RANGE,
  },
  "mean[c] and variance[c] (over all, not all but one) of x[b, c, i] over images and pixels; out = (x - mean) / " +
    "sqrt(variance + eps) gamma + beta; units are channels",
  (f) => {
    const { p } = f;
    const channel = f.local("i32");
    const at = f.local("i32");
    const [total, squares] = f.locals("f64", 2);
    const [mean, gain, beta] = f.locals("f32", 3);
    const differences = held(f, 4);
    return forRange(
      channel,
      p.from,
      p.to,
      1,
      channelSums(f, p, channel, [[at, p.x]], [total], (o, k) => [o.load(at, 4 * k)]),
      mean.set(f32.demote(f64.div(total, countOf(p)))),
      channelSums(f, p, channel, [[at, p.x]], [squares], (o, k) => {
        const d = differences(o, Math.floor(k / 4));
        return [o.mul(d.tee(o.sub(o.load(at, 4 * k), o.splat(mean))), d)];
      }),
      squares.set(f64.div(squares, countOf(p))),
      setScalar(p.mean, channel, mean),
      setScalar(p.variance, channel, f32.demote(squares)),
      gain.set(f32.mul(scalarAt(p.gamma, channel), reciprocalRoot(scalarAt(p.variance, channel), p.eps))),
      beta.set(scalarAt(p.beta, channel)),
      normalise(f, p, channel, p.x, p.out, [mean, gain, beta]),
    );
  },
);

const reciprocalRoot = (variance: Expr<"f32">, eps: Expr<"f32">): Expr<"f32"> =>
  f32.div(f32.const(1), f32.sqrt(f32.add(variance, eps)));

const apply = described(
  {
    x: "i32",
    gamma: "i32",
    beta: "i32",
    mean: "i32",
    variance: "i32",
    out: "i32",
    ...SIZES,
    eps: "f32",
    relu: "i32",
    ...RANGE,
  },
  "out = (x - mean) / sqrt(variance + eps) gamma + beta with given statistics; units are channels",
  (f) => {
    const { p } = f;
    const channel = f.local("i32");
    const [mean, gain, beta] = f.locals("f32", 3);
    return forRange(
      channel,
      p.from,
      p.to,
      1,
      mean.set(scalarAt(p.mean, channel)),
      gain.set(f32.mul(scalarAt(p.gamma, channel), reciprocalRoot(scalarAt(p.variance, channel), p.eps))),
      beta.set(scalarAt(p.beta, channel)),
      normalise(f, p, channel, p.x, p.out, [mean, gain, beta]),
    );
  },
);

function backward(): Described {
  const params = {
    x: "i32",
    gamma: "i32",
    beta: "i32",
    mean: "i32",
    variance: "i32",
    dy: "i32",
    dx: "i32",
    dgamma: "i32",
    dbeta: "i32",
    ...SIZES,
    eps: "f32",
    relu: "i32",
    fixed: "i32",
    ...RANGE,
  } as const;
  const does =
    "with xhat = (x - mean) / sqrt(variance + eps) and g = dy (0 where relu cut): dbeta = sum g, dgamma = sum g xhat, " +
    "dx = gamma / sqrt(variance + eps) (g - mean g - xhat mean(g xhat)), or without the means where fixed is 1; units " +
    "are channels";
  return described(params, does, (f) => {
    const { p } = f;
    const channel = f.local("i32");
    const [a, d, target] = f.locals("i32", 3);
    const [sumG, sumGx] = f.locals("f64", 2);
    const [mean, rstd, gain, beta, meanG, meanGx] = f.locals("f32", 6);
    const store = held(f, 12);
    const arrays = [
      [a, p.x],
      [d, p.dy],
    ] as const;
    /** Sets the centred value and g of an element; both are then cheap to read. */
    const load = <F extends Float, I extends Int>(o: Lanes<F, I>, k: number, relu: boolean) => {
      const [centred, g] = [store(o, 3 * Math.floor(k / 4)), store(o, 3 * Math.floor(k / 4) + 1)];
      const set = seq(centred.set(o.sub(o.load(a, 4 * k), o.splat(mean))), g.set(o.load(d, 4 * k)));
      // The same two roundings as in the forward pass, so that both sides agree on the sign.
      const out = o.add(o.mul(centred, o.splat(gain)), o.splat(beta));
      const cut = relu ? g.set(o.choose(g, o.value(0), o.gt(out, o.value(0)))) : seq();
      return { centred, g, set: seq(set, cut) };
    };
    const sums = (relu: boolean): Stmt =>
      channelSums(f, p, channel, arrays, [sumG, sumGx], (o, k) => {
        const { centred, g, set } = load(o, k, relu);
        return [after(set, g), o.mul(g, o.mul(centred, o.splat(rstd)))];
      });
    const write = (relu: boolean): Stmt =>
      eachImage(
        f,
        p,
        channel,
        [...arrays, [target, p.dx]],
        stream(
          f,
          p.size,
          [
            [a, 4],
            [d, 4],
            [target, 4],
          ],
          2,
          (o, k) => {
            const { centred, g, set } = load(o, k, relu);
            const xhat = o.mul(centred, o.splat(rstd));
            const value = o.sub(o.sub(g, o.splat(meanG)), o.mul(xhat, o.splat(meanGx)));
            return seq(set, o.store(target, o.mul(o.splat(gain), value), 4 * k));
          },
        ),
      );
    return forRange(
      channel,
      p.from,
      p.to,
      1,
      mean.set(scalarAt(p.mean, channel)),
      rstd.set(reciprocalRoot(scalarAt(p.variance, channel), p.eps)),
      gain.set(f32.mul(scalarAt(p.gamma, channel), rstd)),
      beta.set(scalarAt(p.beta, channel)),
      when(p.relu, sums(true), sums(false)),
      setScalar(p.dbeta, channel, f32.demote(sumG)),
      setScalar(p.dgamma, channel, f32.demote(sumGx)),
      meanG.set(f32.const(0)),
      meanGx.set(f32.const(0)),
      when(
        i32.eqz(p.fixed),
        seq(meanG.set(f32.demote(f64.div(sumG, countOf(p)))), meanGx.set(f32.demote(f64.div(sumGx, countOf(p))))),
      ),
      when(p.relu, write(true), write(false)),
    );
  });
}

export const channelsKernel: Kernel = defineKernel({
  name: "channels-f32",
  family: "conv",
  summary: "Sums over the pixels of a channel, and batch normalisation with its gradient",
  functions: { sum, forward, apply, backward: backward() },
  trials: channelsTrials,
});
