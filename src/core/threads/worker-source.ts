/**
 * The text of a pool worker: it imports nothing, so it can be started from a string in Node and from a Blob in browsers.
 *
 * It waits on the control words, compiles a kernel from bytes found in the shared memory the first time it meets its
 * id, takes chunks by an atomic counter, and reports a trap through the error word. It never receives messages after
 * the first.
 */
import * as words from "./words.ts";

/** Builds the worker's source; constants are written in as numbers. */
export function workerSource(): string {
  const w = words;
  return `
const start = (memory) => {
  const C = new Int32Array(memory.buffer, ${w.CONTROL}, ${w.CONTROL_WORDS});
  const A = new Float64Array(memory.buffer, ${w.ARGUMENTS}, ${w.MAX_ARGUMENTS});
  const kernels = new Map();
  let done = 0;
  const run = () => {
    const id = C[${w.KERNEL_ID}];
    let fns = kernels.get(id);
    if (!fns) {
      const bytes = new Uint8Array(memory.buffer, C[${w.KERNEL_PTR}] >>> 0, C[${w.KERNEL_BYTES}]).slice();
      const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
      fns = Object.values(instance.exports);
      kernels.set(id, fns);
    }
    const fn = fns[C[${w.FUNCTION}]];
    const total = C[${w.TOTAL}], chunk = C[${w.CHUNK}];
    const args = Array.from(A.subarray(0, C[${w.ARGUMENT_COUNT}]));
    for (;;) {
      const from = Atomics.add(C, ${w.NEXT}, chunk);
      if (from >= total) break;
      fn(...args, from, Math.min(total, from + chunk));
    }
  };
  for (;;) {
    let turns = 0;
    for (;;) {
      const epoch = Atomics.load(C, ${w.EPOCH});
      if (epoch !== done && Atomics.load(C, ${w.OPEN}) !== 0) break;
      if (++turns > ${w.SPIN_TURNS}) {
        Atomics.add(C, ${w.SLEEPERS}, 1);
        Atomics.wait(C, ${w.EPOCH}, epoch);
        Atomics.sub(C, ${w.SLEEPERS}, 1);
        turns = 0;
      }
    }
    Atomics.add(C, ${w.ACTIVE}, 1);
    const open = Atomics.load(C, ${w.OPEN});
    if (open !== 0 && open !== done) {
      try {
        run();
      } catch (error) {
        Atomics.store(C, ${w.NEXT}, 0x7fffffff >> 1);
        Atomics.store(C, ${w.ERROR}, 1);
      }
      done = open;
    }
    if (Atomics.sub(C, ${w.ACTIVE}, 1) === 1) Atomics.notify(C, ${w.ACTIVE});
  }
};
if (typeof self === "undefined" || typeof self.postMessage !== "function") start(require("node:worker_threads").workerData.memory);
else self.onmessage = (event) => start(event.data.memory);
`;
}
