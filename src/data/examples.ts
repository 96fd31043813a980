/**
 * Labelled examples in compact arrays, images or rows of a table, and what is done with them before training: subsets,
 * splits, classes apart, pooled pixels. Everything is a pure function; nothing is shuffled without a seed.
 */
import { demand, LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";

export interface Examples {
  /** what errors and reports call it, as `fashion-mnist train` */
  readonly name: string;
  /** N */
  readonly count: number;
  /** of one example: [C, H, W] for images, [D] for rows of a table */
  readonly shape: readonly number[];
  readonly classes: number;
  /** [N, ...shape], row-major; a value is `x * scale` */
  readonly x: Uint8Array | Float32Array;
  /** 1/255 for bytes of images, 1 otherwise */
  readonly scale: number;
  /** [N], the class of each */
  readonly y: Uint8Array;
  /** [N], the place in the source file; stays with an example through subsets and splits */
  readonly ids: Int32Array;
}

export interface Splits<T = Examples> {
  readonly train: T;
  readonly validation: T;
  readonly test: T;
}

/** Values of one example. */
export const widthOf = (e: Examples): number => e.shape.reduce((a, b) => a * b, 1);

const counting = (from: number, to: number): Int32Array => Int32Array.from({ length: to - from }, (_, i) => from + i);

/** Puts arrays together and checks that they belong together. */
export function examples(parts: Omit<Examples, "count" | "ids" | "scale"> & Partial<Examples>): Examples {
  const { name, shape, classes, x, y } = parts;
  const count = y.length;
  const width = shape.reduce((a, b) => a * b, 1);
  const about = `data set ${name}`;
  demand(x.length === count * width, () => ({
    about,
    expected: `${count} examples of [${shape.join(", ")}], ${count * width} values`,
    got: `${x.length} values`,
    hint: "The two files do not belong together.",
  }));
  const wrong = y.findIndex((label) => label >= classes);
  demand(wrong < 0, () => ({
    about,
    expected: `labels from 0 to ${classes - 1}`,
    got: `${y[wrong]} for example ${wrong}`,
    hint: "The file is damaged or has another layout.",
  }));
  const ids = parts.ids ?? counting(0, count);
  return { name, count, shape, classes, x, y, ids, scale: parts.scale ?? (x instanceof Uint8Array ? 1 / 255 : 1) };
}

/** The examples [from, to), without a copy. */
export function range(e: Examples, from: number, to: number): Examples {
  demand(0 <= from && from <= to && to <= e.count, () => ({
    about: `data set ${e.name}`,
    expected: `a range within its ${e.count} examples`,
    got: `${from} to ${to}`,
    hint: "Ask for fewer examples.",
  }));
  const w = widthOf(e);
  return {
    ...e,
    count: to - from,
    x: e.x.subarray(from * w, to * w),
    y: e.y.subarray(from, to),
    ids: e.ids.subarray(from, to),
  };
}

/** The first n examples, without a copy. */
export const first = (e: Examples, n: number): Examples => range(e, 0, n);

/** The examples at these places, in this order, copied. */
export function take(e: Examples, places: ArrayLike<number>): Examples {
  const w = widthOf(e);
  const n = places.length;
  const x = e.x instanceof Uint8Array ? new Uint8Array(n * w) : new Float32Array(n * w);
  const y = new Uint8Array(n);
  const ids = new Int32Array(n);
  for (let i = 0; i < n; i++) {
    const p = places[i];
    if (!(p >= 0 && p < e.count)) {
      throw new LacunaError({
        about: `data set ${e.name}`,
        expected: `places from 0 to ${e.count - 1}`,
        got: String(p),
        hint: "The places belong to another set.",
      });
    }
    x.set(e.x.subarray(p * w, (p + 1) * w), i * w);
    y[i] = e.y[p];
    ids[i] = e.ids[p];
  }
  return { ...e, count: n, x, y, ids };
}

function placesOf(e: Examples, keep: (label: number, place: number) => boolean): Int32Array {
  const places: number[] = [];
  for (let i = 0; i < e.count; i++) if (keep(e.y[i], i)) places.push(i);
  return Int32Array.from(places);
}

/** The examples of some classes, in their order; labels stay as they are. */
export const ofClasses = (e: Examples, classes: readonly number[]): Examples =>
  take(
    e,
    placesOf(e, (label) => classes.includes(label)),
  );

/** The first n examples of every class, in the set's order. Throws where a class that occurs has fewer. */
export function perClass(e: Examples, n: number): Examples {
  const seen = new Int32Array(e.classes);
  const places = placesOf(e, (label) => ++seen[label] <= n);
  const short = seen.findIndex((s) => s > 0 && s < n);
  demand(short < 0, () => ({
    about: `data set ${e.name}`,
    expected: `${n} examples of each class`,
    got: `${seen[short]} of class ${short}`,
    hint: "Ask for fewer.",
  }));
  return take(e, places);
}

/** The last n examples of every class, and all others. */
export function splitLastPerClass(e: Examples, n: number): { rest: Examples; last: Examples } {
  const left = classCounts(e);
  const isLast = Uint8Array.from(e.y, (label) => (left[label]-- <= n ? 1 : 0));
  return {
    rest: take(
      e,
      placesOf(e, (_, i) => !isLast[i]),
    ),
    last: take(
      e,
      placesOf(e, (_, i) => isLast[i] === 1),
    ),
  };
}

/** How many examples each class has. */
export function classCounts(e: Examples): Int32Array {
  const counts = new Int32Array(e.classes);
  for (const label of e.y) counts[label]++;
  return counts;
}

export interface StratifiedOptions {
  /** shares of validation and test; the rest is train */
  readonly validation: number;
  readonly test: number;
  readonly seed: number;
}

/** Three sets with the classes in equal shares, drawn by seed; the order within each is the source's. */
export function stratified(e: Examples, options: StratifiedOptions): Splits {
  const draws = stream(options.seed, `split/${e.name}`);
  const group = new Uint8Array(e.count);
  for (let c = 0; c < e.classes; c++) {
    const places = placesOf(e, (label) => label === c);
    const order = draws.permutation(places.length, c);
    const test = Math.floor(options.test * places.length + 1e-6);
    const held = test + Math.floor(options.validation * places.length + 1e-6);
    order.forEach((o, rank) => {
      group[places[o]] = rank < test ? 2 : rank < held ? 1 : 0;
    });
  }
  const part = (g: number, name: string): Examples => ({
    ...take(
      e,
      placesOf(e, (_, i) => group[i] === g),
    ),
    name: `${e.name} ${name}`,
  });
  return { train: part(0, "train"), validation: part(1, "validation"), test: part(2, "test") };
}

/** Images [C, H, W] averaged over k x k pixels; a ragged edge is averaged over what it has. */
export function poolImages(e: Examples, k: number): Examples {
  const [c, h, w] = e.shape;
  demand(e.shape.length === 3 && Number.isInteger(k) && k >= 1, () => ({
    about: `pooling of ${e.name}`,
    expected: "images [C, H, W] and a whole number of pixels",
    got: `[${e.shape.join(", ")}] and ${k}`,
    hint: "Only images can be pooled.",
  }));
  const [oh, ow] = [Math.ceil(h / k), Math.ceil(w / k)];
  const x = new Float32Array(e.count * c * oh * ow);
  for (let plane = 0, to = 0; plane < e.count * c; plane++) {
    for (let i = 0; i < oh; i++) {
      for (let j = 0; j < ow; j++, to++) {
        const [i1, j1] = [Math.min(h, (i + 1) * k), Math.min(w, (j + 1) * k)];
        let sum = 0;
        for (let p = i * k; p < i1; p++) for (let q = j * k; q < j1; q++) sum += e.x[(plane * h + p) * w + q];
        x[to] = sum / ((i1 - i * k) * (j1 - j * k));
      }
    }
  }
  return { ...e, x, shape: [c, oh, ow] };
}

/** The same for the three sets of a split. */
export const mapSplits = <A, B>(s: Splits<A>, fn: (part: A) => B): Splits<B> => ({
  train: fn(s.train),
  validation: fn(s.validation),
  test: fn(s.test),
});

/** Some columns of every example, in the order given: selected features. */
export function selectFeatures(e: Examples, columns: ArrayLike<number>): Examples {
  const w = widthOf(e);
  const d = columns.length;
  const bad = Array.from(columns).find((c) => !(Number.isInteger(c) && c >= 0 && c < w));
  demand(bad === undefined, () => ({
    about: `features of ${e.name}`,
    expected: `columns from 0 to ${w - 1}`,
    got: String(bad),
    hint: "Count features from 0.",
  }));
  const x = e.x instanceof Uint8Array ? new Uint8Array(e.count * d) : new Float32Array(e.count * d);
  for (let i = 0, to = 0; i < e.count; i++) for (let j = 0; j < d; j++, to++) x[to] = e.x[i * w + columns[j]];
  return { ...e, x, shape: [d] };
}
