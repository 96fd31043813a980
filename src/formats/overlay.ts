/** Some tensors in memory laid over a source: what pruning changed over the model it came from. Nothing is copied. */

import { refuse } from "./refuse.ts";
import type { WeightSource } from "./weights.ts";

/**
 * `base` with the dense bytes of some of its tensors replaced; type and shape stay. A replaced tensor is no longer
 * packed. Closing it closes the base.
 */
export function layOver(base: WeightSource, replaced: ReadonlyMap<string, Uint8Array>): WeightSource {
  for (const [name, data] of replaced) {
    const { bytes } = base.info(name);
    if (data.length !== bytes) {
      refuse(name, `${bytes} bytes`, `${data.length}`, "A replaced tensor keeps its type and shape.");
    }
  }
  return {
    names: base.names,
    metadata: base.metadata,
    has: (name) => base.has(name),
    info(name) {
      const info = base.info(name);
      if (!replaced.has(name)) return info;
      const { packing: _, ...dense } = info;
      return dense;
    },
    async read(name) {
      return replaced.get(name) ?? base.read(name);
    },
    async readPacked(name) {
      if (!replaced.has(name) && base.readPacked) return base.readPacked(name);
      return refuse(name, "a packed weight", "a dense one", "Read it with `read`.");
    },
    close: () => base.close(),
  };
}
