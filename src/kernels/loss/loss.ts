/**
 * Losses over rows of logits: cross-entropy with integer targets, and KL divergence to a teacher (Hinton, Vinyals and
 * Dean 2015). Softmaxes are never stored; the log of the sum of exponentials is. Logits must be finite in `distill`.
 */
import type { Kernel } from "../kernel.ts";
import { defineKernel, described } from "../pointwise/define.ts";
import type { Maker } from "../pointwise/lanes.ts";
import { expOf, logS } from "../pointwise/math.ts";
import { eachRow, fold, stream } from "../pointwise/stream.ts";
import type { Expr, Local, Stmt } from "../wasm/asm.ts";
import { f32, i32, seq, when } from "../wasm/asm.ts";
import { crossEntropyTrials, distillTrials } from "./loss.trials.ts";

const c = i32.const;
const bytesOf = (count: Expr<"i32">): Expr<"i32"> => i32.shl(count, c(2));
const next = (p: Local<"i32">): Stmt => p.set(i32.add(p, c(4)));

/** result = log sum exp(factor * x) over a row; without a factor it is 1. */
function logSumExp(f: Maker, x: Expr<"i32">, cols: Expr<"i32">, result: Local<"f32">, factor?: Expr<"f32">): Stmt {
  const a = f.local("i32");
  const most = f.local("f32");
  const sum = f.local("f32");
  return seq(
    a.set(x),
    fold(f, cols, [[a, 4]], [most], "max", (o, k) => [
      factor ? o.mul(o.load(a, 4 * k), o.splat(factor)) : o.load(a, 4 * k),
    ]),
    a.set(x),
    fold(f, cols, [[a, 4]], [sum], "sum", (o, k) => {
      const value = factor ? o.mul(o.load(a, 4 * k), o.splat(factor)) : o.load(a, 4 * k);
      return [expOf(o, f, o.sub(value, o.splat(most)))];
    }),
    result.set(f32.add(most, logS(f, sum))),
  );
}

const crossForward = described(
  { logits: "i32", targets: "i32", loss: "i32", lse: "i32", cols: "i32", from: "i32", to: "i32" },
  "lse[r] = log sum exp logits[r], loss[r] = lse[r] - logits[r, targets[r]], 0 where targets[r] < 0; units are rows",
  (f) => {
    const { logits, targets, loss, lse, cols, from, to } = f.p;
    const sum = f.local("f32");
    const target = f.local("i32");
    return eachRow(
      f,
      from,
      to,
      [
        [logits, bytesOf(cols)],
        [targets, c(4)],
        [loss, c(4)],
        [lse, c(4)],
      ],
      logSumExp(f, logits, cols, sum),
      f32.store(lse, sum),
      target.set(i32.load(targets)),
      when(
        i32.lt(target, c(0)),
        f32.store(loss, f32.const(0)),
        f32.store(loss, f32.sub(sum, f32.load(i32.add(logits, bytesOf(target))))),
      ),
      logits.set(i32.add(logits, bytesOf(cols))),
      next(targets),
      next(loss),
      next(lse),
    );
  },
);

const crossBackward = described(
  {
    logits: "i32",
    targets: "i32",
    lse: "i32",
    scale: "f32",
    dlogits: "i32",
    cols: "i32",
    from: "i32",
    to: "i32",
  },
  "dlogits = (softmax - onehot) * scale, 0 in rows with targets[r] < 0; dlogits may be logits; units are rows",
  (f) => {
    const { logits, targets, lse, scale, dlogits, cols, from, to } = f.p;
    const sum = f.local("f32");
    const start = f.local("i32");
    const target = f.local("i32");
    const hit = i32.add(start, bytesOf(target));
    return eachRow(
      f,
      from,
      to,
      [
        [logits, bytesOf(cols)],
        [dlogits, bytesOf(cols)],
        [targets, c(4)],
        [lse, c(4)],
      ],
      sum.set(f32.load(lse)),
      target.set(i32.load(targets)),
      start.set(dlogits),
      when(
        i32.lt(target, c(0)),
        seq(
          logits.set(i32.add(logits, bytesOf(cols))),
          stream(f, cols, [[dlogits, 4]], 4, (o, k) => o.store(dlogits, o.value(0), 4 * k)),
        ),
        seq(
          stream(
            f,
            cols,
            [
              [logits, 4],
              [dlogits, 4],
            ],
            2,
            (o, k) =>
              o.store(dlogits, o.mul(expOf(o, f, o.sub(o.load(logits, 4 * k), o.splat(sum))), o.splat(scale)), 4 * k),
          ),
          f32.store(hit, f32.sub(f32.load(hit), scale)),
        ),
      ),
      next(targets),
      next(lse),
    );
  },
);

