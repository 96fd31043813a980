/**
 * Augmentation of images [C, H, W] by draws that belong to (seed, epoch, example): the same example looks the same in an
 * epoch whatever its batch. Also noise on whole sets, for denoising targets and for tests under shift.
 */
import { demand } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import type { Examples } from "./examples.ts";
import { fillNormal } from "./noise.ts";

/** Changes the values of one example in place (scaled, not yet standardised). */
export type Augmentation = (x: Float32Array, shape: readonly number[], draw: Draw) => void;

export interface Draw {
  /** an integer in [0, n); `lane` 0 to 3 tells apart what one augmentation draws */
  below(lane: number, n: number): number;
  /** fills with standard normals */
  normals(out: Float32Array): void;
}

/** The draws of augmentation number `place` for one example. */
export function drawFor(seed: number, place: number, epoch: number, id: number): Draw {
  const name = `augment/${place}`;
  const index = epoch * 4294967296 + id;
  const words = stream(seed, name).words(index);
  return {
    below: (lane, n) => Math.floor((words[lane] * n) / 4294967296),
    normals: (out) => fillNormal(out, seed, `${name}/${epoch}/${id}`),
  };
}

/** Mirrors left and right with probability 1/2. */
export const flip = (): Augmentation => (x, shape, draw) => {
  const w = imageShape(shape)[2];
  if (draw.below(0, 2) === 0) return;
  for (let at = 0; at < x.length; at += w) x.subarray(at, at + w).reverse();
};

/** Pads by `pad` pixels of `fill` on every side and cuts the old size out at a random place: a shift in each direction. */
export const crop =
  (pad: number, fill = 0): Augmentation =>
  (x, shape, draw) => {
    const [c, h, w] = imageShape(shape);
    const down = draw.below(0, 2 * pad + 1) - pad;
    const right = draw.below(1, 2 * pad + 1) - pad;
    if (down === 0 && right === 0) return;
    const old = x.slice();
    for (let p = 0, at = 0; p < c; p++) {
      for (let i = 0; i < h; i++) {
        for (let j = 0; j < w; j++, at++) {
          const [u, v] = [i + down, j + right];
          x[at] = u >= 0 && u < h && v >= 0 && v < w ? old[(p * h + u) * w + v] : fill;
        }
      }
    }
  };

/** Adds normal noise of deviation `std`, in units of values. */
export const jitter = (std: number): Augmentation => {
  let noise = new Float32Array(0);
  return (x, _, draw) => {
    if (noise.length !== x.length) noise = new Float32Array(x.length);
    draw.normals(noise);
    for (let i = 0; i < x.length; i++) x[i] += std * noise[i];
  };
};

function imageShape(shape: readonly number[]): readonly number[] {
  demand(shape.length === 3, () => ({
    about: "augmentation",
    expected: "images [C, H, W]",
    got: `[${shape.join(", ")}]`,
    hint: "Leave it out for tables.",
  }));
  return shape;
}

/**
 * A copy with normal noise of deviation `std` added to every value (in units of values: 0.2 is a fifth of the range of an
 * image). Not clipped. The noise of an example depends on (seed, place) alone.
 */
export function withNoise(e: Examples, std: number, seed: number): Examples {
  const x = new Float32Array(e.x.length);
  fillNormal(x, seed, `noise/${e.name}`);
  for (let i = 0; i < x.length; i++) x[i] = e.x[i] * e.scale + std * x[i];
  return { ...e, x, scale: 1 };
}
