/**
 * One training step of a network on the array of `sat.ts`: for each layer FF, BP and WU on the array, then WUVE and SORE on
 * its weights; the cheaper dataflow for each stage, found beforehand from closed forms.
 *
 * Traffic: each operand crosses the memory interface once a stage. Feature maps and gradients are read and written as maps
 * (im2col happens on the chip), weights dense or compact, partial sums stay on the chip. That is a lower bound, reached
 * with buffers that hold what is read again. With double buffering a stage takes the larger of computing and moving.
 *
 * Compact weights are made once a step, behind WUVE and together with it (pre-generation): both are written once and read
 * once. On the fly, SORE runs in front of FF and of BP, which read the dense weight.
 */
import { demand } from "../core/errors.ts";
import { divisible, filled, type Layer, type Stage, stageProducts } from "./layers.ts";
import { arrayCycles, compactBytes, type Dataflow, type Kept, productMacs, SAT, type Sat, utilisation } from "./sat.ts";

export interface StepOptions {
  readonly batch: number;
  /** N:M of the weights; none: dense training. Layers that M does not divide in both directions stay dense. */
  readonly kept?: Kept;
  /** products whose weights are pruned; default both (BDWP). FF alone is SR-STE, BP alone SDWP. */
  readonly sparse?: readonly ("FF" | "BP")[];
  /** default "scheduled": the cheaper for each stage */
  readonly dataflow?: Dataflow | "scheduled";
  /** default true */
  readonly pregenerate?: boolean;
  /** values that the optimiser keeps for each weight; default 1, momentum */
  readonly slots?: number;
  /** default `SAT` */
  readonly sat?: Sat;
}

/** Bytes between memory and chip. */
export interface Traffic {
  readonly read: number;
  readonly written: number;
  /** of both, what are weights as FF and BP read them and as SORE writes them */
  readonly weights: number;
}

export interface StageCost {
  readonly layer: string;
  readonly stage: Stage | "update";
  /** null where the array is not used */
  readonly dataflow: Dataflow | null;
  readonly sparse: boolean;
  /** of the array, or of WUVE and SORE beside it */
  readonly compute: number;
  readonly memory: number;
  /** of SORE where nothing runs beside it */
  readonly sorting: number;
  /** the larger of compute and memory, and sorting */
  readonly cycles: number;
  readonly macs: number;
  /** groups of M that were sorted */
  readonly sorted: number;
  readonly traffic: Traffic;
}

export interface StepCost {
  readonly stages: readonly StageCost[];
  readonly cycles: number;
  readonly macs: number;
  readonly traffic: Traffic;
  /** of the array, over the whole step */
  readonly utilisation: number;
  readonly imagesPerSecond: number;
}

const sum = <T>(list: readonly T[], of: (x: T) => number): number => list.reduce((n, x) => n + of(x), 0);

function arrayStage(layer: Layer, stage: Stage, o: StepOptions, sat: Sat): StageCost {
  const { batch, dataflow = "scheduled", pregenerate = true } = o;
  const { inputs, outputs, size, outSize, weights } = filled(layer);
  const directions = o.sparse ?? ["FF", "BP"];
  const kept =
    stage !== "WU" && directions.includes(stage) && o.kept && divisible(layer, o.kept[1]) ? o.kept : undefined;
  const products = stageProducts(layer, stage, batch, kept);
  const [x, y] = [inputs * size ** 2, outputs * outSize ** 2].map((n) => n * batch * sat.valueBytes);
  const dense = weights * sat.valueBytes;
  const weight = kept && pregenerate ? compactBytes(weights, kept, sat) : dense;
  const traffic: Traffic = {
    FF: { read: x + weight, written: y, weights: weight },
    BP: { read: y + weight, written: x, weights: weight },
    WU: { read: x + y, written: dense, weights: 0 },
  }[stage];
  const memory = (traffic.read + traffic.written) / sat.bandwidth;
  const flows: readonly Dataflow[] = dataflow === "scheduled" ? ["WS", "OS"] : [dataflow];
  const [best] = flows
    .map((flow) => ({ flow, compute: arrayCycles(flow, products, sat).total }))
    .sort((a, b) => Math.max(a.compute, memory) - Math.max(b.compute, memory) || a.compute - b.compute);
  const sorted = kept && !pregenerate ? weights / kept[1] : 0;
  const sorting = Math.ceil(sorted / sat.soreLanes);
  return {
    layer: layer.name,
    stage,
    dataflow: best.flow,
    sparse: kept !== undefined,
    compute: best.compute,
    memory,
    sorting,
    cycles: Math.max(best.compute, memory) + sorting,
    macs: sum(products, productMacs),
    sorted,
    traffic,
  };
}

