/**
 * Layers as the accelerator sees them, and the products of their training stages: forward (FF), gradient of the input (BP),
 * gradient of the weight (WU). A linear layer is a 1x1 convolution of a 1x1 image.
 *
 * BP of a strided convolution is done phase by phase: pixels whose rows and columns leave the same remainders see the same
 * kernel positions, so that no zeros are inserted, and BP takes the multiply-adds of FF. Padding counts as work.
 */
import type { ArrayProduct, Kept } from "./sat.ts";

export interface Layer {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  /** side of the kernel; default 1 */
  readonly kernel?: number;
  /** default 1 */
  readonly stride?: number;
  /** side of the square images that come in; default 1 */
  readonly size?: number;
  /** keeps a layer dense that M would divide */
  readonly dense?: boolean;
}

export type Stage = "FF" | "BP" | "WU";

/** A layer with everything filled in; kernels are padded by floor(kernel / 2). */
export function filled(l: Layer) {
  const { kernel = 1, stride = 1, size = 1 } = l;
  const padding = Math.floor(kernel / 2);
  const outSize = Math.floor((size + 2 * padding - kernel) / stride) + 1;
  return { ...l, kernel, stride, size, padding, outSize, weights: l.inputs * l.outputs * kernel ** 2 };
}

/** Whether both directions of the weight have groups of M. */
export const divisible = (l: Layer, m: number): boolean => !l.dense && l.inputs % m === 0 && l.outputs % m === 0;

/** Along one axis: for each remainder by the stride, the pixels that have it and the kernel positions that reach them. */
function phases(size: number, kernel: number, stride: number, padding: number) {
  return Array.from({ length: Math.min(stride, size) }, (_, phase) => ({
    pixels: Math.ceil((size - phase) / stride),
    taps: Array.from({ length: kernel }, (_, k) => k).filter(
      (k) => (((phase + padding - k) % stride) + stride) % stride === 0,
    ).length,
  }));
}

/** Products of a stage for a batch; with `kept`, the weight is N:M along what FF or BP sums over. WU is always dense. */
export function stageProducts(layer: Layer, stage: Stage, batch: number, kept?: Kept): readonly ArrayProduct[] {
  const { inputs, outputs, kernel, stride, size, padding, outSize } = filled(layer);
  const sparse = kept ? { kept } : {};
  if (stage === "FF") return [{ rows: batch * outSize ** 2, inner: inputs * kernel ** 2, columns: outputs, ...sparse }];
  if (stage === "WU") return [{ rows: inputs * kernel ** 2, inner: batch * outSize ** 2, columns: outputs }];
  const axis = phases(size, kernel, stride, padding);
  return axis.flatMap((y) =>
    axis.flatMap((x) =>
      y.taps * x.taps === 0
        ? []
        : [{ rows: batch * y.pixels * x.pixels, inner: outputs * y.taps * x.taps, columns: inputs, ...sparse }],
    ),
  );
}

/** ResNet-18 for small images (He et al. 2016): a 3x3 first layer, no pooling before the blocks. */
export function resnet18({ size = 32, classes = 10 } = {}): readonly Layer[] {
  const layers: Layer[] = [{ name: "stem", inputs: 3, outputs: 64, kernel: 3, size }];
  let [inputs, side] = [64, size];
  [64, 128, 256, 512].forEach((outputs, stage) => {
    for (const block of [0, 1]) {
      const name = `stage${stage + 1}.${block}`;
      const stride = stage > 0 && block === 0 ? 2 : 1;
      layers.push({ name: `${name}.conv1`, inputs, outputs, kernel: 3, stride, size: side });
      if (stride > 1) layers.push({ name: `${name}.shortcut`, inputs, outputs, stride, size: side });
      side = Math.ceil(side / stride);
      layers.push({ name: `${name}.conv2`, inputs: outputs, outputs, kernel: 3, size: side });
      inputs = outputs;
    }
  });
  return [...layers, { name: "head", inputs, outputs: classes }];
}
