/** Trials of the element losses against plain f64. */
import type { Draw, Sandbox, Trial } from "../kernel.ts";
import { agree, EPS, inPieces } from "../pointwise/trial.ts";
import * as plain from "./plain.ts";

interface Case {
  readonly fn: keyof typeof plain.elementLosses;
  /** bound of the error in units of EPS from the sizes of the terms; each operation adds about one of its result */
  readonly bound: (a: number, b: number) => number;
}

const abs = Math.abs;
const size = (a: number, b: number): number => abs(a) + abs(b);

const cases: readonly Case[] = [
  { fn: "squared", bound: (a, b) => 4 * (a - b) ** 2 },
  { fn: "squaredBackward", bound: (a, b) => 2 * abs(a - b) },
  { fn: "absolute", bound: (a, b) => abs(a - b) },
  { fn: "absoluteBackward", bound: () => 0 },
  // softplus: 1 + e^-|z| is rounded once (one unit of at most 2) and its logarithm to a few units
  { fn: "binary", bound: (a, b) => 8 + 3 * abs(a) * (1 + abs(b)) },
  { fn: "binaryBackward", bound: (_, b) => 8 + 2 * abs(b) },
  { fn: "ranking", bound: (a, b) => 8 + 3 * size(a, b) },
  // the argument of exp carries a rounding of its own size, which is a relative error of e^x
  { fn: "rankingBackward", bound: (a, b) => 8 + size(a, b) },
];

const FLOOR = 2 ** -140;

function trial({ fn, bound }: Case): Trial {
  return {
    name: fn,
    run(draw: Draw, box: Sandbox) {
      const n = draw.int(0, 70);
      const scale = Math.fround(draw.int(-12, 12) / 8);
      const [a, b] = [draw.floats(n, draw.int(1, 8)), draw.floats(n, draw.int(1, 8))];
      if (n > 1) b[1] = a[1];
      const [pa, pb] = [box.put(a), box.put(b)];
      const [whole, pieces] = [box.room(4 * n), box.room(4 * n)];
      const isBackward = fn.endsWith("Backward");
      const numbers = isBackward ? [scale] : [];
      box.call(fn, pa, pb, ...numbers, whole, 0, n);
      inPieces(draw, n, (from, to) => box.call(fn, pa, pb, ...numbers, pieces, from, to));
      const factor = isBackward ? scale : 1;
      const want = Array.from(a, (x, i) => factor * plain.elementLosses[fn](x, b[i]));
      const tolerance = Array.from(a, (x, i) => EPS * abs(factor) * bound(x, b[i]) + EPS * abs(want[i]) + FLOOR);
      const checks = agree("out", box.f32(whole, n).slice(), box.f32(pieces, n).slice(), want, tolerance);
      box.call(fn, pa, pb, ...numbers, pb, 0, n);
      return [...checks, { what: "in place", got: box.f32(pb, n), want: checks[0].got, tolerance: 0 }];
    },
  };
}

export const elementLossTrials: readonly Trial[] = cases.map(trial);
