/**
 * A buffer of examples seen earlier, with what the network said of them: reservoir sampling (Vitter 1985) keeps each of the
 * n examples seen so far with the same probability, capacity / n, without knowing n beforehand.
 */
import { demand } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { type Examples, range, widthOf } from "./examples.ts";

/** Where the n-th example seen (from 0) goes: a place, or -1 where it is not kept. Draws depend on (seed, n) alone. */
export function reservoir(capacity: number, seed: number): (n: number) => number {
  const draws = stream(seed, "reservoir");
  return (n) => {
    if (n < capacity) return n;
    const place = draws.below(n, n + 1);
    return place < capacity ? place : -1;
  };
}

export class ReplayBuffer {
  readonly #place: (n: number) => number;
  readonly #like: Examples;
  readonly #all: Examples;
  readonly #outputs: Float32Array;
  readonly #draws;
  #seen = 0;
  #drawn = 0;

  /** For examples like those of `like`, with one output for each of its classes. */
  constructor(capacity: number, like: Examples, seed: number) {
    const width = widthOf(like);
    const { x } = like;
    this.#place = reservoir(capacity, seed);
    this.#draws = stream(seed, "replay");
    this.#like = like;
    this.#all = {
      ...like,
      name: "replay buffer",
      count: capacity,
      x: x instanceof Uint8Array ? new Uint8Array(capacity * width) : new Float32Array(capacity * width),
      y: new Uint8Array(capacity),
      ids: new Int32Array(capacity),
    };
    this.#outputs = new Float32Array(capacity * like.classes);
  }

  get seen(): number {
    return this.#seen;
  }

  get count(): number {
    return Math.min(this.#seen, this.#all.count);
  }

  /** What it holds now, without a copy. */
  get examples(): Examples {
    return range(this.#all, 0, this.count);
  }

  /** Shows it the examples of `e` at `places`, as they are before augmentation; `outputs` [B, C]. */
  add(e: Examples, places: Int32Array, outputs: Float32Array): void {
    const [width, classes] = [widthOf(e), this.#like.classes];
    demand(width === widthOf(this.#like) && outputs.length === places.length * classes, () => ({
      about: "replay buffer",
      expected: `examples of ${widthOf(this.#like)} values with ${classes} outputs each`,
      got: `${width} values, ${outputs.length} outputs for ${places.length} examples`,
      hint: "All tasks need one shape and one head.",
    }));
    places.forEach((p, row) => {
      const to = this.#place(this.#seen++);
      if (to < 0) return;
      this.#all.x.set(e.x.subarray(p * width, (p + 1) * width), to * width);
      this.#all.y[to] = e.y[p];
      this.#all.ids[to] = e.ids[p];
      this.#outputs.set(outputs.subarray(row * classes, (row + 1) * classes), to * classes);
    });
  }

  /** `n` different places drawn at random, or all where there are fewer; another draw at each call. */
  draw(n: number): Int32Array {
    const { count } = this;
    const order = Int32Array.from({ length: count }, (_, i) => i);
    const take = Math.min(n, count);
    const at = this.#drawn++ * 65536;
    for (let i = 0; i < take; i++) {
      const j = i + this.#draws.below(at + i, count - i);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order.slice(0, take);
  }

  /** Outputs [n, C] of the examples at these places, as they were when those were seen. */
  outputs(places: Int32Array): Float32Array {
    const { classes } = this.#like;
    const rows = new Float32Array(places.length * classes);
    places.forEach((p, row) => {
      rows.set(this.#outputs.subarray(p * classes, (p + 1) * classes), row * classes);
    });
    return rows;
  }
}
