/**
 * One training step of a fully connected network whose hidden layers are sparse: truly sparse (CSR) over masked dense of
 * the same engine, and over the dense network in tfjs and jax-js; forward, backward and Adam, one thread.
 *
 * Contestants sit in isolates of their own and take turns. Before anything is timed, all dense ones must give the same
 * losses over three Adam steps from the same weights, and so must sparse and masked twins at each sparsity.
 */
import { interleave, type Timing } from "../../../src/runtime/timing.ts";
import { type Count, type Outcome, type Rate, type Row, rateOf, ratioRow } from "../outcome.ts";
import { TFJS_PACKAGES } from "../peers/tfjs.ts";
import { Seat, seatClock } from "../seat.ts";
import type { Bytes } from "../sparse-training/lacuna.ts";
import { type Form, SIZES, type StepSetup, setupOf } from "../sparse-training/setup.ts";
import type { Suite, SuiteOptions } from "./suite.ts";
import { CHECKED_STEPS, checkLosses } from "./train.ts";

const BATCH = 128;
const SPARSITIES = [0.5, 0.6, 0.8, 0.9, 0.95, 0.98] as const;

/** Gates hold for the full size only. How many times faster than the masked step a sparse one has to be, and should be. */
const GATES: Readonly<Record<number, { readonly atLeast: number | null; readonly aim: number | null }>> = {
  0.6: { atLeast: 1, aim: null },
  0.9: { atLeast: 4, aim: 5.5 },
  0.95: { atLeast: 8, aim: 11 },
  0.98: { atLeast: 15, aim: 25 },
};
/** Over each peer: the dense step, and the one with 90 % zeros. */
const OVER_PEERS = { dense: 1, csr90: 5 } as const;
/** Most bytes of parameters, gradients and state at 95 % over those of the dense network. */
export const MOST_BYTES = 0.2;

export interface Entrant {
  readonly name: string;
  readonly module: "lacuna" | "tfjs" | "jax";
  readonly form?: Form;
  readonly transposes?: boolean;
}

export const csrName = (sparsity: number): string => `sparse ${100 * sparsity} %`;
const DENSE: Entrant = { name: "dense", module: "lacuna", form: { storage: "dense", sparsity: 0 } };
const MASKED: Entrant = { name: "masked", module: "lacuna", form: { storage: "masked", sparsity: 0.9 } };

export const PEERS: readonly Entrant[] = [
  { name: "tfjs-wasm", module: "tfjs" },
  { name: "tfjs-wasm, explicit transposes", module: "tfjs", transposes: true },
  { name: "jax-js", module: "jax" },
];

const SHORT: Readonly<Record<string, string>> = {
  "tfjs-wasm": "tfjs",
  "tfjs-wasm, explicit transposes": "tfjs-transposes",
  "jax-js": "jax",
};

export const seatFor = (e: Entrant, setup: StepSetup): Promise<Seat> =>
  Seat.open(e.name, new URL(`../sparse-training/${e.module}.ts`, import.meta.url), {
    ...setup,
    ...e.form,
    threads: 1,
    transposes: e.transposes === true,
  });

interface Sitting {
  readonly entrant: Entrant;
  readonly seat: Seat;
}

