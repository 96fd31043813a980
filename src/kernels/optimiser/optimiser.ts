/**
 * One step of AdamW (Loshchilov and Hutter 2019), of Adam with the decay in the gradient (Kingma and Ba 2015) or of SGD
 * with momentum, in place over p, m and v.
 *
 * The masked forms leave p, m and v at 0 wherever the mask is 0, so that decay acts on kept weights only and a weight
 * that grows later starts without a past. The held forms leave p there as it was, and m and v at 0.
 */
import type { Kernel } from "../kernel.ts";
import { type Described, defineKernel, described } from "../pointwise/define.ts";
import type { Float, Int, Lanes } from "../pointwise/lanes.ts";
import { type Cursor, streamRange } from "../pointwise/stream.ts";
import type { Expr, Local, Stmt, ValType } from "../wasm/asm.ts";
import { f32, select, seq } from "../wasm/asm.ts";
import { adamTrials, adamwTrials, sgdTrials } from "./optimiser.trials.ts";

type Params = Readonly<Record<string, ValType>>;
const RANGE = { from: "i32", to: "i32" } as const;

/** What becomes of p where the mask is 0; `none`: there is no mask. */
type Masking = "none" | "zero" | "held";

const ENDING: Record<Masking, string> = {
  none: "",
  zero: "; p, m, v are 0 where the mask's byte is 0",
  held: "; where the mask's byte is 0, p stays and m, v are 0",
};

/** Reads the mask where there is one; `off` (default 0) where it is 0. */
function keeper(masked: boolean, mask: Expr<"i32">) {
  return <F extends Float, I extends Int>(o: Lanes<F, I>, value: Expr<F>, k: number, off?: Expr<F>): Expr<F> =>
    masked ? o.choose(value, off ?? o.value(0), o.some(o.loadBytes(mask, k))) : value;
}

/** `coupled`: the decay is added to the gradient, so that both moments see it; else it acts on the weight alone. */
function adamStep(masking: Masking, coupled: boolean): Described {
  const masked = masking !== "none";
  const params: Params = {
    p: "i32",
    g: "i32",
    m: "i32",
    v: "i32",
    lr: "f32",
    beta1: "f32",
    beta2: "f32",
    eps: "f32",
    decay: "f32",
    correction1: "f32",
    correction2: "f32",
    gradScale: "f32",
    ...(masked ? { mask: "i32" } : {}),
    ...RANGE,
  };
  const does =
    `m = beta1 m + (1 - beta1) g', v = beta2 v + (1 - beta2) g'^2, g' = gradScale g${coupled ? " + decay p" : ""}; ` +
    `p -= lr (m correction1 / (sqrt(v correction2) + eps)${coupled ? "" : " + decay p"})` +
    ENDING[masking];
  return described(params, does, (f) => {
    const all = f.p as Readonly<Record<string, Local>>;
    const pointer = (name: string): Local<"i32"> => all[name] as Local<"i32">;
    const number = (name: string): Local<"f32"> => all[name] as Local<"f32">;
    const [p, g, m, v] = ["p", "g", "m", "v"].map(pointer);
    const keep = keeper(masked, masked ? pointer("mask") : p);
    const [rest1, rest2] = [f.local("f32"), f.local("f32")];
    const cursors: Cursor[] = [
      [p, 4],
      [g, 4],
      [m, 4],
      [v, 4],
    ];
    if (masked) cursors.push([pointer("mask"), 1]);
    const body = <F extends Float, I extends Int>(o: Lanes<F, I>, k: number): Stmt => {
      const [weight, gradient, first, second] = Array.from({ length: 4 }, () => f.local(o.type));
      const of = (name: string): Expr<F> => o.splat(number(name));
      const update = o.div(o.mul(first, of("correction1")), o.add(o.sqrt(o.mul(second, of("correction2"))), of("eps")));
      const pull = o.mul(of("decay"), weight);
      const change = o.mul(of("lr"), coupled ? update : o.add(update, pull));
      const scaled = o.mul(o.load(g, 4 * k), of("gradScale"));
      return seq(
        weight.set(o.load(p, 4 * k)),
        gradient.set(coupled ? o.add(scaled, pull) : scaled),
        first.set(o.add(o.mul(of("beta1"), o.load(m, 4 * k)), o.mul(o.splat(rest1), gradient))),
        second.set(o.add(o.mul(of("beta2"), o.load(v, 4 * k)), o.mul(o.splat(rest2), o.mul(gradient, gradient)))),
        o.store(m, keep(o, first, k), 4 * k),
        o.store(v, keep(o, second, k), 4 * k),
        o.store(p, keep(o, o.sub(weight, change), k, masking === "held" ? weight : undefined), 4 * k),
      );
    };
    return seq(
      rest1.set(f32.sub(f32.const(1), number("beta1"))),
      rest2.set(f32.sub(f32.const(1), number("beta2"))),
      streamRange(f, pointer("from"), pointer("to"), cursors, 1, body),
    );
  });
}

