/**
 * The forecast held against what comes: for linear layers of several shapes the machine profile is measured first, as
 * `lacuna forecast` does; then layers with masks of their own, at sparsities beside the profile's grid, are timed against
 * the best dense form. One thread, one run.
 */
import { fusion, initSync, shutdown } from "../../../src/core/engine.ts";
import type { Use, WeightShape } from "../../../src/runtime/choose.ts";
import { activations, denseStack, type Stack, sparseStack, type Want } from "../../../src/runtime/drawn.ts";
import { profileKey } from "../../../src/runtime/machine.node.ts";
import { copiesOf, emptyProfile, measureCell, profileSpeeds, tokensOf } from "../../../src/runtime/profile.ts";
import { interleave, rotate, type Variant } from "../../../src/runtime/timing.ts";
import { type Outcome, type Row, ratioRow } from "../outcome.ts";
import { withinFifth } from "./convnets.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

const LAYERS: readonly (Want & { readonly pattern: string })[] = [
  { form: "csr", density: 0.38, pattern: "unstructured" },
  { form: "csr", density: 0.13, pattern: "unstructured" },
  { form: "block2x1", density: 0.27, pattern: "2x1" },
  { form: "block4x1", density: 0.57, pattern: "4x1" },
  { form: "block4x1", density: 0.27, pattern: "4x1" },
  { form: "block4x1", density: 0.08, pattern: "4x1" },
  { form: "block1x16", density: 0.22, pattern: "1x16" },
  { form: "nm1x1", density: 0.5, pattern: "2:4" },
  { form: "nm4x1", density: 0.5, pattern: "2:4@4x1" },
];
const SHAPES: readonly WeightShape[] = [
  { out: 192, in: 192, type: "bf16" },
  { out: 512, in: 192, type: "bf16" },
  { out: 1024, in: 1024, type: "bf16" },
];
/** MiB that a model's layers are spread over. */
const FOOTPRINT = 4;
/** Masks that the profile never saw. */
const SEED = 1009;
const DENSE = "best dense form";

/** Kinds of layers by name; the sparsity tells those of one form apart. */
const nameOf = (l: Want): string => `${l.form} ${(100 * (1 - l.density)).toFixed(0)} %`;

interface Compared {
  readonly forecast: number;
  readonly measured: number;
}

async function one(
  s: WeightShape,
  use: Use,
  quick: boolean,
): Promise<{ rows: Row[]; compared: Compared[]; notes: string[] }> {
  const profile = emptyProfile(profileKey());
  await measureCell(profile, s, use, FOOTPRINT, LAYERS);
  const speeds = profileSpeeds(profile, FOOTPRINT);
  const tokens = tokensOf(s, use);
  const copies = copiesOf(s, use, FOOTPRINT);
  const room = activations(s, tokens);
  const stacks: Stack[] = [];
  const variants: Variant[] = [];
  const add = (name: string, stack: Stack): void => {
    stacks.push(stack);
    const next = rotate(copies, (i) => stack.products[i].forward(room.x, tokens, room.y));
    variants.push({ name, run: () => fusion(true, next) });
  };
  try {
    add(DENSE, denseStack(s, speeds.dense(s, use) ?? "stored", copies));
    for (const l of LAYERS) add(nameOf(l), sparseStack(s, l, copies, SEED));
    const timing = await interleave(variants, quick ? { rounds: 5, slice: 4 } : { rounds: 21, slice: 8, warmUp: 20 });
    const shape = `${s.out} x ${s.in} x ${tokens}`;
    const rows = LAYERS.map((l) =>
      ratioRow(timing, nameOf(l), DENSE, {
        id: `layers/${use}/${s.out}x${s.in}/${l.form}-${(100 * (1 - l.density)).toFixed(0)}`,
        what: `${l.form}, ${l.pattern}`,
        shape,
        sparsity: 1 - l.density,
        threads: 1,
        over: DENSE,
      }),
    );
    const compared = LAYERS.map((l, i) => ({
      forecast: speeds.ratio(s, use, l.form, l.density) as number,
      measured: rows[i].ratio,
    }));
    const notes = compared.map(({ forecast, measured }, i) => {
      const off = (100 * (measured / forecast - 1)).toFixed(0);
      return `${nameOf(LAYERS[i])}, ${shape}: forecast ${forecast.toFixed(2)}, measured ${measured.toFixed(2)} (${off} %)`;
    });
    return { rows, compared, notes };
  } finally {
    for (const stack of stacks) stack.free();
    room.free();
  }
}

export const layersSuite: Suite = {
  name: "layers",
  shows: "forecast ratio against measured ratio of linear layers, one thread",
  peers: [],
  oneCore: true,
  async run({ quick, say }: SuiteOptions): Promise<Outcome> {
    initSync({ threads: 1 });
    const rows: Row[] = [];
    const compared: Compared[] = [];
    const notes: string[] = [];
    for (const s of quick ? SHAPES.slice(0, 1) : SHAPES) {
      for (const use of ["decode", "prefill"] as const) {
        say(`${s.out} x ${s.in}, ${use}`);
        const part = await one(s, use, quick);
        rows.push(...part.rows);
        compared.push(...part.compared);
        notes.push(...part.notes);
      }
    }
    shutdown();
    const good = withinFifth(compared);
    const verdict = good >= 0.9 * compared.length ? "reached" : "MISSED";
    notes.push(`${good} of ${compared.length} layers within 20 % of their forecast (${verdict}: at least 9 of 10)`);
    return { rows, rates: [], counts: [], notes };
  },
};
