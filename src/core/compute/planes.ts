/**
 * What convolutions in engine memory share: copying images into padded planes, room for them, sizes of pieces of work.
 */
import { bytesOfPlanes, type ConvShape, type Planes } from "../../kernels/conv/geometry.ts";
import { planes } from "../../kernels/conv/index.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import { call, parallel, scratch } from "../engine.ts";

/** Below this many multiply-adds a fork and join costs more than the second thread saves. */
const THREAD_MACS = 2e6;
/** Multiply-adds of a chunk of work at least. */
const GRAIN_MACS = 1e5;
/** Elements of a chunk of copying at least. */
const GRAIN_COPY = 16384;
/** Planes held at once: half of a usual second-level cache. */
const PLANE_BYTES = 512 * 1024;

export function run(
  kernel: Kernel,
  fn: string,
  args: readonly number[],
  units: number,
  grain: number,
  macs: number,
): void {
  if (macs >= THREAD_MACS) parallel(kernel, fn, args, units, grain);
  else if (units > 0) call(kernel, fn, ...args, 0, units);
}

export const grainOf = (macs: number, units: number): number =>
  Math.max(1, Math.ceil((GRAIN_MACS * units) / Math.max(1, macs)));

/** Lends several pieces of memory, each at a multiple of 64 bytes. */
export function rooms<R>(sizes: readonly number[], body: (...at: number[]) => R): R {
  const starts: number[] = [];
  let total = 0;
  for (const size of sizes) {
    starts.push(total);
    total += Math.ceil(size / 64) * 64;
  }
  return scratch(total, (ptr) => body(...starts.map((start) => ptr + start)));
}

/** How many images' planes fit in `PLANE_BYTES`, at least one. */
export const atOnce = (bytesOfImage: number, images: number): number =>
  Math.min(images, Math.max(1, Math.floor(PLANE_BYTES / Math.max(1, bytesOfImage))));

function split(p: Planes, channels: number, args: readonly number[]): void {
  const size = (channels * bytesOfPlanes(p)) / 4;
  const grain = Math.max(1, Math.ceil((GRAIN_COPY * channels) / Math.max(1, size)));
  run(planes, "split", args, channels, grain, 8 * size);
}

/** Planes of images of the input, and of the output's gradient, at `to`. */
export const splitInput = (s: ConvShape, p: Planes, images: number, x: number, to: number): void =>
  split(p, images * s.channels, [
    ...[x, to, s.height, s.width, p.rows, p.columns, p.pitch, p.plane, s.strideY, s.strideX],
    ...[p.phasesY, p.phasesX, p.top, p.left],
  ]);

export const splitGradient = (s: ConvShape, p: Planes, images: number, dy: number, to: number): void =>
  split(p, images * s.outs, [
    ...[dy, to, s.outHeight, s.outWidth, p.rows, p.columns, p.pitch, p.plane, 1, 1],
    ...[1, 1, p.top, p.left],
  ]);
