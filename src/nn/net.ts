/**
 * What a network is to everything above: parameters, buffers, and a forward pass. Layers and models are plain objects
 * and functions that make `Param`s; nothing here knows a loss, an optimiser or data.
 */
import type { Tensor } from "../core/tensor.ts";
import type { Param } from "./param.ts";

/** Where a run stands: `step` optimiser steps done of `steps`, whole epochs done, number of the task from 0. */
export interface Tick {
  readonly step: number;
  readonly steps: number;
  readonly epoch?: number;
  /** the last step was the last of an epoch */
  readonly epochEnd?: boolean;
  readonly task?: number;
}

/** How a forward pass is meant. Noise is a function of (seed, layer's name, step), never of a draw order. */
export interface Mode {
  /** batch statistics and dropout on */
  readonly train: boolean;
  readonly t: Tick;
  readonly seed: number;
}

export const EVALUATE: Mode = { train: false, t: { step: 0, steps: 0 }, seed: 0 };

/** A tensor that belongs to the network but is not trained: running statistics of a batch norm. */
export interface NetBuffer {
  readonly name: string;
  readonly value: Tensor;
}

export interface Net {
  /** in a fixed order; names are unique */
  readonly params: readonly Param[];
  readonly buffers?: readonly NetBuffer[];
  /** Row-major in and out: features [B, D], images [B, C, H, W], token ids [B, T]. */
  forward(x: Tensor, mode: Mode): Tensor;
}

/** Frees parameters, their masks and slots, and buffers. */
export function disposeNet(net: Net): void {
  for (const p of net.params) p.dispose();
  for (const b of net.buffers ?? []) b.value.dispose();
}
