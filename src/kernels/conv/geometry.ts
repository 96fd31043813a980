/**
 * The arithmetic of a convolution's shape: where padded planes lie, and the offsets of the kernel's taps in them.
 *
 * An image [C, H, W] is copied into planes with zeros around it. With stride s its rows and columns are dealt out over
 * s * s planes (phases), so that neighbouring outputs always read neighbouring elements. Zeros right of a row and left
 * of the next one share memory. The gradient of the input is again such a convolution, one for each phase of the input,
 * over planes of the output's gradient (Dumoulin and Visin 2016, "A guide to convolution arithmetic").
 */

/** A convolution of images [C, H, W] to [O, OH, OW] with weights [O, C / groups, kernelHeight, kernelWidth]. */
export interface ConvShape {
  readonly channels: number;
  readonly outs: number;
  readonly height: number;
  readonly width: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly strideY: number;
  readonly strideX: number;
  /** zeros above and left of the image; those below and right follow from the output's size */
  readonly top: number;
  readonly left: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly groups: number;
}

/** Planes of one channel: `phasesY * phasesX` of them, each `plane` elements, row r at r * pitch. */
export interface Planes {
  readonly rows: number;
  readonly columns: number;
  readonly pitch: number;
  readonly plane: number;
  readonly phasesY: number;
  readonly phasesX: number;
  /** elements above and left of the first element */
  readonly top: number;
  readonly left: number;
}

/** A vector of four may be read from any element on, and flat runs are rounded up to whole vectors. */
const SLACK = 3;
/** Elements of a cache line. */
const LINE = 16;

/** Larger planes take an odd number of cache lines: the same place in many channels then falls into different sets. */
function planeOf(rows: number, columns: number, pitch: number): number {
  const least = (rows - 1) * pitch + columns + SLACK;
  if (least < 4 * LINE) return Math.ceil(least / 4) * 4;
  const lines = Math.ceil(least / LINE);
  return LINE * (lines + 1 - (lines % 2));
}

/** 1x1 without stride or padding: images can be read where they lie, as one row of H * W elements. */
export const isPointwise = (s: ConvShape): boolean =>
  s.kernelHeight === 1 &&
  s.kernelWidth === 1 &&
  s.strideY === 1 &&
  s.strideX === 1 &&
  s.top === 0 &&
  s.left === 0 &&
  s.outHeight === s.height &&
  s.outWidth === s.width;

/** A pointwise convolution as one over images of a single row. */
export const flattened = (s: ConvShape): ConvShape => ({
  ...s,
  ...{ height: 1, width: s.height * s.width, outHeight: 1, outWidth: s.height * s.width },
});

/** Sets and ways of a usual first-level cache of 32 KiB, with a quarter left for other operands. */
const [SETS, USABLE_WAYS] = [64, 6];

/** Whether one place in each of `channels` planes of `size` elements, as they lie, falls into too few sets of a cache. */
export function collides(channels: number, size: number): boolean {
  if (size % LINE !== 0) return false;
  let step = size / LINE;
  let sets = SETS;
  while (step % 2 === 0 && sets > 1) {
    step /= 2;
    sets /= 2;
  }
  return channels > sets * USABLE_WAYS;
}

export const isDepthwise = (s: ConvShape): boolean => s.groups === s.channels && s.outs === s.channels;

/** Multiply-adds for one image. */
export const macsOf = (s: ConvShape): number =>
  s.outs * s.outHeight * s.outWidth * (s.channels / s.groups) * s.kernelHeight * s.kernelWidth;

/** Planes of the input; `pitch` is at least `leastPitch`. */
export function inputPlanes(s: ConvShape, leastPitch = 0): Planes {
  const rows = s.outHeight + Math.floor((s.kernelHeight - 1) / s.strideY);
  const columns = s.outWidth + Math.floor((s.kernelWidth - 1) / s.strideX);
  const phasesY = Math.min(s.kernelHeight, s.strideY);
  const phasesX = Math.min(s.kernelWidth, s.strideX);
  let left = columns;
  let last = -1;
  for (let x = 0; x < phasesX; x++) {
    left = Math.min(left, Math.max(0, Math.ceil((s.left - x) / s.strideX)));
    last = Math.max(last, Math.floor((s.width - 1 + s.left - x) / s.strideX));
  }
  const shared = Math.min(left, Math.max(0, columns - 1 - last));
  const pitch = Math.max(leastPitch, columns - shared);
  return {
    rows,
    columns,
    pitch,
    plane: planeOf(rows, columns, pitch),
    phasesY,
    phasesX,
    top: s.top,
    left: s.left,
  };
}

/** The part of the input's gradient in one phase along one axis: positions stride * j + phase - pad, `first` <= j. */
interface Phase {
  readonly phase: number;
  readonly first: number;
  readonly count: number;
  /** taps phase + stride * t with t below this */
  readonly taps: number;
}

