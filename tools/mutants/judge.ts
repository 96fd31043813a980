/**
 * Judges one changed file: the bytes of every kernel that it can reach, then the trials, ladders and unit tests that can
 * tell. The first that fails ends it.
 *
 * A change is equivalent when it ran while kernels were emitted, nowhere else, and no byte of any kernel or rung of a
 * ladder differs. One that emits no valid module is killed as invalid. What runs outside of emitting (helpers used when
 * weights are packed, say) is judged by tests alone.
 */
import { readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import type { Comparison, Draw, EmitOptions, Kernel } from "../../src/kernels/kernel.ts";
import { harness } from "./harness.ts";
import { Sources, World } from "./loader.ts";
import type { Methods } from "./sites.ts";

export const src = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), "src");
const TABLE = join(src, "kernels/table.ts");
const ASSEMBLER = join(src, "kernels/wasm/asm.ts");
/** As in src/kernels/table.test.ts; more would find what that test does not. */
const RUNS = 40;
const SEED = 20260101;
/** Where tests are looked for. */
const TESTED = ["kernels", "core/compute"] as const;
/** Of these two, what goes kernel by kernel is done above, for the kernels that differ. */
const BY_KERNEL = /^kernels\/(table|ladders)\.test\.ts$/;
const OF_ALL = /^(the table|comparison) >/;

export type Status = "killed" | "survived" | "equivalent";
export interface Verdict {
  readonly status: Status;
  /** what killed it */
  readonly by?: string;
  /** whether the changed place ran at all */
  readonly reached: boolean;
}
/** Told before each step that could hang. */
export type Watch = (step: string) => void;

const VARIANTS: readonly EmitOptions[] = [
  { shared: false, fused: false },
  { shared: false, fused: true },
  { shared: true, fused: false },
  { shared: true, fused: true },
];
const variantName = (v: EmitOptions): string => `${v.shared ? "shared" : "unshared"}${v.fused ? ", fused" : ""}`;
const describing = (k: Kernel): string => JSON.stringify([k.name, k.family, k.summary, k.functions]);
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
const firstLine = (e: unknown): string => (e instanceof Error ? e.message : String(e)).split("\n")[0].slice(0, 160);

interface Table {
  readonly kernels: readonly Kernel[];
}
type Sandboxes = typeof import("../../src/kernels/sandbox.ts");
type Comparing = typeof import("../../src/kernels/compare.ts");
type Probe = typeof import("../../src/kernels/probe.ts");

class Killed extends Error {}

export interface Judge {
  readonly methods: Methods;
  /** whether this process can run relaxed multiply-add, so that fused modules are tried, too */
  readonly fused: boolean;
  readonly sources: Sources;
  judge(file: string, text: string, watch?: Watch): Promise<Verdict>;
  /** runs every test that a verdict may rest on over unchanged sources; what fails cannot judge */
  baseline(watch?: Watch): Promise<string[]>;
  /** all files whose text a verdict about `file` depends on */
  inputs(file: string): readonly string[];
  /** all files that any verdict depends on */
  everything(): readonly string[];
}

export function testFiles(): string[] {
  return TESTED.flatMap((folder) =>
    readdirSync(join(src, folder), { recursive: true, encoding: "utf8" })
      .filter((f) => f.endsWith(".test.ts"))
      .sort()
      .map((f) => join(src, folder, f)),
  ).filter((f) => relative(src, f) !== "kernels/ladders.test.ts");
}

