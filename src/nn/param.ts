/**
 * Trainable tensors and their masks: what layers, optimisers and sparse training agree on.
 *
 * A masked weight is `zero` (value and optimiser state are 0; only this can be stored sparse), `held` (keeps its value,
 * is not used and not trained) or `live` (is not used, but trains on). Layers ask `effective` for the weight that their
 * products see and never look at masks themselves; linear layers also dispatch on `storage`.
 *
 * Stored as `csr`, a parameter's `value`, gradient and slots hold the kept weights only, in the order of the row stream of
 * `core/compute/sparse-training.ts`; a change of the mask makes a new index and carries values and slots over.
 */

import type { Nm } from "../core/compute/nm-training.ts";
import { SparseTraining } from "../core/compute/sparse-training.ts";
import { parallel } from "../core/engine.ts";
import { demand } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { outside } from "../core/scope.ts";
import { noGrad, record } from "../core/tape.ts";
import { numel, type Shape, Tensor, zeros } from "../core/tensor.ts";
import { pointwise } from "../kernels/pointwise/index.ts";
import type { Initialiser } from "./init.ts";
import type { Tick } from "./net.ts";
import { GRAIN } from "./ops/elementwise.ts";
import type { Off, Parameter } from "./optimiser.ts";

export type { Off } from "./optimiser.ts";

/** Some places of a CSR weight: an index of them, and where each of its entries stands in the weight's row stream. */
export interface GradientPlaces {
  readonly index: SparseTraining;
  readonly to: Int32Array;
}

/** What a parameter is for; budgets and methods choose their sites by it. */
export type Role = "weight" | "stem" | "head" | "embedding" | "depthwise" | "norm" | "bias" | "edge";

/** `masked`: dense values beside a mask. */
export type Storage = "dense" | "masked" | "csr" | "nm" | "block";

/** Value of a weight that grows: 0, its initial value, what it was, or normal noise of a standard deviation. */
export type Fill = "zero" | "init" | "keep" | { readonly normal: number };

/** Mask bits with their count, as `sparsity/mask.ts` makes them: 1 = kept. */
export interface Bits {
  readonly bits: Uint8Array;
  readonly kept: number;
}

/**
 * What the products see instead of the value. `forward` gives the weight; `backward` the weight of the input's gradient
 * where it differs (bidirectional pruning); `grad` turns the gradient of the seen weight into that of the value
 * (straight-through with an extra term and the like; default: as it is). With `traced`, `forward` is made of recorded
 * operations and gradients flow through those, to `extra` parameters too; `grad` is not called then.
 */
export interface View {
  forward(p: Param, t: Tick): Tensor;
  backward?(p: Param, t: Tick): Tensor;
  grad?(g: Tensor, p: Param, t: Tick): Tensor;
  /** what the input's gradient is made of in place of the output's; that of the weight sees the output's whole */
  outputGradient?(dy: Tensor, p: Param, t: Tick): Tensor;
  readonly traced?: boolean;
  readonly extra?: readonly Param[];
  /** the same as `forward` and `backward` by packed N:M products, where they can be had; linear layers prefer them */
  packed?(p: Param, t: Tick): PackedView | undefined;
  /** weights that take part in a product, for counting; default: those of the mask */
  kept?(p: Param, product: "forward" | "dX" | "dW"): number;
}

export interface PackedView {
  readonly forward: Nm;
  /** default: the forward product's weight, expanded */
  readonly backward?: Nm;
}

export interface ParamOptions {
  readonly role?: Role;
  /** weight decay acts on it; default: tensors of rank 2 and more */
  readonly decay?: boolean;
  /** how often one weight takes part in one example: output positions of a convolution, steps of a recurrence */
  readonly uses?: number;
  readonly off?: Off;
  /** the layer that uses it can run it from these storages, too; default: dense and masked only */
  readonly storages?: readonly Storage[];
}

export class Param implements Parameter {
  readonly name: string;
  readonly role: Role;
  readonly shape: Shape;
  readonly decay: boolean;
  readonly init: Initialiser;
  readonly seed: number;
  readonly storages: readonly Storage[];
  /** optimiser state by name, each as large as `value` */
  readonly slots = new Map<string, Tensor>();
  uses: number;
  #off: Off;
  view: View | undefined;
  trainable = true;
  /** while set, layers that run sparse also take the dense gradient of the weight and hand it here (RigL's growth) */
  onDenseGradient: ((g: Tensor) => void) | undefined;
  #value: Tensor;
  #mask: Tensor | undefined;
  #sparse: SparseTraining | undefined;
  #gradientPlaces: GradientPlaces | undefined;
  #kept: number;

