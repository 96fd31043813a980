/** How far the polynomial functions are from the truth, in units in the last place, on dense grids. */
import { describe, expect, it } from "vitest";
import type { Expr } from "../wasm/asm.ts";
import { f32, forRange, i32, ModuleBuilder, v128 } from "../wasm/asm.ts";
import type { Maker } from "./lanes.ts";
import * as math from "./math.ts";

type Run = (n: number) => void;

function functionsOf(
  emitV: (f: Maker, x: Expr<"v128">) => Expr<"v128">,
  emitS: (f: Maker, x: Expr<"f32">) => Expr<"f32">,
) {
  const m = new ModuleBuilder({ shared: false });
  m.func("vector", { n: "i32" }, (f) => {
    const i = f.local("i32");
    return forRange(i, i32.const(0), f.p.n, 16, v128.store(i, emitV(f, v128.load(i))));
  });
  m.func("scalar", { n: "i32" }, (f) => {
    const i = f.local("i32");
    return forRange(i, i32.const(0), f.p.n, 4, f32.store(i, emitS(f, f32.load(i))));
  });
  const memory = new WebAssembly.Memory({ initial: 160 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(m.bytes()), { env: { memory } });
  return (kind: "vector" | "scalar", input: Float32Array): Float32Array => {
    const padded = Math.ceil(input.length / 4) * 4;
    const room = new Float32Array(memory.buffer, 0, padded);
    room.fill(1);
    room.set(input);
    (exports[kind] as Run)(padded * 4);
    return room.slice(0, input.length);
  };
}

/** Distance of neighbouring f32 numbers at |x|. */
function ulp(x: number): number {
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x) || 1e-300)), -126);
  return 2 ** (exponent - 23);
}

const grid = (low: number, high: number, count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
/** `count` numbers over all positive normal and subnormal f32, evenly over the bit patterns. */
const allScales = (count: number): Float32Array =>
  new Float32Array(
    Uint32Array.from({ length: count }, (_, i) => 1 + Math.floor((0x7f7ffffe * i) / (count - 1))).buffer,
  );

function worst(got: Float32Array, x: Float32Array, truth: (x: number) => number, floor = 0): number {
  let max = 0;
  for (let i = 0; i < x.length; i++) {
    const want = truth(x[i]);
    max = Math.max(max, Math.abs(got[i] - want) / Math.max(ulp(want), floor));
  }
  return max;
}

const COUNT = 400_000;
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

interface Case {
  readonly name: string;
  readonly run: ReturnType<typeof functionsOf>;
  readonly truth: (x: number) => number;
  readonly grids: readonly Float32Array[];
  /** largest error in ulp, a little above what was found */
  readonly limit: number;
  /** errors are measured in units not smaller than this (where the result passes through 0) */
  readonly floor?: number;
}

const cases: readonly Case[] = [
  {
    name: "exp",
    run: functionsOf(math.expV, math.expS),
    truth: Math.exp,
    grids: [grid(-87.3, 88.72, COUNT), grid(-1, 1, COUNT), grid(-104, -87, COUNT)],
    limit: 1,
  },
  {
    name: "log",
    run: functionsOf(math.logV, math.logS),
    truth: Math.log,
    grids: [allScales(COUNT), grid(0.4, 2.5, COUNT), grid(0.99, 1.01, COUNT)],
    limit: 0.9,
  },
  {
    name: "sin",
    run: functionsOf(math.sinV, math.sinS),
    truth: Math.sin,
    grids: [grid(-7, 7, COUNT), grid(-8192, 8192, COUNT)],
    limit: 1.4,
    floor: 2 ** -24,
  },
  {
    name: "cos",
    run: functionsOf(math.cosV, math.cosS),
    truth: Math.cos,
    grids: [grid(-7, 7, COUNT), grid(-8192, 8192, COUNT)],
    limit: 1.4,
    floor: 2 ** -24,
  },
  {
    name: "sigmoid",
    run: functionsOf(math.sigmoidV, math.sigmoidS),
    truth: sigmoid,
    grids: [grid(-80, 80, COUNT), grid(-2, 2, COUNT)],
    limit: 2.5,
  },
  {
    name: "tanh",
    run: functionsOf(math.tanhV, math.tanhS),
    truth: Math.tanh,
    grids: [grid(-10, 10, COUNT), grid(-0.7, 0.7, COUNT)],
    limit: 3.1,
  },
];

describe("functions of the kernels against Math in f64", () => {
  for (const c of cases) {
    it(`${c.name}: within ${c.limit} ulp, and one lane gives the bits of four`, () => {
      for (const x of c.grids) {
        const got = c.run("vector", x);
        expect(worst(got, x, c.truth, c.floor)).toBeLessThan(c.limit);
        const single = new Uint32Array(c.run("scalar", x).buffer);
        expect(new Uint32Array(got.buffer).findIndex((bits, i) => bits !== single[i])).toBe(-1);
      }
    });
  }

  it("exp and log at the ends of the range", () => {
    const x = Float32Array.of(Number.NEGATIVE_INFINITY, -1e30, -105, 0, -0, 89, Number.POSITIVE_INFINITY, Number.NaN);
    for (const kind of ["vector", "scalar"] as const) {
      expect([...cases[0].run(kind, x)]).toEqual([
        0,
        0,
        0,
        1,
        1,
        Number.POSITIVE_INFINITY,
        Number.POSITIVE_INFINITY,
        Number.NaN,
      ]);
      const y = Float32Array.of(0, -0, -1, Number.NEGATIVE_INFINITY, 1, Number.POSITIVE_INFINITY, Number.NaN);
      expect([...cases[1].run(kind, y)]).toEqual([
        Number.NEGATIVE_INFINITY,
        Number.NEGATIVE_INFINITY,
        Number.NaN,
        Number.NaN,
        0,
        Number.POSITIVE_INFINITY,
        Number.NaN,
      ]);
    }
  });
});