/** `kept`: a folder for compiled modules. */
export function createJudge(kept?: string): Judge {
  const sources = new Sources(kept);
  const options = { sources, assembler: ASSEMBLER, packages: {} as Record<string, unknown> };
  const base = new World(options);
  const load = <T>(world: World, path: string): T => world.load(path) as T;
  const { kernels } = load<Table>(base, TABLE);
  const probe = load<Probe>(base, join(src, "kernels/probe.ts"));
  const { disagreement, seededFloats } = load<Comparing>(base, join(src, "kernels/compare.ts"));
  const { createSandbox } = load<Sandboxes>(base, join(src, "kernels/sandbox.ts"));
  const runnable = VARIANTS.filter((v) => (!v.fused || probe.hasRelaxedSimd()) && (!v.shared || probe.hasThreads()));
  const methods: Methods = Object.fromEntries(
    Object.entries(load<Record<string, unknown>>(base, ASSEMBLER))
      .filter(([, v]) => typeof v === "object" && v !== null)
      .map(([name, v]) => [name, new Set(Object.keys(v as object))]),
  );

  const known = new Map<string, Uint8Array>();
  const baseBytes = (i: number, v: EmitOptions): Uint8Array => {
    const key = `${i}/${variantName(v)}`;
    const bytes = known.get(key) ?? kernels[i].emit(v);
    known.set(key, bytes);
    return bytes;
  };

  function runTrials(kernel: Kernel, variant: EmitOptions, watch: Watch): void {
    const box = createSandbox(kernel, variant);
    for (const trial of kernel.trials) {
      const what = `${kernel.name}: ${trial.name} (${variantName(variant)})`;
      watch(what);
      const drawFrom = (gen: fc.GeneratorValue): Draw => ({
        int: (low, high) => gen(fc.integer, { min: low, max: high }),
        floats: (count, scale = 1) => seededFloats(gen(fc.nat), count, scale),
      });
      const property = fc.property(fc.gen(), (gen) => {
        box.reset();
        for (const comparison of trial.run(drawFrom(gen), box)) {
          if (disagreement(comparison as Comparison) !== null) return false;
        }
        return box.damage() === undefined;
      });
      if (fc.check(property, { seed: SEED, numRuns: RUNS, endOnFailure: true }).failed) throw new Killed(what);
    }
  }

  /** As src/kernels/ladders.test.ts. */
  function climb(kernel: Kernel, watch: Watch): void {
    const what = `${kernel.name}: ladder`;
    watch(what);
    const fail = (): never => {
      throw new Killed(what);
    };
    try {
      const ladder = kernel.ladder!();
      const plain = { shared: false, fused: false };
      if (!same(ladder.rungs.at(-1)!.emit(plain), kernel.emit(plain))) fail();
      const want = ladder.twin();
      for (const rung of ladder.rungs) {
        const box = createSandbox({ ...kernel, emit: rung.emit }, plain);
        const { fn, args, result, count } = rung.arrange(box);
        box.call(fn, ...args);
        if (box.damage() || count !== want.length) fail();
        const got = box.f32(result, count);
        for (let i = 0; i < count; i++) if (!(Math.abs(got[i] - want[i]) <= ladder.tolerance)) fail();
      }
    } catch {
      fail();
    }
  }

  const rungBytes = (k: Kernel): Uint8Array[] =>
    (k.ladder?.().rungs ?? []).flatMap((r) => VARIANTS.slice(0, 2).map((v) => r.emit(v)));

  async function runTests(world: World, path: string, watch: Watch): Promise<string | undefined> {
    const { suite, vitest } = harness();
    const name = relative(src, path);
    watch(name);
    options.packages.vitest = vitest;
    let failed: string | undefined;
    try {
      world.load(path);
      for (const body of suite.before) await body();
      for (const test of suite.cases) {
        if (BY_KERNEL.test(name) && !OF_ALL.test(test.name)) continue;
        watch(`${name}: ${test.name}`);
        failed = `${name}: ${test.name}`;
        await test.body();
        failed = undefined;
      }
    } catch (error) {
      failed ??= `${name}: ${firstLine(error)}`;
    }
    for (const body of suite.after) await Promise.resolve(body()).catch(() => {});
    return failed;
  }

  async function judge(file: string, text: string, watch: Watch = () => {}): Promise<Verdict> {
    const path = join(src, file);
    let emitting = 0;
    let emitted = 0;
    let ran = 0;
    const hit = (): void => {
      if (emitting > 0) emitted++;
      else ran++;
    };
    const whileEmitting = <R>(body: () => R): R => {
      emitting++;
      try {
        return body();
      } finally {
        emitting--;
      }
    };
    const killed = (by: string): Verdict => ({ status: "killed", by, reached: emitted + ran > 0 });
    try {
      watch("import");
      const world = new World(options, base, { path, text, hit });
      let table: Table;
      try {
        table = load<Table>(world, TABLE);
      } catch (error) {
        return killed(`invalid: ${firstLine(error)}`);
      }
      if (table.kernels.length !== kernels.length) return killed("docs/kernels.md");
      // A kernel made by a module that does not reach the file is the same object.
      const reached = table.kernels
        .map((kernel, i) => ({ kernel, i }))
        .filter(({ kernel, i }) => kernel !== kernels[i]);
      if (reached.some(({ kernel, i }) => describing(kernel) !== describing(kernels[i])))
        return killed("docs/kernels.md");
      const guarded = reached.map(({ kernel, i }) => {
        const emit = (o: EmitOptions) => whileEmitting(() => kernel.emit(o));
        const ladder =
          kernel.ladder &&
          (() => {
            const made = kernel.ladder!();
            return {
              ...made,
              rungs: made.rungs.map((r) => ({ ...r, emit: (o: EmitOptions) => whileEmitting(() => r.emit(o)) })),
            };
          });
        return { i, kernel: { ...kernel, emit, ...(ladder ? { ladder } : {}) } satisfies Kernel as Kernel };
      });

      /** Emits a variant of every kernel in reach; tells which differ, or what stands in the way. */
      const emit = (variant: EmitOptions): Kernel[] => {
        const different: Kernel[] = [];
        for (const { kernel, i } of guarded) {
          watch(`emit ${kernel.name}`);
          let bytes: Uint8Array<ArrayBuffer>;
          try {
            bytes = kernel.emit(variant);
          } catch (error) {
            throw new Killed(`invalid: ${firstLine(error)}`);
          }
          if (same(bytes, baseBytes(i, variant))) continue;
          if (runnable.includes(variant) && !WebAssembly.validate(bytes))
            throw new Killed("invalid: does not validate");
          different.push(kernel);
        }
        return different;
      };
      const changed = new Set<Kernel>();
      for (const variant of VARIANTS) {
        for (const kernel of emit(variant)) {
          changed.add(kernel);
          if (runnable.includes(variant)) runTrials(kernel, variant, watch);
        }
      }

      const ladders = (): Kernel[] =>
        guarded
          .filter(({ kernel, i }) => {
            if (!kernel.ladder) return false;
            const before = rungBytes(kernels[i]);
            const now = rungBytes(kernel);
            return before.length !== now.length || now.some((b, j) => !same(b, before[j]));
          })
          .map(({ kernel }) => kernel);

      if (changed.size > 0) {
        for (const kernel of changed) if (kernel.ladder) climb(kernel, watch);
      } else {
        let other: Kernel[];
        watch("ladders");
        try {
          other = ladders();
        } catch {
          return killed("ladder");
        }
        if (other.length === 0 && emitted > 0 && ran === 0) return { status: "equivalent", reached: true };
        for (const kernel of other) climb(kernel, watch);
        // What did not change the code may change what the trials are given.
        for (const { kernel } of guarded) runTrials(kernel, VARIANTS[0], watch);
      }
      for (const test of testFiles()) {
        if (!sources.closure(test).has(path)) continue;
        const failed = await runTests(world, test, watch);
        if (failed !== undefined) return killed(failed);
      }
      return { status: "survived", reached: emitted + ran > 0 };
    } catch (error) {
      if (error instanceof Killed) return killed(error.message);
      throw error;
    }
  }

  async function baseline(watch: Watch = () => {}): Promise<string[]> {
    const wrong: string[] = [];
    const note = (body: () => void): void => {
      try {
        body();
      } catch (error) {
        wrong.push(firstLine(error));
      }
    };
    for (const kernel of kernels) {
      for (const variant of runnable) note(() => runTrials(kernel, variant, watch));
      if (kernel.ladder) note(() => climb(kernel, watch));
    }
    for (const test of testFiles()) {
      const failed = await runTests(base, test, watch);
      if (failed !== undefined) wrong.push(failed);
    }
    return wrong;
  }

  const families = [...sources.closure(TABLE)].filter((f) => f.endsWith("/index.ts"));
  const inputs = (file: string): readonly string[] => {
    const path = join(src, file);
    const tops = [...families, ...testFiles()].filter((f) => sources.closure(f).has(path));
    return [...new Set(tops.flatMap((f) => [...sources.closure(f)]))].sort();
  };
  const everything = (): readonly string[] =>
    [...new Set([TABLE, ...testFiles()].flatMap((f) => [...sources.closure(f)]))].sort();
  return { everything, methods, fused: probe.hasRelaxedSimd(), sources, judge, baseline, inputs };
}
