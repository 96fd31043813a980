import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Kernel } from "../kernels/kernel.ts";
import { f64, forRange, i32, ModuleBuilder, when } from "../kernels/wasm/asm.ts";
import { init, memory, parallel, shutdown } from "./engine.ts";
import { LacunaError } from "./errors.ts";
import { Memory } from "./memory.ts";
import { outside, scope } from "./scope.ts";
import { Tensor, tensor, zeros } from "./tensor.ts";

/** out[i] += i * factor, and a trap at one index, to see how the pool behaves. */
const probe: Kernel = {
  name: "probe-f64",
  family: "test",
  summary: "for this test",
  functions: {},
  trials: [],
  emit: (options) => {
    const m = new ModuleBuilder(options);
    m.func("fill", { out: "i32", factor: "f64", from: "i32", to: "i32" }, (f) => {
      const i = f.local("i32");
      const at = i32.add(f.p.out, i32.shl(i, i32.const(3)));
      return forRange(
        i,
        f.p.from,
        f.p.to,
        1,
        f64.store(at, f64.add(f64.load(at), f64.mul(f64.convertI32s(i), f.p.factor))),
      );
    });
    m.func("trap", { at: "i32", from: "i32", to: "i32" }, (f) => {
      const i = f.local("i32");
      return forRange(i, f.p.from, f.p.to, 1, when(i32.eq(i, f.p.at), i.set(i32.divs(i32.const(1), i32.const(0)))));
    });
    return m.bytes();
  },
};

beforeAll(() => init({ threads: 3 }));
afterAll(shutdown);

test("allocation: blocks never overlap, are aligned, and all bytes come back", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 200_000 }), fc.boolean()), { maxLength: 120 }), (plan) => {
      const m = new Memory({ shared: false });
      const held: { ptr: number; bytes: number; tag: number }[] = [];
      plan.forEach(([bytes, release], tag) => {
        const ptr = m.alloc(bytes);
        expect(ptr % 64).toBe(0);
        m.u8(ptr, bytes).fill(tag & 255);
        held.push({ ptr, bytes, tag });
        if (release) {
          const [gone] = held.splice((tag * 7) % held.length, 1);
          m.free(gone.ptr);
        }
      });
      for (const h of held) expect(m.u8(h.ptr, h.bytes).every((b) => b === (h.tag & 255))).toBe(true);
      for (const h of held) m.free(h.ptr);
      expect(m.live).toBe(0);
      // One free block remains: everything was joined again, so the whole reserve can be had at once.
      const before = m.reserved;
      m.alloc(before - 8192);
      expect(m.reserved).toBe(before);
    }),
    { numRuns: 60, seed: 1 },
  );
});

test("allocation beyond the limit is a clear error and leaves the memory usable", () => {
  const m = new Memory({ shared: false, limit: 32 << 20 });
  expect(() => m.alloc(64 << 20)).toThrow(LacunaError);
  expect(() => m.alloc(64 << 20)).toThrow(/67108864 bytes.*limit of 33554432/);
  m.free(m.alloc(1 << 20));
});

test("the pool runs every unit exactly once, job after job, also after the memory has grown", () => {
  for (let round = 0; round < 50; round++) {
    const n = 1 + ((round * 977) % 5000);
    const out = memory.alloc(8 * n);
    memory.f64(out, n).fill(0.5);
    parallel(probe, "fill", [out, 2], n, 1 + (round % 7));
    expect(memory.f64(out, n).every((v, i) => v === 0.5 + 2 * i)).toBe(true);
    memory.free(out);
    if (round === 25) memory.free(memory.alloc(64 << 20));
  }
});

test("a trap in any thread is an error here, and the pool goes on working", () => {
  for (const at of [0, 500, 999]) expect(() => parallel(probe, "trap", [at], 1000, 10)).toThrow();
  const out = memory.alloc(8 * 100);
  memory.f64(out, 100).fill(0);
  parallel(probe, "fill", [out, 1], 100, 1);
  expect(memory.f64(out, 100)[99]).toBe(99);
  memory.free(out);
});

test("a scope frees what it does not return, also when it throws, and refuses promises", () => {
  const before = memory.live;
  const kept = scope(() => {
    zeros([1000]);
    const inner = scope(() => ({ a: [zeros([16])], b: zeros([32]) }));
    return inner.a[0];
  });
  expect(memory.live - before).toBe(64);
  kept.dispose();
  expect(() =>
    scope(() => {
      zeros([50]);
      throw new Error("x");
    }),
  ).toThrow("x");
  expect(() => scope(async () => zeros([50]))).toThrow(/promise/);
  expect(memory.live).toBe(before);
  const weight = scope(() => {
    outside(() => zeros([16])).dispose();
    return outside(() => zeros([16]));
  });
  expect(memory.live - before).toBe(64);
  weight.dispose();
  expect(memory.live).toBe(before);
});

test("a reshaped tensor keeps the bytes alive; a freed one cannot be read", () => {
  const t = tensor([1, 2, 3, 4, 5, 6], [2, 3]);
  const r = t.reshape([3, 2]);
  t.dispose();
  expect([...r.f32]).toEqual([1, 2, 3, 4, 5, 6]);
  r.dispose();
  expect(() => r.f32).toThrow(/freed/);
  expect(() => new Tensor([2, -1])).toThrow(LacunaError);
  expect(() => tensor([1, 2, 3], [2, 2])).toThrow(/expected 4 values, got 3/);
});

test("a tensor of an engine that was stopped frees nothing of the next one", async () => {
  await init({ threads: 1 });
  const old = outside(() => zeros([16]));
  await init({ threads: 1 });
  const fresh = outside(() => zeros([16]));
  const { live } = memory;
  old.dispose();
  expect(memory.live).toBe(live);
  expect(() => old.toArray()).toThrow(/freed/);
  fresh.dispose();
  expect(memory.live).toBeLessThan(live);
});