const distillForward = described(
  {
    student: "i32",
    teacher: "i32",
    loss: "i32",
    lseS: "i32",
    lseT: "i32",
    cols: "i32",
    invTemperature: "f32",
    from: "i32",
    to: "i32",
  },
  "loss[r] = KL(teacher || student) of softmax(logits[r] * invTemperature); lseS, lseT are saved; units are rows",
  (f) => {
    const { student, teacher, loss, lseS, lseT, cols, invTemperature: inv, from, to } = f.p;
    const [sumS, sumT, divergence] = f.locals("f32", 3);
    return eachRow(
      f,
      from,
      to,
      [
        [student, bytesOf(cols)],
        [teacher, bytesOf(cols)],
        [loss, c(4)],
        [lseS, c(4)],
        [lseT, c(4)],
      ],
      logSumExp(f, student, cols, sumS, inv),
      logSumExp(f, teacher, cols, sumT, inv),
      f32.store(lseS, sumS),
      f32.store(lseT, sumT),
      fold(
        f,
        cols,
        [
          [student, 4],
          [teacher, 4],
        ],
        [divergence],
        "sum",
        (o, k) => {
          const t = f.local(o.type);
          const p = o.sub(o.mul(o.load(teacher, 4 * k), o.splat(inv)), o.splat(sumT));
          const q = o.sub(o.mul(o.load(student, 4 * k), o.splat(inv)), o.splat(sumS));
          return [o.mul(expOf(o, f, t.tee(p)), o.sub(t, q))];
        },
      ),
      f32.store(loss, divergence),
      next(loss),
      next(lseS),
      next(lseT),
    );
  },
);

const distillBackward = described(
  {
    student: "i32",
    teacher: "i32",
    lseS: "i32",
    lseT: "i32",
    scale: "f32",
    dstudent: "i32",
    cols: "i32",
    invTemperature: "f32",
    accumulate: "i32",
    from: "i32",
    to: "i32",
  },
  "dstudent = (softmax of student - softmax of teacher) * scale * invTemperature, added if accumulate is 1; units are rows",
  (f) => {
    const { student, teacher, lseS, lseT, scale, dstudent, cols, invTemperature: inv, accumulate, from, to } = f.p;
    const [sumS, sumT, factor] = f.locals("f32", 3);
    const row = (add: boolean): Stmt =>
      stream(
        f,
        cols,
        [
          [student, 4],
          [teacher, 4],
          [dstudent, 4],
        ],
        1,
        (o, k) => {
          const p = expOf(o, f, o.sub(o.mul(o.load(student, 4 * k), o.splat(inv)), o.splat(sumS)));
          const q = expOf(o, f, o.sub(o.mul(o.load(teacher, 4 * k), o.splat(inv)), o.splat(sumT)));
          const gradient = o.mul(o.sub(p, q), o.splat(factor));
          return o.store(dstudent, add ? o.add(o.load(dstudent, 4 * k), gradient) : gradient, 4 * k);
        },
      );
    return seq(
      factor.set(f32.mul(scale, inv)),
      eachRow(
        f,
        from,
        to,
        [
          [student, bytesOf(cols)],
          [teacher, bytesOf(cols)],
          [dstudent, bytesOf(cols)],
          [lseS, c(4)],
          [lseT, c(4)],
        ],
        sumS.set(f32.load(lseS)),
        sumT.set(f32.load(lseT)),
        when(accumulate, row(true), row(false)),
        next(lseS),
        next(lseT),
      ),
    );
  },
);

export const crossEntropyKernel: Kernel = defineKernel({
  name: "cross-entropy-f32",
  family: "loss",
  summary: "Cross-entropy of logits with integer targets, row by row, and its gradient.",
  functions: { forward: crossForward, backward: crossBackward },
  trials: crossEntropyTrials,
});

export const distillKernel: Kernel = defineKernel({
  name: "distill-f32",
  family: "loss",
  summary: "KL divergence from a teacher's softmax to a student's at a temperature, row by row, and its gradient.",
  functions: { forward: distillForward, backward: distillBackward },
  trials: distillTrials,
});
