/** Trials of `channels-f32` against plain f64. */
import type { Comparison, Draw, Sandbox, Trial } from "../kernel.ts";
import { agree, EPS, inPieces } from "../pointwise/trial.ts";
import { type ChannelNorm, channelNorm, channelNormBackward, channelStatistics, channelsOf } from "./plain.ts";

/** Bounds 1 / sqrt(variance + eps) by 10, so that channels of almost equal values do not blow the rounding up. */
const NORM_EPS = Math.fround(1e-2);
const GAIN = 10;

function drawImages(draw: Draw) {
  const [images, channels, size] = [draw.int(1, 4), draw.int(1, 5), draw.int(1, 40)];
  return { images, channels, size, x: draw.floats(images * channels * size) };
}

/** Runs a function whole and in pieces into fresh outputs of the given lengths. */
function both(
  draw: Draw,
  box: Sandbox,
  units: number,
  lengths: readonly number[],
  run: (out: readonly number[], from: number, to: number) => void,
): { whole: Float32Array[]; pieces: Float32Array[] } {
  const make = (): number[] => lengths.map((n) => box.put(new Float32Array(n).fill(5)));
  const [whole, pieces] = [make(), make()];
  run(whole, 0, units);
  inPieces(draw, units, (from, to) => run(pieces, from, to));
  const read = (at: number[]): Float32Array[] => at.map((p, i) => box.f32(p, lengths[i]));
  return { whole: read(whole), pieces: read(pieces) };
}

const sums: Trial = {
  name: "sums",
  run(draw, box) {
    const { images, channels, size, x } = drawImages(draw);
    const at = box.put(x);
    const { whole, pieces } = both(draw, box, channels, [channels], ([out], from, to) => {
      box.call("sum", at, out, images, channels, size, from, to);
    });
    const all = channelsOf(x, channels, size);
    const want = all.map((v) => v.reduce((a, b) => a + b, 0));
    // An f32 sum of `size` terms an image, then exact.
    const tolerance = all.map((v) => size * EPS * v.reduce((a, b) => a + Math.abs(b), 0) + EPS);
    return agree("sum", whole[0], pieces[0], want, tolerance);
  },
};

/** An f32 sum of up to 40 terms of size 1.7, about half of it rounded, times a gain of up to 1.7 GAIN. */
const TOLERANCE = 40 * 1.7 * GAIN * EPS;

const forward: Trial = {
  name: "forward",
  run(draw, box) {
    const { images, channels, size, x } = drawImages(draw);
    const [gamma, beta] = [draw.floats(channels), draw.floats(channels)];
    const relu = draw.int(0, 1);
    const [px, pg, pb] = [box.put(x), box.put(gamma), box.put(beta)];
    const lengths = [x.length, channels, channels];
    const { whole, pieces } = both(draw, box, channels, lengths, ([out, mean, variance], from, to) => {
      box.call("forward", px, pg, pb, out, mean, variance, images, channels, size, NORM_EPS, relu, from, to);
    });
    const { mean, variance } = channelStatistics(x, channels, size);
    const n: ChannelNorm = { gamma, beta, mean, variance, eps: NORM_EPS, relu: relu === 1 };
    const want = [channelNorm(x, size, n), mean, variance];
    const applied = box.room(4 * x.length);
    const [pm, pv] = [box.put(whole[1]), box.put(whole[2])];
    box.call("apply", px, pg, pb, pm, pv, applied, images, channels, size, NORM_EPS, relu, 0, channels);
    return [
      ...["out", "mean", "variance"].flatMap((what, i) => agree(what, whole[i], pieces[i], want[i], TOLERANCE)),
      { what: "apply with the same statistics", got: box.f32(applied, x.length), want: whole[0], tolerance: 0 },
    ];
  },
};

const f = Math.fround;

const backward: Trial = {
  name: "backward",
  run(draw, box): Comparison[] {
    const { images, channels, size, x } = drawImages(draw);
    const [gamma, beta, dy] = [draw.floats(channels), draw.floats(channels), draw.floats(x.length)];
    const [relu, fixed] = [draw.int(0, 1), draw.int(0, 1)];
    const statistics = channelStatistics(x, channels, size);
    const mean = Float32Array.from(statistics.mean);
    const variance = Float32Array.from(statistics.variance);
    const [px, pg, pb, pm, pv, pd] = [x, gamma, beta, mean, variance, dy].map((v) => box.put(v));
    const args = [images, channels, size, NORM_EPS, relu, fixed];
    const lengths = [x.length, channels, channels];
    const { whole, pieces } = both(draw, box, channels, lengths, ([dx, dgamma, dbeta], from, to) => {
      box.call("backward", px, pg, pb, pm, pv, pd, dx, dgamma, dbeta, ...args, from, to);
    });
    const n: ChannelNorm = { gamma, beta, mean, variance, eps: NORM_EPS, relu: relu === 1 };
    // The kernel's own roundings decide where a value is above 0.
    const above = (i: number): boolean => {
      const c = Math.floor(i / size) % channels;
      const gain = f(gamma[c] * f(1 / f(Math.sqrt(f(variance[c] + NORM_EPS)))));
      return f(f(f(x[i] - mean[c]) * gain) + beta[c]) > 0;
    };
    const want = channelNormBackward(x, dy, size, n, fixed === 1, above);
    const inPlace = box.put(dy);
    const [dg, db] = [box.room(4 * channels), box.room(4 * channels)];
    box.call("backward", px, pg, pb, pm, pv, inPlace, inPlace, dg, db, ...args, 0, channels);
    // Up to 4 images of 40 pixels, each an f32 sum of terms of size 1.7 * 1.7 GAIN.
    const many = 4 * 40 * 1.7 * TOLERANCE;
    return [
      ...agree("dx", whole[0], pieces[0], want.dx, 1.7 * GAIN * TOLERANCE),
      ...agree("dgamma", whole[1], pieces[1], want.dgamma, many),
      ...agree("dbeta", whole[2], pieces[2], want.dbeta, many),
      { what: "in place", got: box.f32(inPlace, x.length), want: whole[0], tolerance: 0 },
    ];
  },
};

export const channelsTrials: readonly Trial[] = [sums, forward, backward];
