/**
 * Runs a convolutional network, one image at a time, in planes from the first layer to the last (paper: Fast Sparse
 * ConvNets). Nothing is repacked between layers: bias, activation and residual are part of the kernels, padding is read
 * from a row of zeros, and the last tile of pixels runs over the end of a plane instead of being handled alone.
 *
 * Each 1x1 layer runs dense or sparse as `convnet-choose.ts` decides, the rest dense; the dense twin of a network is the
 * same call with `kernels: "dense"`. Weights and one arena for all activations are allocated when the runner is made.
 * Threads are the engine's; layers follow one another at once, which finds the workers awake.
 */
import { linearForward } from "../core/compute/gemm.ts";
import { call, fusion, memory, parallel, threads } from "../core/engine.ts";
import { demand } from "../core/errors.ts";
import { conv1x1Dense, PANEL, TILE } from "../kernels/convnet/dense.ts";
import { depthwiseKernel } from "../kernels/convnet/depthwise.ts";
import { conv3x3s1, conv3x3s2 } from "../kernels/convnet/first.ts";
import { CONV_GROUP, groupBias, packConv, packDepthwise } from "../kernels/convnet/packing.ts";
import { planeStride } from "../kernels/convnet/planes.ts";
import { poolPlanes } from "../kernels/convnet/pool.ts";
import { CONV1X1 } from "../kernels/convnet/sparse.ts";
import { planeStream, tiling } from "../kernels/convnet/stream.ts";
import { zeroRowBytes } from "../kernels/convnet/taps.ts";
import { packPanels } from "../kernels/dense/pack.ts";
import type { Kernel } from "../kernels/kernel.ts";
import { pointwise } from "../kernels/pointwise/index.ts";
import { evenCuts } from "../kernels/sparse/streams.ts";
import {
  ACTIVATION_BOUNDS,
  type ConvNet,
  checkNet,
  type ImageSize,
  type LayerShape,
  layerMacs,
  type NetShape,
  outputSizes,
  type PointwiseShape,
} from "../models/convnets/net.ts";
import { placeBuffers } from "./convnet-buffers.ts";
import {
  BLOCKS,
  type ConvChooseOptions,
  choosePointwise,
  type PointwiseChoice,
  type PointwiseFacts,
  pointwiseFacts,
} from "./convnet-choose.ts";

export interface ConvRunnerOptions extends ConvChooseOptions {
  /** overrides the choice of a 1x1 layer */
  readonly choose?: (facts: PointwiseFacts, choice: PointwiseChoice) => PointwiseChoice;
  /** fused multiply-add where the machine has it; default true. Without it results have the same bits everywhere */
  readonly fused?: boolean;
  /**
   * Read and write the activations of this runner, which has the same shape and `keep`, instead of own ones: for runners
   * that take turns. It must be disposed after this one.
   */
  readonly activationsOf?: ConvRunner;
  /** keep every layer's output until the next run, for `output`; takes more memory; default false */
  readonly keep?: boolean;
}

export interface ConvLayerReport {
  readonly name: string;
  readonly kind: LayerShape["kind"];
  /** what it puts out */
  readonly size: ImageSize;
  /** multiply-adds as if nothing were zero */
  readonly macs: number;
  /** multiply-adds with stored weights, the zeros inside of blocks included */
  readonly work: number;
  /** zeros / weights */
  readonly sparsity: number;
  /** for 1x1 layers */
  readonly facts?: PointwiseFacts;
  readonly choice: PointwiseChoice;
  /** bytes of its weights */
  readonly bytes: number;
}

export interface ConvRunnerBytes {
  readonly weights: number;
  readonly activations: number;
}

/** Less work than this stays on one thread: a fork and join of awake workers takes about a microsecond. */
const THREAD_MACS = 20_000;
/** Ranges of about equal work into which the outputs of a sparse layer are cut, for each thread. */
const PIECES = 4;
const ALIGN = 64;
const align = (bytes: number): number => Math.ceil(bytes / ALIGN) * ALIGN;