/** WUVE reads weight, gradient and slots and writes weight and slots; SORE sorts beside it, both directions in turn. */
function updateStage(layer: Layer, o: StepOptions, directions: number, sat: Sat): StageCost {
  const { pregenerate = true, slots = 1 } = o;
  const { weights } = filled(layer);
  const sparse = directions > 0 && pregenerate;
  const copies = o.kept && sparse ? directions * compactBytes(weights, o.kept, sat) : 0;
  const sorted = o.kept && sparse ? (directions * weights) / o.kept[1] : 0;
  const read = (2 + slots) * weights * sat.valueBytes;
  const written = (1 + slots) * weights * sat.valueBytes + copies;
  const compute = Math.max(Math.ceil(weights / sat.wuveLanes), Math.ceil(sorted / sat.soreLanes));
  const memory = (read + written) / sat.bandwidth;
  return {
    ...{ layer: layer.name, stage: "update", dataflow: null, sparse, compute, memory, sorting: 0 },
    ...{ cycles: Math.max(compute, memory), macs: 0, sorted, traffic: { read, written, weights: copies } },
  };
}

/** Cost of one step; the first layer has no BP. Throws `LacunaError` for a pattern that is none. */
export function trainingStep(layers: readonly Layer[], options: StepOptions): StepCost {
  const { batch, kept, sat = SAT } = options;
  demand(!kept || (kept.every(Number.isInteger) && kept[0] >= 1 && kept[0] <= kept[1]), () => ({
    about: "N:M pattern of a training step",
    expected: "whole numbers with 1 <= N <= M",
    got: kept?.join(":") ?? "",
    hint: "N is the number kept of each M, as in 2:8.",
  }));
  const stages = layers.flatMap((layer, i) => {
    const run = (["FF", ...(i > 0 ? (["BP"] as const) : []), "WU"] as const).map((s) =>
      arrayStage(layer, s, options, sat),
    );
    return [...run, updateStage(layer, options, run.filter((s) => s.sparse).length, sat)];
  });
  const cycles = sum(stages, (s) => s.cycles);
  const macs = sum(stages, (s) => s.macs);
  return {
    stages,
    cycles,
    macs,
    traffic: {
      read: sum(stages, (s) => s.traffic.read),
      written: sum(stages, (s) => s.traffic.written),
      weights: sum(stages, (s) => s.traffic.weights),
    },
    utilisation: utilisation(macs, cycles, sat),
    imagesPerSecond: (batch * sat.clock) / cycles,
  };
}

/** Joules by event, set by the user: nothing here knows a technology. */
export interface EnergyPerEvent {
  readonly mac: number;
  readonly byte: number;
  /** a group of M sorted */
  readonly sorted: number;
  /** a cycle, whatever happens in it */
  readonly cycle: number;
}

/** Modelled energy: counts times what each costs. */
export function energy({ macs, traffic, cycles, stages }: StepCost, per: EnergyPerEvent): number {
  const bytes = traffic.read + traffic.written;
  return macs * per.mac + bytes * per.byte + sum(stages, (s) => s.sorted) * per.sorted + cycles * per.cycle;
}

/** The schedule as a table in text: one line a layer and stage, made once before training. */
export function scheduleText(step: StepCost, sat: Sat = SAT): string {
  const rows = step.stages.map((s) => [
    s.layer,
    s.stage,
    s.dataflow ?? "-",
    s.sparse ? "N:M" : "dense",
    String(Math.round(s.cycles)),
    s.memory > s.compute ? "memory" : "compute",
    s.macs > 0 ? `${(100 * utilisation(s.macs, s.cycles, sat)).toFixed(0)} %` : "-",
  ]);
  const all = [["layer", "stage", "dataflow", "weights", "cycles", "bound by", "used"], ...rows];
  const width = all[0].map((_, c) => Math.max(...all.map((r) => r[c].length)));
  return all
    .map((r) =>
      r
        .map((t, c) => t.padEnd(width[c]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
