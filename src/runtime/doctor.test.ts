import { afterAll, beforeAll, expect, test } from "vitest";
import { initSync, memory, shutdown } from "../core/engine.ts";
import { conclusions, type DoctorRecord, doctor } from "./doctor.ts";
import { spread } from "./timing.ts";

beforeAll(() => initSync({ threads: 2 }));
afterAll(shutdown);

test("facts are of this engine, the 4 MiB are given back, and the record is plain data", async () => {
  const live = memory.live;
  const d = await doctor({ mebibytes: 4, folder: "/nonexistent/lacuna-test" });
  expect(memory.live).toBe(live);
  expect(d).toMatchObject({ simd: true, sharedMemory: true, threads: 2, profile: { shapes: 0 } });
  expect(d.provenance.node).toBe(process.versions.node);
  expect(d.provenance.lacuna).toMatch(/^\d+\.\d+\.\d+/);
  expect(d.memory.engineLimit).toBe(2 ** 32);
  expect(d.bandwidth?.far.mebibytes).toBe(4);
  expect(d.bandwidth?.far.gigabytesPerSecond.median).toBeGreaterThan(0);
  expect(d.follows.length).toBeGreaterThanOrEqual(4);
  expect(JSON.parse(JSON.stringify(d))).toEqual(d);
});

test("what follows from the facts", () => {
  const rate = (gb: number) => ({ mebibytes: 128, gigabytesPerSecond: spread([gb]), kernel: "k" });
  const facts: Omit<DoctorRecord, "follows"> = {
    kind: "doctor",
    version: 1,
    provenance: {
      lacuna: "0.1.0",
      date: "",
      machine: { cpu: "", cores: 2, memoryBytes: 8 * 2 ** 30, platform: "" },
      node: "20",
      v8: "11",
      threads: 4,
      fused: false,
    },
    simd: true,
    relaxedSimd: false,
    sharedMemory: true,
    threads: 4,
    cores: 2,
    memory: { engineLimit: 2 ** 32, engineReserved: 0, systemFree: 2 ** 29, systemTotal: 8 * 2 ** 30 },
    bandwidth: { far: rate(28), near: rate(90) },
    profile: { path: "", shapes: 0 },
  };
  const text = conclusions(facts).join(" ");
  expect(text).toMatch(/No fused multiply-add/);
  expect(text).toMatch(/only 2 cores: 4 threads/);
  // 28e9 bytes a second, 2e9 bytes for a billion weights.
  expect(text).toMatch(/memory at 28 GB\/s and the second-level cache at 90 GB\/s.*at most 14\.0 tokens/);
  expect(text).toMatch(/0\.4 GiB of weights.*\(free memory\).*expect swapping.*forecast/);
  expect(conclusions({ ...facts, simd: false, bandwidth: null })).toEqual([
    expect.stringMatching(/no WebAssembly SIMD/),
  ]);
  expect(conclusions({ ...facts, sharedMemory: false }).join(" ")).toMatch(/one thread/);
});
