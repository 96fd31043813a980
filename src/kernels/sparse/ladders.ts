/**
 * The ladders of the sparse kernels: the same product by the plain twin, by earlier forms of the loop, and by the kernel.
 *
 * What else was tried and did not help (Zen 4, V8 11, one thread): a second set of sums for CSR; counting entries down
 * instead of comparing addresses; four outputs as lanes with splats of tokens; weights splatted by shuffles; an exit in the
 * middle of a 4x1 block; 4x1 with 12 or 16 tokens (spills); bf16 weights widened inside the loop; weights written into the
 * code of a module of their own (fetching code costs more than reading a stream).
 */

import { drawnUnit, drawnValues } from "../example.ts";
import type { EmitOptions, Ladder, Rung, Sandbox } from "../kernel.ts";
import type { Layout } from "./layouts.ts";
import { evenCuts, GROUP, type Stream, streamOf } from "./streams.ts";
import { productTwin } from "./twin.ts";

const OUT = 512;
const IN = 512;
const KEPT = 0.3;
/** two of four, for N:M */
const N = 2;
const M = 4;

/** A weight with the pattern of a layout. */
function exampleWeight(l: Layout): Float32Array {
  const w = drawnValues(OUT * IN, 1);
  for (let o = 0; o < OUT; o++) {
    const unit = Math.floor(o / l.rows) * IN;
    for (let k = 0; k < IN; k++) {
      const place = Math.floor(3 * drawnUnit(unit + k - (k % M), 2));
      const kept =
        l.index === "steps"
          ? k % M >= place && k % M < place + N
          : drawnUnit(unit + Math.floor(k / l.columns), 2) < KEPT;
      if (!kept) w[o * IN + k] = 0;
    }
  }
  return w;
}

interface Example {
  readonly w: Float32Array;
  readonly x: Float32Array;
  readonly tokens: number;
  readonly stream: Stream;
}

const exampleOf = (l: Layout, tokens: number): Example => {
  const w = exampleWeight(l);
  return { w, x: drawnValues(tokens * IN, 3), tokens, stream: streamOf(l, w, OUT, IN, N, M) };
};

function ladderOf(l: Layout, e: Example, rungs: readonly Rung[]): Ladder {
  const kept = e.stream.nonZeros / (OUT * IN);
  const columns = e.tokens === 1 ? "one column" : `${e.tokens} columns`;
  return {
    example: `${OUT} x ${IN}, ${Math.round(100 * (1 - kept))} % zeros as ${l.pattern.replace("N:M", `${N}:${M}`)}, ${columns}`,
    operations: 2 * e.stream.nonZeros * e.tokens,
    twin: () => productTwin(e.w, e.x, e.tokens, OUT, IN).values,
    // The largest error that 512 rounded sums of values below 1 can have.
    tolerance: IN * IN * 2 ** -24,
    rungs,
  };
}

function operands(box: Sandbox, stream: Stream, spmm: boolean): number[] {
  if ("slots" in stream) return [stream.slots, stream.stride, box.put(stream.offsets), box.put(stream.values)];
  const starts = box.put(stream.starts);
  return [starts, ...(spmm ? [box.put(stream.ends)] : []), box.put(stream.columns), box.put(stream.values)];
}

/** Steps of a loop's turn, and what keeps the compiler from mixing them: all of it in the kernel, less in its ladder. */
export interface SpmmBuild {
  readonly unroll: 1 | 4;
  /** an exit after every entry; without it the padded entries of a unit are run through, too */
  readonly exits: boolean;
  /** never-taken exits inside of an entry */
  readonly fences: boolean;
}
type EmitSpmm = (l: Layout, width: number, options: EmitOptions, build?: SpmmBuild) => Uint8Array<ArrayBuffer>;

export function spmmLadder(l: Layout, width: number, emit: EmitSpmm): Ladder {
  const tokens = 96;
  const e = exampleOf(l, tokens);
  const rung = (step: string, build?: SpmmBuild): Rung => ({
    step,
    emit: (options) => emit(l, width, options, build),
    arrange(box) {
      const given = operands(box, e.stream, true);
      const packed = box.room(4 * IN * tokens);
      const panels = Math.ceil(tokens / width);
      box.call("pack", box.put(e.x), packed, tokens, IN, 0, panels);
      const y = box.room(4 * tokens * OUT);
      return {
        fn: "byPanels",
        args: [...given, packed, y, tokens, IN, OUT, 0, panels],
        result: y,
        count: tokens * OUT,
      };
    },
  });
  const [unroll, exits] = [4, true] as const;
  const rungs: Rung[] = [];
  if (l.columns > 1) {
    rungs.push(rung("sixteen inputs of a block in turns of four", { unroll, exits, fences: false }));
    rungs.push(rung("sums finished after each four vectors"));
    return ladderOf(l, e, rungs);
  }
  if (l.index === "columns") rungs.push(rung("one entry a turn", { unroll: 1, exits, fences: false }));
  rungs.push(rung("four entries a turn", { unroll, exits: false, fences: false }));
  const wide = l.rows < width / 4 && width > 16;
  if (wide) rungs.push(rung("an exit after each entry", { unroll, exits, fences: false }));
  rungs.push(rung(wide ? "sums finished after each four vectors" : "an exit after each entry"));
  return ladderOf(l, e, rungs);
}

/** f32 values; the narrow types differ in how four of them are widened. */
export function spmvLadder(
  l: Layout,
  emit: (options: EmitOptions, single: boolean) => Uint8Array<ArrayBuffer>,
): Ladder {
  const e = exampleOf(l, 1);
  const rung = (step: string, single: boolean): Rung => ({
    step,
    emit: (options) => emit(options, single),
    arrange(box) {
      const given = operands(box, e.stream, false);
      const cuts = box.put(evenCuts(new Int32Array(OUT / GROUP).fill(1), 1));
      const y = box.room(4 * OUT);
      return { fn: "multiply", args: [...given, box.put(e.x), y, OUT, cuts, 0, 1], result: y, count: OUT };
    },
  });
  const last = l.columns > 1 ? "four vectors of a block, a sum each" : "four entries a turn";
  const single = l.index === "columns" && l.columns === 1 ? [rung("one entry a turn", true)] : [];
  return ladderOf(l, e, [...single, rung(last, false)]);
}