  /** Values are drawn from the stream of (seed, name), so they depend on nothing else. */
  constructor(name: string, shape: Shape, init: Initialiser, seed: number, options: ParamOptions = {}) {
    this.name = name;
    this.shape = shape;
    this.init = init;
    this.seed = seed;
    this.role = options.role ?? (shape.length >= 2 ? "weight" : "bias");
    this.decay = options.decay ?? shape.length >= 2;
    this.uses = options.uses ?? 1;
    this.#off = options.off ?? "zero";
    this.storages = options.storages ?? [];
    this.#kept = numel(shape);
    this.#value = outside(() => new Tensor(shape));
    const at = this.initial();
    const values = this.#value.f32;
    for (let i = 0; i < values.length; i++) values[i] = at(i);
  }

  /** What the optimiser trains: the dense values, or those of the kept weights. It changes with the storage and mask. */
  get value(): Tensor {
    return this.#value;
  }

  get off(): Off {
    return this.#off;
  }

  /** Going over to "zero" zeros what is masked. */
  set off(off: Off) {
    this.#off = off;
    this.#clear();
  }

  /** Elements of the dense shape. */
  get numel(): number {
    return numel(this.shape);
  }

  /** Kept elements; all of them without a mask. */
  get kept(): number {
    return this.#kept;
  }

  get storage(): Storage {
    return this.#sparse ? "csr" : this.#mask ? "masked" : "dense";
  }

  /** The index, where the storage is `csr`. */
  get sparse(): SparseTraining | undefined {
    return this.#sparse;
  }

  /** The places whose gradient is taken, where it is not that of all stored weights. */
  get gradientPlaces(): GradientPlaces | undefined {
    return this.#gradientPlaces;
  }

  /**
   * Stored as CSR: only the weights that are stored and 1 in `bits` get a gradient from now on, and only theirs is
   * computed; all of them without `bits`, and after any change of the mask. In other storages nothing changes.
   */
  takeGradientAt(bits?: Uint8Array): void {
    this.#gradientPlaces?.index.free();
    this.#gradientPlaces = undefined;
    const sparse = this.#sparse;
    if (!bits || !sparse) return;
    const both = this.bits();
    for (let i = 0; i < both.length; i++) both[i] &= bits[i];
    const index = new SparseTraining(both, sparse.out, sparse.in);
    const entries: number[] = [];
    sparse.forEach((entry, flat) => {
      if (both[flat] === 1) entries.push(entry);
    });
    const to = new Int32Array(index.stored).fill(-1);
    let n = 0;
    index.forEach((entry) => {
      to[entry] = entries[n++];
    });
    this.#gradientPlaces = { index, to };
  }

  /** Bytes in engine memory: values, mask or index, and slots. */
  get bytes(): number {
    const slots = [...this.slots.values()].reduce((n, s) => n + s.bytes, 0);
    return this.#value.bytes + slots + (this.#mask?.bytes ?? 0) + (this.#sparse?.bytes ?? 0);
  }

  /** Bytes 0/1, 1 = kept; undefined where nothing is masked, and where the storage is sparse. */
  get mask(): Tensor | undefined {
    return this.#mask;
  }

  /** The initial value by flat index. */
  initial(): (index: number) => number {
    return this.init(this.shape, stream(this.seed, this.name));
  }