type Split = readonly [kernel: Kernel, fn: string, args: readonly number[], total: number];

/**
 * One range a thread, in order: then a thread gets about the same part of the image in every layer, and the other
 * core's caches are asked for little. With ranges of channels, or more of them, two threads were slower than one.
 */
function dispatch([kernel, fn, args, total]: Split, macs: number): void {
  if (threads() > 1 && macs >= THREAD_MACS) parallel(kernel, fn, args, total, Math.ceil(total / threads()));
  else call(kernel, fn, ...args, 0, total);
}

/** Where a layer reads and writes. */
interface Place {
  readonly ptr: number;
  readonly size: ImageSize;
  /** floats from channel to channel */
  readonly plane: number;
}

interface Made {
  readonly run: () => void;
  readonly bytes: number;
  readonly work: number;
  readonly choice: PointwiseChoice;
}

const DENSE: PointwiseChoice = { form: "dense", reason: "dense: only 1x1 layers have sparse kernels" };
const countZeros = (values: Float32Array): number => values.reduce((zeros, v) => (v === 0 ? zeros + 1 : zeros), 0);

export class ConvRunner {
  readonly net: ConvNet;
  readonly layers: readonly ConvLayerReport[];
  readonly bytes: ConvRunnerBytes;
  readonly #steps: (() => void)[] = [];
  readonly #places: readonly Place[];
  readonly #owned: number[] = [];
  readonly #fused: boolean;
  readonly #keep: boolean;
  readonly #zeros: number;

  /** Throws a LacunaError when weights do not fit the layers, or the network does not fit into the engine's memory. */
  constructor(net: ConvNet, options: ConvRunnerOptions = {}) {
    checkNet(net);
    this.net = net;
    this.#fused = options.fused ?? true;
    this.#keep = options.keep ?? false;
    const { shape, weights } = net;
    const sizes = outputSizes(shape);
    const macs = layerMacs(shape);
    try {
      this.#zeros = this.#put(
        new Float32Array(zeroRowBytes(Math.max(shape.input.width, ...sizes.map((s) => s.width))) / 4),
      );
      this.#places = options.activationsOf ? options.activationsOf.#lend(shape, this.#keep) : this.#arrange(sizes);
      this.layers = shape.layers.map((layer, i) => {
        const { run, bytes, work, choice } = this.#layer(i, macs[i], options);
        this.#steps.push(run);
        const { weight } = weights[i];
        const sparsity = weight.length === 0 ? 0 : countZeros(weight) / weight.length;
        const facts = layer.kind === "pointwise" ? { facts: this.#facts(i, layer) } : {};
        return {
          name: layer.name,
          kind: layer.kind,
          size: sizes[i],
          macs: macs[i],
          work,
          sparsity,
          choice,
          bytes,
          ...facts,
        };
      });
    } catch (error) {
      this.dispose();
      throw error;
    }
    const activations = this.#arena;
    this.bytes = { weights: this.layers.reduce((sum, l) => sum + l.bytes, 0), activations };
  }

  #arena = 0;

  /** A copy of `values` in engine memory, which the runner owns. */
  #put(values: Float32Array | Int32Array): number {
    const ptr = memory.alloc(values.byteLength);
    this.#owned.push(ptr);
    memory.u8(ptr, values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return ptr;
  }

