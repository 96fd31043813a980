import { expect, it } from "vitest";
import { forRange, i32, ModuleBuilder, v128 } from "../wasm/asm.ts";
import { expSoftmax } from "./exp.ts";

/** e^x of every value, through a module of its own. */
function run(values: Float32Array): Float32Array {
  const m = new ModuleBuilder({ shared: false });
  m.func("exp", { at: "i32", bytes: "i32" } as const, (f) => {
    const i = f.local("i32");
    const cell = i32.add(f.p.at, i);
    return forRange(i, i32.const(0), f.p.bytes, 16, v128.store(cell, expSoftmax(f, v128.load(cell))));
  });
  const memory = new WebAssembly.Memory({ initial: 1 + Math.ceil(values.byteLength / 65536) });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(m.bytes()), { env: { memory } });
  const view = new Float32Array(memory.buffer, 0, values.length);
  view.set(values);
  (exports.exp as (at: number, bytes: number) => void)(0, values.byteLength);
  return view;
}

it("is within 2e-7 relative of Math.exp from -87 to 87", () => {
  const x = Float32Array.from({ length: 174_000 }, (_, i) => -87 + i * 1e-3);
  const y = run(x);
  let worst = 0;
  for (let i = 0; i < x.length; i++) worst = Math.max(worst, Math.abs(y[i] / Math.exp(x[i]) - 1));
  expect(worst).toBeLessThan(2e-7);
});

it("is 1 at 0, tiny far below, and keeps NaN of any payload", () => {
  const odd = new Float32Array(new Uint32Array([0xffffffff, 0x7fc00001, 0x7fc00000, 0xff80000f]).buffer);
  const y = run(Float32Array.of(0, -0, -1000, Number.NEGATIVE_INFINITY, ...odd));
  expect([...y.subarray(0, 2)]).toEqual([1, 1]);
  for (const tiny of y.subarray(2, 4)) {
    expect(tiny).toBeGreaterThan(0);
    expect(tiny).toBeLessThan(2e-38);
  }
  expect([...y.subarray(4)]).toEqual([Number.NaN, Number.NaN, Number.NaN, Number.NaN]);
});
