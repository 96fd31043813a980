/** What the seats of `convnets` agree on: networks with their weights and images, and the calls that every seat answers. */
import type { ConvNet } from "../../../src/models/convnets/net.ts";

export interface Contest {
  /** by id; the weights of a sparse network hold its zeros */
  readonly nets: Readonly<Record<string, ConvNet>>;
  /** [channels, height, width]; they take turns */
  readonly images: readonly Float32Array[];
}

export interface Contestant {
  /** one image through a network */
  run(id: string): unknown;
  /** logits of image 0 */
  logits(id: string): Float32Array | Promise<Float32Array>;
}