  /** Places of the image and of every layer's output. */
  #arrange(sizes: readonly ImageSize[]): Place[] {
    const { shape } = this.net;
    const all = [shape.input, ...sizes];
    const last = shape.layers.length;
    const reads = all.map((_, i) => Math.min(last, i + 1));
    shape.layers.forEach((layer, i) => {
      if (layer.kind === "pointwise" && layer.residual !== undefined) {
        reads[layer.residual + 1] = Math.max(reads[layer.residual + 1], i + 1);
      }
    });
    // the mean and the logits are vectors
    const planes = all.map((s, i) =>
      i > 0 && ["pool", "classifier"].includes(shape.layers[i - 1].kind) ? 1 : planeStride(s.height * s.width),
    );
    const lives = all.map((s, i) => ({
      bytes: align(4 * planes[i] * s.channels),
      from: i,
      to: this.#keep ? last : reads[i],
    }));
    const { offsets, bytes } = placeBuffers(lives);
    // rows are read a few floats beyond their ends
    const base = memory.alloc(bytes + ALIGN);
    this.#owned.push(base);
    memory.u8(base, bytes + ALIGN).fill(0);
    this.#arena = bytes;
    return all.map((size, i) => ({ ptr: base + offsets[i], size, plane: planes[i] }));
  }

  #lend(shape: NetShape, keep: boolean): readonly Place[] {
    const own = JSON.stringify(this.net.shape) === JSON.stringify(shape) && this.#keep === keep;
    if (!own) throw new Error(`convnet: ${shape.name} cannot use the activations of another network`);
    return this.#places;
  }

  #facts(i: number, layer: PointwiseShape): PointwiseFacts {
    const { height, width } = this.#places[i].size;
    return pointwiseFacts(layer.name, this.net.weights[i].weight, layer.out, layer.in, height * width);
  }

  #layer(i: number, macs: number, options: ConvRunnerOptions): Made {
    const layer = this.net.shape.layers[i];
    const { weight, bias } = this.net.weights[i];
    const [x, y] = [this.#places[i], this.#places[i + 1]];
    const { height, width } = x.size;
    const pixels = height * width;
    const bytes = 4 * (weight.length + bias.length);
    const made = (split: Split): Made => ({ run: () => dispatch(split, macs), bytes, work: macs, choice: DENSE });
    switch (layer.kind) {
      case "pool":
        return made([poolPlanes, "channels", [x.ptr, y.ptr, x.plane, pixels], x.size.channels]);
      case "classifier": {
        const [w, b] = [this.#put(weight), this.#put(bias)];
        const run = (): void => {
          linearForward(x.ptr, 1, { ptr: w, type: "f32" }, layer.out, layer.in, y.ptr);
          call(pointwise, "addRow", y.ptr, b, y.ptr, layer.out, 0, 1);
        };
        return { run, bytes, work: macs, choice: DENSE };
      }
      case "depthwise": {
        const kernel = depthwiseKernel(layer.size, layer.stride);
        demand(kernel, () => ({
          about: `layer ${layer.name}`,
          expected: "a depthwise convolution of 3x3 or 5x5 with stride 1 or 2",
          got: `${layer.size}x${layer.size}, stride ${layer.stride}`,
          hint: "No other sizes have a kernel.",
        }));
        const w = this.#put(packDepthwise(weight, bias, layer.channels, layer.size));
        const bounds = ACTIVATION_BOUNDS[layer.activation];
        const args = [x.ptr, y.ptr, w, this.#zeros, height, width, x.plane, y.plane, ...bounds];
        return made([kernel, "rows", [...args, layer.channels], y.size.height]);
      }
      case "conv": {
        const w = this.#put(packConv(weight, layer.out, layer.in));
        const b = this.#put(groupBias(bias, layer.out, CONV_GROUP));
        const bounds = ACTIVATION_BOUNDS[layer.activation];
        const shape = [layer.in, layer.out, height, width, x.plane, y.plane];
        const kernel = layer.stride === 1 ? conv3x3s1 : conv3x3s2;
        return made([kernel, "rows", [x.ptr, y.ptr, w, b, this.#zeros, ...shape, ...bounds], y.size.height]);
      }
      case "pointwise": {
        const facts = this.#facts(i, layer);
        const chosen = choosePointwise(facts, options);
        const choice = options.choose?.(facts, chosen) ?? chosen;
        return { ...this.#pointwise(i, layer, choice), choice };
      }
    }
  }

  #pointwise(i: number, layer: PointwiseShape, { form }: PointwiseChoice): Omit<Made, "choice"> {
    const { weight, bias } = this.net.weights[i];
    const { out, in: inputs } = layer;
    const [x, y] = [this.#places[i], this.#places[i + 1]];
    const pixels = x.size.height * x.size.width;
    const residual = layer.residual === undefined ? 0 : this.#places[layer.residual + 1].ptr;
    const bounds = ACTIVATION_BOUNDS[layer.activation];
    const enough = threads();
    if (form === "dense") {
      const w = packPanels(weight, inputs, 1, out, inputs, PANEL);
      const b = groupBias(bias, out, PANEL);
      const args = [this.#put(w), this.#put(b), x.ptr, y.ptr, residual, x.plane, TILE, y.plane, inputs, out, pixels];
      const tiles = Math.ceil(pixels / TILE);
      const macs = out * inputs * pixels;
      const split: Split =
        tiles >= enough
          ? [conv1x1Dense, "columns", [...args, ...bounds], tiles]
          : [conv1x1Dense, "rows", [...args, ...bounds], Math.ceil(out / PANEL)];
      return { run: () => dispatch(split, macs), bytes: w.byteLength + b.byteLength, work: macs };
    }
    const block = BLOCKS[form];
    const kernel = CONV1X1[block];
    const stream = planeStream(weight, out, inputs, block, x.plane);
    const b = groupBias(bias, out, block);
    const { vectors, strip } = tiling(block, inputs, pixels, threads());
    const pointers = [this.#put(stream.words), this.#put(stream.starts), this.#put(b)];
    const args = [...pointers, x.ptr, y.ptr, residual, y.plane, out, pixels, vectors, strip, ...bounds];
    const tiles = Math.ceil(pixels / (4 * vectors));
    const work = stream.entries * block * pixels;
    let split: Split = [kernel, "columns", args, tiles];
    if (threads() > 1 && tiles < enough) {
      const entries = Array.from(stream.starts.subarray(1), (end, g) => (end - stream.starts[g]) / 4);
      const cuts = evenCuts(entries, Math.min(PIECES * threads(), entries.length));
      split = [kernel, "rows", [...args, this.#put(cuts)], cuts.length - 1];
    }
    const bytes = stream.words.byteLength + stream.starts.byteLength + b.byteLength;
    return { run: () => dispatch(split, work), bytes, work };
  }

  /** The logits of one image [channels, height, width]; a copy. Throws a LacunaError when it has another size. */
  run(image: Float32Array): Float32Array {
    this.load(image);
    fusion(this.#fused, () => {
      for (const step of this.#steps) step();
    });
    return this.output(this.layers.length - 1);
  }

  /** Puts an image in place without running anything. */
  load(image: Float32Array): void {
    const { ptr, plane, size } = this.#places[0];
    const pixels = size.height * size.width;
    demand(image.length === size.channels * pixels, () => ({
      about: `image for ${this.net.shape.name}`,
      expected: `${size.channels} x ${size.height} x ${size.width} values`,
      got: `${image.length}`,
      hint: "Scale the image first; values come channel by channel, row by row.",
    }));
    for (let c = 0; c < size.channels; c++) {
      memory.f32(ptr + 4 * c * plane, pixels).set(image.subarray(c * pixels, (c + 1) * pixels));
    }
  }

  /** Runs layer `i` alone, on what its input holds: for timing. */
  step(i: number): void {
    fusion(this.#fused, this.#steps[i]);
  }

  /** A copy of what layer `i` put out, [channels, height, width]; all but the last need `keep`. */
  output(i: number): Float32Array {
    if (!this.#keep && i !== this.layers.length - 1) throw new Error("convnet: outputs of inner layers need `keep`");
    const { ptr, plane, size } = this.#places[i + 1];
    const pixels = size.height * size.width;
    const values = new Float32Array(size.channels * pixels);
    for (let c = 0; c < size.channels; c++) values.set(memory.f32(ptr + 4 * c * plane, pixels), c * pixels);
    return values;
  }

  dispose(): void {
    for (const ptr of this.#owned.splice(0)) memory.free(ptr);
  }
}