  /** A copy of the mask's bits. */
  bits(): Uint8Array {
    if (this.#sparse) {
      const bits = new Uint8Array(this.numel);
      this.#sparse.forEach((_, flat) => {
        bits[flat] = 1;
      });
      return bits;
    }
    return this.#mask ? this.#mask.u8.slice() : new Uint8Array(this.numel).fill(1);
  }

  /** A copy of all values [shape]; with `off` "zero", masked ones are 0. */
  dense(): Float32Array {
    return this.#expand(this.#value);
  }

  /** A copy of an optimiser's slot [shape]; zeros where nothing is kept. */
  denseSlot(name: string): Float32Array {
    const slot = this.slots.get(name);
    return slot ? this.#expand(slot) : new Float32Array(this.numel);
  }

  /** Entries as an array of the dense shape. */
  #expand(t: Tensor): Float32Array {
    if (!this.#sparse) return t.toArray();
    const all = new Float32Array(this.numel);
    const values = t.f32;
    this.#sparse.forEach((entry, flat) => {
      all[flat] = values[entry];
    });
    return all;
  }

  /** Overwrites all values; masked ones become 0 where `off` is "zero". */
  assign(values: ArrayLike<number>): void {
    demand(values.length === this.numel, () => ({
      about: `parameter ${this.name}`,
      expected: `${this.numel} values`,
      got: String(values.length),
      hint: "Values belong to the shape they were taken from.",
    }));
    if (this.#sparse) {
      const held = this.#value.f32;
      this.#sparse.forEach((entry, flat) => {
        held[entry] = values[flat];
      });
      return;
    }
    this.#value.f32.set(values);
    this.#clear();
  }

  /**
   * Stores the parameter otherwise; values, mask and slots stay what they are. `csr` needs a layer that runs it and masked
   * weights that are 0. Throws `LacunaError` when that is not so.
   */
  as(storage: "csr" | "masked"): this {
    const now = this.storage;
    if (storage === now || (storage === "masked" && now === "dense")) return this;
    if (storage === "csr") {
      this.#demandSparse();
      const bits = this.bits();
      this.#mask?.dispose();
      this.#mask = undefined;
      this.#compress(bits, null, "zero");
    } else {
      const bits = this.bits();
      const wide = [this.#value, ...this.slots.values()].map((t) => this.#expand(t));
      this.takeGradientAt();
      this.#sparse?.free();
      this.#sparse = undefined;
      this.#replace(this.shape, (t, k) => t.f32.set(wide[k]));
      this.#mask = outside(() => new Tensor(this.shape, "u8"));
      this.#mask.u8.set(bits);
    }
    return this;
  }

  #demandSparse(): void {
    demand(this.storages.includes("csr"), () => ({
      about: `parameter ${this.name}`,
      expected: "a layer that runs sparse weights, such as a linear one",
      got: this.role,
      hint: "Leave it masked.",
    }));
    demand(this.off === "zero" && !this.view, () => ({
      about: `parameter ${this.name}`,
      expected: "masked weights that are 0, and no view",
      got: this.view ? "a view" : `weights that are ${this.off}`,
      hint: "Weights that are held or train on need their dense values; store it sparse when its mask is final.",
    }));
  }

  /** New tensors for value and slots, filled by `fill(tensor, number)`; 0 is the value, then the slots in order. */
  #replace(shape: Shape, fill: (t: Tensor, k: number) => void): void {
    const before = this.#value;
    this.#value = outside(() => zeros(shape));
    fill(this.#value, 0);
    before.dispose();
    [...this.slots.entries()].forEach(([name, old], i) => {
      const slot = outside(() => zeros(shape));
      fill(slot, i + 1);
      old.dispose();
      this.slots.set(name, slot);
    });
  }

  /**
   * Goes over to a new index. `from` is the old one, null where values were dense; entries that were not there get
   * `grown` and slots of 0.
   */
  #compress(bits: Uint8Array, from: SparseTraining | null, grown: Fill): void {
    this.takeGradientAt();
    const [rows] = this.shape;
    const next = new SparseTraining(bits, rows, this.numel / rows);
    // Where each new entry comes from: a place in the old tensors, or -1.
    const origin = new Int32Array(next.stored).fill(-1);
    const flats = new Int32Array(next.stored);
    if (from) {
      const entries = new Int32Array(from.nonZeros);
      const places = new Int32Array(from.nonZeros);
      let n = 0;
      from.forEach((entry, flat) => {
        entries[n] = entry;
        places[n++] = flat;
      });
      let at = 0;
      next.forEach((entry, flat) => {
        flats[entry] = flat;
        while (at < n && places[at] < flat) at++;
        if (at < n && places[at] === flat) origin[entry] = entries[at];
      });
    } else {
      next.forEach((entry, flat) => {
        origin[entry] = flat;
      });
    }
    const fill = this.filler(grown);
    const olds = [this.#value, ...this.slots.values()];
    this.#replace([next.stored], (t, k) => {
      const [to, old] = [t.f32, olds[k].f32];
      next.forEach((entry) => {
        if (origin[entry] >= 0) to[entry] = old[origin[entry]];
        else if (k === 0) to[entry] = fill(flats[entry], 0);
      });
    });
    from?.free();
    this.#sparse = next;
  }

  /**
   * Replaces the mask. Kept weights keep value and slots; grown ones get `grown` and slots of 0; dropped ones follow
   * `off`. A mask of ones leaves the parameter dense.
   */
  setMask(next: Bits, grown: Fill = "zero"): void {
    const { bits, kept } = next;
    demand(bits.length === this.numel, () => ({
      about: `mask of ${this.name}`,
      expected: `${this.numel} elements`,
      got: String(bits.length),
      hint: "A mask belongs to the weight it was made for.",
    }));
    if (this.#sparse) {
      this.#compress(bits, this.#sparse, grown);
      this.#kept = kept;
      return;
    }
    const before = this.#mask?.u8;
    if (before) {
      const fill = this.filler(grown);
      const values = this.#value.f32;
      const slots = [...this.slots.values()].map((s) => s.f32);
      for (let i = 0; i < bits.length; i++) {
        if (bits[i] === 0 || before[i] !== 0) continue;
        values[i] = fill(i, values[i]);
        for (const s of slots) s[i] = 0;
      }
    }
    if (kept === bits.length) {
      this.#mask?.dispose();
      this.#mask = undefined;
    } else {
      this.#mask ??= outside(() => new Tensor(this.shape, "u8"));
      this.#mask.u8.set(bits);
    }
    this.#kept = kept;
    this.#clear();
  }

  /** A value by (flat index, value before). */
  filler(fill: Fill): (index: number, before: number) => number {
    if (fill === "zero") return () => 0;
    if (fill === "keep") return (_, before) => before;
    if (fill === "init") return this.initial();
    const noise = stream(this.seed, `${this.name}.grown`);
    return (i) => fill.normal * noise.normal(i);
  }

  /** Zeros what a mask and `off` say is zero. */
  #clear(): void {
    const mask = this.#mask;
    if (!mask || this.off === "live") return;
    const all = [...this.slots.values(), ...(this.off === "zero" ? [this.#value] : [])];
    for (const t of all) parallel(pointwise, "maskMul", [t.ptr, mask.ptr, t.ptr], t.size, GRAIN);
  }

  dispose(): void {
    this.takeGradientAt();
    this.#value.dispose();
    this.#mask?.dispose();
    this.#sparse?.free();
    this.#sparse = undefined;
    for (const s of this.slots.values()) s.dispose();
    this.slots.clear();
  }
}

export interface Effective {
  /** what the products see; gradients flow from it to the parameter */
  readonly weight: Tensor;
  /** what the gradient of the input is taken with; most often the same tensor */
  readonly backward: Tensor;
}

/** The weight as a layer must use it: the value, masked where that is needed, or the parameter's view. */
export function effective(p: Param, t: Tick): Effective {
  if (p.sparse) throw new Error(`parameter ${p.name} is stored sparse; its layer must run it so`);
  const { view } = p;
  if (view) {
    if (view.traced) {
      const weight = view.forward(p, t);
      return { weight, backward: view.backward ? noGrad(() => view.backward!(p, t)) : weight };
    }
    const seen = noGrad(() => view.forward(p, t));
    const weight = record("view", [p.value], seen, (dy) => [view.grad ? view.grad(dy, p, t) : dy]);
    return { weight, backward: view.backward ? noGrad(() => view.backward!(p, t)) : weight };
  }
  if (!p.mask || p.off === "zero") return { weight: p.value, backward: p.value };
  const mask = p.mask;
  const seen = new Tensor(p.shape);
  parallel(pointwise, "maskMul", [p.value.ptr, mask.ptr, seen.ptr], seen.size, GRAIN);
  // The gradient is passed on whole: the optimiser leaves held weights alone, and live ones train straight through.
  const weight = record("masked", [p.value], seen, (dy) => [dy]);
  return { weight, backward: weight };
}

/** The option of a layer's product that hands its output's gradient to the parameter's view, where that wants it. */
export function gradientPruning(p: Param, t: Tick): { readonly pruneGradient?: (dy: Tensor) => Tensor } {
  const { view } = p;
  return view?.outputGradient ? { pruneGradient: (dy) => view.outputGradient!(dy, p, t) } : {};
}