function phasesOf(size: number, kernel: number, stride: number, pad: number): Phase[] {
  return Array.from({ length: stride }, (_, phase) => {
    const first = Math.max(0, Math.ceil((pad - phase) / stride));
    const last = Math.floor((size - 1 + pad - phase) / stride);
    return {
      phase,
      first,
      count: Math.max(0, last - first + 1),
      taps: Math.max(0, Math.ceil((kernel - phase) / stride)),
    };
  });
}

function reach(phases: readonly Phase[], outputs: number): { before: number; total: number } {
  const used = phases.filter((p) => p.count > 0 && p.taps > 0);
  const before = Math.max(0, ...used.map((p) => p.taps - 1 - p.first));
  const end = Math.max(outputs, ...used.map((p) => p.first + p.count));
  return { before, total: before + end };
}

/** Planes of the output's gradient, wide enough for the input's gradient. */
export function gradientPlanes(s: ConvShape, leastPitch = 0): Planes {
  const y = reach(phasesOf(s.height, s.kernelHeight, s.strideY, s.top), s.outHeight);
  const x = reach(phasesOf(s.width, s.kernelWidth, s.strideX, s.left), s.outWidth);
  const after = x.total - x.before - s.outWidth;
  const pitch = Math.max(leastPitch, x.total - Math.min(x.before, after));
  return {
    rows: y.total,
    columns: x.total,
    pitch,
    plane: planeOf(y.total, x.total, pitch),
    phasesY: 1,
    phasesX: 1,
    top: y.before,
    left: x.before,
  };
}

/** Planes of the output's gradient with nothing around it, for the weight's gradient alone. */
export function flatPlanes(s: ConvShape, pitch: number): Planes {
  const rows = s.outHeight;
  return {
    rows,
    columns: s.outWidth,
    pitch,
    plane: planeOf(rows, s.outWidth, pitch),
    phasesY: 1,
    phasesX: 1,
    top: 0,
    left: 0,
  };
}

/** Images as they lie. */
export const rawPlanes = (rows: number, columns: number): Planes => ({
  rows,
  columns,
  pitch: columns,
  plane: rows * columns,
  phasesY: 1,
  phasesX: 1,
  top: 0,
  left: 0,
});

export const bytesOfPlanes = (p: Planes): number => 4 * p.plane * p.phasesY * p.phasesX;

/** Where the results of a product over planes lie, and where its terms are read from. */
export interface Frame {
  /** element of the planes that output (0, 0) starts from */
  readonly start: number;
  readonly rows: number;
  readonly columns: number;
  /** element of the result's channel that output (0, 0) lies at, and its steps */
  readonly target: number;
  readonly targetRow: number;
  readonly targetColumn: number;
}

/** A dense product: every output of a group has the same terms. */
export interface Product extends Frame {
  /** byte offset of each term from an output's place in the planes of its group */
  readonly terms: Int32Array;
  /** byte offset of each term's weight from the first weight of an output */
  readonly weights: Int32Array;
}

const forwardFrame = (s: ConvShape): Frame => ({
  start: 0,
  rows: s.outHeight,
  columns: s.outWidth,
  target: 0,
  targetRow: s.outWidth,
  targetColumn: 1,
});

/** Byte offset of tap (y, x) of a channel's planes from an output's place. */
const tapOffset = (s: ConvShape, p: Planes, channel: number, y: number, x: number): number => {
  const phase = (channel * p.phasesY + (y % s.strideY)) * p.phasesX + (x % s.strideX);
  return 4 * (phase * p.plane + Math.floor(y / s.strideY) * p.pitch + Math.floor(x / s.strideX));
};

/** Terms (c, ky, kx) of an output, in the order of the weights. */
export function forwardProduct(s: ConvShape, p: Planes): Product {
  const perGroup = s.channels / s.groups;
  const k = perGroup * s.kernelHeight * s.kernelWidth;
  const terms = new Int32Array(k);
  let i = 0;
  for (let c = 0; c < perGroup; c++) {
    for (let y = 0; y < s.kernelHeight; y++) {
      for (let x = 0; x < s.kernelWidth; x++) terms[i++] = tapOffset(s, p, c, y, x);
    }
  }
  return { ...forwardFrame(s), terms, weights: Int32Array.from({ length: k }, (_, t) => 4 * t) };
}

/** The parts of the input's gradient, one for each phase that has any: its frame and its taps along both axes. */
function phaseFrames(s: ConvShape, p: Planes): { readonly frame: Frame; readonly y: Phase; readonly x: Phase }[] {
  return phasesOf(s.height, s.kernelHeight, s.strideY, s.top).flatMap((y) =>
    phasesOf(s.width, s.kernelWidth, s.strideX, s.left)
      .filter((x) => x.count > 0 && y.count > 0)
      .map((x) => ({
        y,
        x,
        frame: {
          start: (p.top + y.first) * p.pitch + p.left + x.first,
          rows: y.count,
          columns: x.count,
          target: (s.strideY * y.first + y.phase - s.top) * s.width + s.strideX * x.first + x.phase - s.left,
          targetRow: s.strideY * s.width,
          targetColumn: s.strideX,
        },
      })),
  );
}