async function run({ quick, say }: SuiteOptions): Promise<Outcome> {
  const sizes = quick ? [64, 256, 256, 10] : SIZES;
  const setup = setupOf(sizes, quick ? 32 : BATCH, 4);
  const own = [
    DENSE,
    MASKED,
    ...SPARSITIES.map((s): Entrant => ({ name: csrName(s), module: "lacuna", form: { storage: "csr", sparsity: s } })),
  ];
  const notes: string[] = [];
  const sittings: Sitting[] = [];
  const losses = (seat: Seat, form?: Form): number[] =>
    seat.call("losses", { steps: CHECKED_STEPS, ...(form && { form }) });
  try {
    let reference: readonly number[] = [];
    for (const entrant of [...own, ...PEERS]) {
      say(`${entrant.name}: same losses?`);
      let seat: Seat;
      try {
        seat = await seatFor(entrant, setup);
      } catch (error) {
        if (entrant.module === "lacuna") throw error;
        notes.push(`${entrant.name} did not start on Node ${process.versions.node}: ${(error as Error).message}`);
        continue;
      }
      sittings.push({ entrant, seat });
      const { form } = entrant;
      if (form && form.storage !== "dense") {
        const twin = losses(seat, { ...form, storage: form.storage === "csr" ? "masked" : "csr" });
        const apart = checkLosses(`${entrant.name} and its twin`, twin, losses(seat));
        notes.push(`${entrant.name}: losses of ${CHECKED_STEPS} steps within ${apart.toExponential(1)} of its twin's`);
      } else if (reference.length === 0) reference = losses(seat);
      else {
        const apart = checkLosses(entrant.name, reference, losses(seat));
        notes.push(`${entrant.name}: losses within ${apart.toExponential(1)} of Lacuna's dense ones`);
      }
    }
    say("timing");
    const timing = await interleave(
      sittings.map(({ seat }) => seat.variant("step")),
      { rounds: quick ? 3 : 9, slice: quick ? 5 : 150, warmUp: quick ? 5 : 200, clock: seatClock },
    );
    return outcome(timing, setup, sittings, notes, !quick);
  } finally {
    for (const { seat } of sittings) await seat.close();
  }
}

function outcome(
  timing: Timing,
  setup: StepSetup,
  sittings: readonly Sitting[],
  notes: string[],
  gated: boolean,
): Outcome {
  const base = { shape: `${setup.sizes.join("-")}, batch ${setup.batch}`, threads: 1, what: "training step" };
  const rows: Row[] = [];
  const rates: Rate[] = [];
  const counts: Count[] = [];
  const idOf = (name: string): string => name.replace(/ %$/, "").replaceAll(" ", "-");
  const peers = sittings.filter((s) => s.entrant.module !== "lacuna").map((s) => s.entrant.name);
  const bytes = new Map<string, Bytes>();
  for (const { entrant, seat } of sittings) {
    const { name, form } = entrant;
    const short = SHORT[name] ?? idOf(name);
    const what = entrant.module === "lacuna" ? `Lacuna, ${name}` : name;
    const id = `sparse-training/${short}`;
    rates.push(rateOf(timing, name, setup.batch, { ...base, id, what, unit: "examples/s" }));
    if (!form) continue;
    const held = seat.call<Bytes>("bytes");
    bytes.set(name, held);
    counts.push(
      {
        id: `${id}/held`,
        what: `${what}: parameters, gradients, state`,
        unit: "bytes",
        value: held.parameters + held.gradients,
      },
      { id: `${id}/peak`, what: `${what}: peak of a step, activations included`, unit: "bytes", value: held.peak },
    );
    const { sparsity } = form;
    if (form.storage === "csr") {
      rows.push(
        ratioRow(timing, name, MASKED.name, {
          ...base,
          ...(gated ? GATES[sparsity] : {}),
          id: `${id}-over-masked`,
          sparsity,
          over: "masked dense",
        }),
      );
    }
    const gate = name === DENSE.name ? OVER_PEERS.dense : name === csrName(0.9) ? OVER_PEERS.csr90 : null;
    if (gate === null) continue;
    for (const peer of peers) {
      const fields = {
        ...base,
        id: `${id}-over-${SHORT[peer]}`,
        sparsity,
        over: `${peer}, dense`,
        atLeast: gated ? gate : null,
      };
      rows.push(ratioRow(timing, name, peer, fields));
    }
  }
  const total = (name: string): number => {
    const b = bytes.get(name) as Bytes;
    return b.parameters + b.gradients;
  };
  const share = total(csrName(0.95)) / total(DENSE.name);
  counts.push({
    id: "sparse-training/bytes-95-over-dense",
    what: `held bytes at 95 % over dense; at most ${MOST_BYTES}`,
    unit: "x",
    value: Number(share.toFixed(4)),
  });
  notes.push(
    "the last layer is dense in all; no gradient of the data is taken",
    "held: values, masks or both indices, gradients, two moments; not activations",
    "tfjs-wasm and jax-js have one thread in Node",
  );
  return { rows, rates, counts, notes };
}

export const sparseTrainingSuite: Suite = {
  name: "sparse-training",
  shows: "a training step of a sparse network over masked dense, and over tfjs-wasm and jax-js on the dense network",
  peers: [...TFJS_PACKAGES, "@jax-js/jax"],
  run,
};
