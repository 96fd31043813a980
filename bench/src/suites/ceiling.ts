/**
 * What one core can do at most in 128-bit vectors, so that a target that was missed can be held against it: multiply and
 * add in registers alone, and reading memory of several sizes. Rates only; nothing is promised.
 */

import { hasRelaxedSimd } from "../../../src/kernels/probe.ts";
import { createSandbox } from "../../../src/kernels/sandbox.ts";
import { brIf, i32, label, loop, ModuleBuilder, madd, v128 } from "../../../src/kernels/wasm/asm.ts";
import { interleave, rotate, type Variant } from "../../../src/runtime/timing.ts";
import { type Outcome, type Rate, rateOf } from "../outcome.ts";
import type { Suite } from "./suite.ts";

/** A tile of sums, as large as registers hold beside its factors. */
const [ROWS, VECTORS] = [4, 2];
const TURNS = 20_000;
const { const: n, add, sub, lt } = i32;

const kernelOf = (name: string, emit: () => Uint8Array<ArrayBuffer>) =>
  ({ name, family: "bench", summary: name, functions: {}, emit, trials: [] }) as const;

/**
 * sums[r][i] += a[r] b[i], `TURNS` times. The rows' factors stay in registers; b is read, from the first cache and from two
 * places in turn, since a product of two factors that never change would be taken out of the loop.
 */
function multiplyAdd(fused: boolean): () => void {
  const kernel = kernelOf("multiply-add", () => {
    const m = new ModuleBuilder({ shared: false });
    m.func("run", { x: "i32", turns: "i32" }, ({ p, locals }) => {
      const sums = Array.from({ length: ROWS }, () => locals("v128", VECTORS));
      const [a, b] = [locals("v128", ROWS), locals("v128", VECTORS)];
      const [at] = locals("i32", 1);
      const again = label("again");
      const step = 16 * VECTORS;
      return [
        ...a.map((v, r) => v.set(v128.load(p.x, 2 * step + 16 * r))),
        loop(
          again,
          at.set(add(p.x, i32.mul(i32.and(p.turns, n(1)), n(step)))),
          ...b.map((v, i) => v.set(v128.load(at, 16 * i))),
          ...sums.flatMap((row, r) => row.map((s, i) => s.set(madd(fused, a[r], b[i], s)))),
          brIf(again, p.turns.tee(sub(p.turns, n(1)))),
        ),
        ...sums.flat().map((s, i) => v128.store(p.x, s, 2 * step + 16 * (ROWS + i))),
      ];
    });
    return m.bytes();
  });
  const box = createSandbox(kernel, { shared: false, fused });
  const x = box.put(
    Float32Array.from({ length: 4 * (2 * VECTORS + ROWS + ROWS * VECTORS) }, (_, i) => ((i % 7) - 3) / 8),
  );
  return () => void box.call("run", x, TURNS);
}

/** The exclusive or of all vectors of a stretch of memory, read four a step. */
function reading(bytes: number, copies: number): () => void {
  const kernel = kernelOf("reading", () => {
    const m = new ModuleBuilder({ shared: false });
    m.func("run", { from: "i32", to: "i32", y: "i32" }, ({ p, locals }) => {
      const sums = locals("v128", 4);
      const again = label("again");
      return [
        loop(
          again,
          ...sums.map((s, i) => s.set(v128.xor(s, v128.load(p.from, 16 * i)))),
          p.from.set(add(p.from, n(64))),
          brIf(again, lt(p.from, p.to)),
        ),
        v128.store(
          p.y,
          sums.reduce<Parameters<typeof v128.xor>[0]>((total, s) => v128.xor(total, s), sums[0]),
        ),
      ];
    });
    return m.bytes();
  });
  const box = createSandbox(kernel, { shared: false, fused: false });
  const y = box.room(16);
  const at = Array.from({ length: copies }, (_, i) => box.put(new Float32Array(bytes / 4).fill(i + 1)));
  return rotate(copies, (i) => void box.call("run", at[i], at[i] + bytes, y));
}

const MIB = 2 ** 20;
const SIZES = [
  { text: "256 KiB", bytes: MIB / 4, copies: 1 },
  { text: "4 MiB", bytes: 4 * MIB, copies: 1 },
  { text: "beyond the caches", bytes: 32 * MIB, copies: 6 },
] as const;

export const ceilingSuite: Suite = {
  name: "ceiling",
  shows: "what one core can do: multiply-add in registers alone, reading memory",
  peers: [],
  oneCore: true,
  async run({ quick, say }): Promise<Outcome> {
    say("registers and memory");
    const pace = quick ? { rounds: 5, slice: 20, warmUp: 50 } : { rounds: 21, slice: 40, warmUp: 200 };
    const sums: Variant[] = [
      { name: "multiply, then add", run: multiplyAdd(false) },
      ...(hasRelaxedSimd() ? [{ name: "fused multiply-add", run: multiplyAdd(true) }] : []),
    ];
    const reads = SIZES.map(({ text, bytes, copies }) => ({ name: `reading, ${text}`, run: reading(bytes, copies) }));
    const timing = await interleave([...sums, ...reads], pace);
    const rate = (id: string, name: string, amount: number, unit: string): Rate =>
      rateOf(timing, name, amount, { id: `ceiling/${id}`, what: name, shape: "one core", threads: 1, unit });
    const operations = (2 * 4 * ROWS * VECTORS * TURNS) / 1e9;
    return {
      rows: [],
      rates: [
        rate("multiply-add", sums[0].name, operations, "GFLOP/s"),
        ...(sums[1] ? [rate("fused", sums[1].name, operations, "GFLOP/s")] : []),
        ...SIZES.map(({ bytes }, i) => rate(`reading-${i}`, reads[i].name, bytes / 1e9, "GB/s")),
      ],
      counts: [],
      notes: [],
    };
  },
};