/** The products that give the input's gradient from planes of the output's, one a phase. */
export function inputProducts(s: ConvShape, p: Planes): Product[] {
  const area = s.kernelHeight * s.kernelWidth;
  const perGroup = s.channels / s.groups;
  const outs = s.outs / s.groups;
  return phaseFrames(s, p).map(({ frame, y, x }) => {
    const k = outs * y.taps * x.taps;
    const terms = new Int32Array(k);
    const weights = new Int32Array(k);
    let i = 0;
    for (let o = 0; o < outs; o++) {
      for (let ty = 0; ty < y.taps; ty++) {
        for (let tx = 0; tx < x.taps; tx++) {
          terms[i] = 4 * (o * p.plane - ty * p.pitch - tx);
          const tap = (y.phase + s.strideY * ty) * s.kernelWidth + x.phase + s.strideX * tx;
          weights[i] = 4 * (o * perGroup * area + tap);
          i++;
        }
      }
    }
    return { ...frame, terms, weights };
  });
}

/** The weights that a convolution has, all or some: places in an array of values, row by row of outputs. */
export interface Entries {
  /** length of the array; places that no entry names count for nothing */
  readonly stored: number;
  /** `flat` is the index in [O, C / groups, kh, kw]; both rise, and an output's places lie together */
  forEach(visit: (place: number, flat: number) => void): void;
}

export const allEntries = (s: ConvShape): Entries => {
  const stored = (s.outs * s.channels * s.kernelHeight * s.kernelWidth) / s.groups;
  return {
    stored,
    forEach: (visit) => {
      for (let i = 0; i < stored; i++) visit(i, i);
    },
  };
};

/** A product in which every result's channel has terms of its own. */
export interface ListedProduct extends Frame {
  /** first term of each channel, and the one behind its last */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  /** byte offset of each term from an output's place in the planes of an image */
  readonly terms: Int32Array;
  /** place of each term's weight among the values; absent where it is the term's own number */
  readonly order?: Int32Array;
}

interface Tap {
  readonly out: number;
  readonly channel: number;
  readonly y: number;
  readonly x: number;
}

function tapOf(s: ConvShape, flat: number): Tap {
  const area = s.kernelHeight * s.kernelWidth;
  const perGroup = s.channels / s.groups;
  const out = Math.floor(flat / (perGroup * area));
  const within = flat - out * perGroup * area;
  const c = Math.floor(within / area);
  const tap = within - c * area;
  const y = Math.floor(tap / s.kernelWidth);
  const channel = Math.floor(out / (s.outs / s.groups)) * perGroup + c;
  return { out, channel, y, x: tap - y * s.kernelWidth };
}

export function forwardLists(s: ConvShape, p: Planes, entries: Entries): ListedProduct {
  const starts = new Int32Array(s.outs);
  const ends = new Int32Array(s.outs);
  const terms = new Int32Array(entries.stored);
  entries.forEach((place, flat) => {
    const { out, channel, y, x } = tapOf(s, flat);
    terms[place] = tapOffset(s, p, channel, y, x);
    if (ends[out] === 0) starts[out] = place;
    ends[out] = place + 1;
  });
  return { ...forwardFrame(s), starts, ends, terms };
}

export function inputLists(s: ConvShape, p: Planes, entries: Entries): ListedProduct[] {
  return phaseFrames(s, p).map(({ frame, y, x }) => {
    const mine = (t: Tap): boolean => t.y % s.strideY === y.phase && t.x % s.strideX === x.phase;
    const counts = new Int32Array(s.channels);
    entries.forEach((_, flat) => {
      const t = tapOf(s, flat);
      if (mine(t)) counts[t.channel]++;
    });
    const starts = new Int32Array(s.channels);
    for (let c = 1; c < s.channels; c++) starts[c] = starts[c - 1] + counts[c - 1];
    const ends = starts.slice();
    const total = counts.reduce((a, b) => a + b, 0);
    const terms = new Int32Array(total);
    const order = new Int32Array(total);
    entries.forEach((place, flat) => {
      const t = tapOf(s, flat);
      if (!mine(t)) return;
      const at = ends[t.channel]++;
      const [ty, tx] = [Math.floor(t.y / s.strideY), Math.floor(t.x / s.strideX)];
      terms[at] = 4 * (t.out * p.plane - ty * p.pitch - tx);
      order[at] = place;
    });
    return { ...frame, starts, ends, terms, order };
  });
}
