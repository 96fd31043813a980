/**
 * What this WebAssembly engine can run, found by validating tiny modules; nothing is executed.
 */

import { drop, f32x4, i32, ModuleBuilder, v128 } from "./wasm/asm.ts";

const answers = new Map<string, boolean>();

function validates(name: string, build: () => ModuleBuilder): boolean {
  let answer = answers.get(name);
  if (answer === undefined) {
    answer = typeof WebAssembly === "object" && WebAssembly.validate(build().bytes());
    answers.set(name, answer);
  }
  return answer;
}

/** Fixed-width 128-bit SIMD; every kernel needs it. */
export function hasSimd(): boolean {
  return validates("simd", () => {
    const m = new ModuleBuilder({ shared: false });
    m.func("probe", {}, () => drop(f32x4.add(v128.const32(0, 0, 0, 0), v128.const32(0, 0, 0, 0))));
    return m;
  });
}

/** Relaxed SIMD, for the fused multiply-add. Node 20 has it behind a flag, Node 22 and later by default. */
export function hasRelaxedSimd(): boolean {
  return validates("relaxed", () => {
    const m = new ModuleBuilder({ shared: false });
    const zero = v128.const32(0, 0, 0, 0);
    m.func("probe", {}, () => drop(f32x4.relaxedMadd(zero, zero, zero)));
    return m;
  });
}

/** Shared memory and atomics. A browser page also has to be cross-origin isolated, else `SharedArrayBuffer` is absent. */
export function hasThreads(): boolean {
  if (typeof SharedArrayBuffer === "undefined") return false;
  return validates("threads", () => {
    const m = new ModuleBuilder({ shared: true });
    m.func("probe", {}, () => drop(i32.atomicAdd(i32.const(0), i32.const(1))));
    return m;
  });
}
