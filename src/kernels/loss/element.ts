/**
 * Losses of single elements and their gradients: squared and absolute difference, binary cross-entropy with logits, and
 * the ranking loss of a pair, -ln sigmoid(positive - negative) (Rendle et al. 2009, "BPR").
 *
 * Forward functions write one loss an element; sums are taken elsewhere, in f64. Backward functions take the factor
 * that the mean and the gradient from above give. Outputs may be the inputs themselves.
 */
import type { Kernel } from "../kernel.ts";
import { type Described, defineKernel, described } from "../pointwise/define.ts";
import type { Float, Int, Lanes, Maker } from "../pointwise/lanes.ts";
import { expOf, logOf, sigmoidOf } from "../pointwise/math.ts";
import { streamRange } from "../pointwise/stream.ts";
import type { Expr, Local } from "../wasm/asm.ts";
import { after, seq } from "../wasm/asm.ts";
import { elementLossTrials } from "./element.trials.ts";

type Formula = <F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, a: Local<F>, b: Local<F>) => Expr<F>;

function forward(does: string, formula: Formula): Described {
  return described({ a: "i32", b: "i32", out: "i32", from: "i32", to: "i32" }, does, (f) => {
    const { a, b, out, from, to } = f.p;
    return streamRange(
      f,
      from,
      to,
      [
        [a, 4],
        [b, 4],
        [out, 4],
      ],
      1,
      (o, k) => {
        const [va, vb] = [f.local(o.type), f.local(o.type)];
        return seq(va.set(o.load(a, 4 * k)), vb.set(o.load(b, 4 * k)), o.store(out, formula(o, f, va, vb), 4 * k));
      },
    );
  });
}

function backward(does: string, slope: Formula): Described {
  return described({ a: "i32", b: "i32", scale: "f32", out: "i32", from: "i32", to: "i32" }, does, (f) => {
    const { a, b, scale, out, from, to } = f.p;
    return streamRange(
      f,
      from,
      to,
      [
        [a, 4],
        [b, 4],
        [out, 4],
      ],
      1,
      (o, k) => {
        const [va, vb] = [f.local(o.type), f.local(o.type)];
        return seq(
          va.set(o.load(a, 4 * k)),
          vb.set(o.load(b, 4 * k)),
          o.store(out, o.mul(o.splat(scale), slope(o, f, va, vb)), 4 * k),
        );
      },
    );
  });
}

/** ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|), which neither overflows nor loses small values of the first term */
function softplus<F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, z: Expr<F>): Expr<F> {
  const v = f.local(o.type);
  const tail = logOf(o, f, o.add(o.value(1), expOf(o, f, o.neg(o.abs(v)))));
  return after(v.set(z), o.add(o.choose(v, o.value(0), o.gt(v, o.value(0))), tail));
}

const sign: Formula = (o, f, a, b) => {
  const d = f.local(o.type);
  const below = o.choose(o.value(-1), o.value(0), o.lt(d, o.value(0)));
  return after(d.set(o.sub(a, b)), o.choose(o.value(1), below, o.gt(d, o.value(0))));
};

const squared: Formula = (o, f, a, b) => {
  const d = f.local(o.type);
  return after(d.set(o.sub(a, b)), o.mul(d, d));
};

export const elementLossKernel: Kernel = defineKernel({
  name: "element-loss-f32",
  family: "loss",
  summary: "Squared, absolute, binary cross-entropy and pairwise ranking loss, element by element, with gradients.",
  functions: {
    squared: forward("out = (a - b)^2", squared),
    squaredBackward: backward("out = scale * (a - b)", (o, _, a, b) => o.sub(a, b)),
    absolute: forward("out = |a - b|", (o, _, a, b) => o.abs(o.sub(a, b))),
    absoluteBackward: backward("out = scale * sign(a - b), 0 where they are equal", sign),
    binary: forward("out = ln(1 + e^a) - a b: the cross-entropy of sigmoid(a) with the target b", (o, f, a, b) =>
      o.sub(softplus(o, f, a), o.mul(a, b)),
    ),
    binaryBackward: backward("out = scale * (sigmoid(a) - b)", (o, f, a, b) => o.sub(sigmoidOf(o, f, a), b)),
    ranking: forward("out = -ln sigmoid(a - b), a the positive's score", (o, f, a, b) => softplus(o, f, o.sub(b, a))),
    rankingBackward: backward(
      "out = scale * sigmoid(b - a): the gradient of b, and less the gradient of a",
      (o, f, a, b) => sigmoidOf(o, f, o.sub(b, a)),
    ),
  },
  trials: elementLossTrials,
});