function sgdStep(masking: Masking): Described {
  const masked = masking !== "none";
  const params: Params = {
    p: "i32",
    g: "i32",
    m: "i32",
    lr: "f32",
    momentum: "f32",
    decay: "f32",
    gradScale: "f32",
    nesterov: "i32",
    ...(masked ? { mask: "i32" } : {}),
    ...RANGE,
  };
  const does =
    "g' = gradScale g + decay p; m = momentum m + g'; p -= lr m, or lr (g' + momentum m) if nesterov is 1" +
    ENDING[masking].replaceAll(", v", "");
  return described(params, does, (f) => {
    const all = f.p as Readonly<Record<string, Local>>;
    const pointer = (name: string): Local<"i32"> => all[name] as Local<"i32">;
    const number = (name: string): Local<"f32"> => all[name] as Local<"f32">;
    const [p, g, m] = ["p", "g", "m"].map(pointer);
    const keep = keeper(masked, masked ? pointer("mask") : p);
    // the update is ownShare g' + pastShare m
    const [ownShare, pastShare] = [f.local("f32"), f.local("f32")];
    const nesterov = pointer("nesterov");
    const cursors: Cursor[] = [
      [p, 4],
      [g, 4],
      [m, 4],
    ];
    if (masked) cursors.push([pointer("mask"), 1]);
    const body = <F extends Float, I extends Int>(o: Lanes<F, I>, k: number): Stmt => {
      const [weight, gradient, first] = Array.from({ length: 3 }, () => f.local(o.type));
      const of = (name: string): Expr<F> => o.splat(number(name));
      const update = o.add(o.mul(o.splat(ownShare), gradient), o.mul(o.splat(pastShare), first));
      return seq(
        weight.set(o.load(p, 4 * k)),
        gradient.set(o.add(o.mul(o.load(g, 4 * k), of("gradScale")), o.mul(of("decay"), weight))),
        first.set(o.add(o.mul(of("momentum"), o.load(m, 4 * k)), gradient)),
        o.store(m, keep(o, first, k), 4 * k),
        o.store(p, keep(o, o.sub(weight, o.mul(of("lr"), update)), k, masking === "held" ? weight : undefined), 4 * k),
      );
    };
    return seq(
      ownShare.set(select(f32.const(1), f32.const(0), nesterov)),
      pastShare.set(select(number("momentum"), f32.const(1), nesterov)),
      streamRange(f, pointer("from"), pointer("to"), cursors, 2, body),
    );
  });
}

export const adamw: Kernel = defineKernel({
  name: "adamw-f32",
  family: "optimiser",
  summary: "A step of AdamW with decoupled decay, dense or under a mask.",
  functions: {
    step: adamStep("none", false),
    stepMasked: adamStep("zero", false),
    stepHeld: adamStep("held", false),
  },
  trials: adamwTrials,
});

export const adam: Kernel = defineKernel({
  name: "adam-f32",
  family: "optimiser",
  summary: "A step of Adam with the decay added to the gradient, dense or under a mask.",
  functions: { step: adamStep("none", true), stepMasked: adamStep("zero", true), stepHeld: adamStep("held", true) },
  trials: adamTrials,
});

export const sgd: Kernel = defineKernel({
  name: "sgd-f32",
  family: "optimiser",
  summary: "A step of gradient descent with momentum, Nesterov's if wanted, dense or under a mask.",
  functions: { step: sgdStep("none"), stepMasked: sgdStep("zero"), stepHeld: sgdStep("held") },
  trials: sgdTrials,
});
