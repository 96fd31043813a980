/**
 * Lacuna's side of `convnets`: each network in the forms that the runner chooses, and all dense; and its 1x1 layers one
 * by one, inside of whole passes.
 */
import { initSync } from "../../../src/core/engine.ts";
import { ConvRunner } from "../../../src/runtime/convnet.ts";
import { measurePointwise } from "../../../src/runtime/convnet-profile.ts";
import { rotate } from "../../../src/runtime/timing.ts";
import type { Contest, Contestant } from "./contest.ts";

export interface LacunaContest extends Contest {
  readonly threads: number;
}

export interface LayerTimes {
  readonly name: string;
  readonly shape: string;
  readonly form: string;
  /** milliseconds, pass by pass, beside the same pass of the dense twin */
  readonly sparse: readonly number[];
  readonly dense: readonly number[];
  /** forecast from layers measured alone; null where the layer runs dense */
  readonly forecast: number | null;
}

export interface LacunaCalls extends Contestant {
  /** bytes of weights */
  bytes(id: string): number;
  /** forecasts the 1x1 layers of a network, then times them in `passes` pairs of passes */
  layers(argument: { readonly id: string; readonly passes: number }): Promise<LayerTimes[]>;
}

/** The dense twin of a network goes by this name. */
export const denseId = (id: string): string => `${id}/dense`;

export async function open({ nets, images, threads }: LacunaContest): Promise<LacunaCalls> {
  initSync({ threads });
  const made = new Map<string, { runner: ConvRunner; next: () => void }>();
  const add = (id: string, runner: ConvRunner): void => {
    made.set(id, { runner, next: rotate(images.length, (i) => void runner.run(images[i])) });
  };
  for (const [id, net] of Object.entries(nets)) {
    add(id, new ConvRunner(net));
    add(denseId(id), new ConvRunner(net, { kernels: "dense" }));
  }
  const of = (id: string) => {
    const found = made.get(id);
    if (!found) throw new Error(`bench: no network ${id}`);
    return found;
  };

  /** Milliseconds of every layer in one pass. */
  const pass = (runner: ConvRunner, image: Float32Array): number[] => {
    runner.load(image);
    return runner.layers.map((_, i) => {
      const start = performance.now();
      runner.step(i);
      return performance.now() - start;
    });
  };

  return {
    run: (id) => of(id).next(),
    logits: (id) => of(id).runner.run(images[0]),
    bytes: (id) => of(id).runner.bytes.weights,
    async layers({ id, passes }) {
      const [sparse, dense] = [of(id).runner, of(denseId(id)).runner];
      const picked = sparse.layers.flatMap((l, i) => (l.facts ? [{ i, facts: l.facts, form: l.choice.form }] : []));
      const speeds = await measurePointwise(picked.map((p) => p.facts));
      const times = picked.map(() => ({ sparse: [] as number[], dense: [] as number[] }));
      for (let n = -3; n < passes; n++) {
        const image = images[(n + 3) % images.length];
        const order = n % 2 === 0 ? (["sparse", "dense"] as const) : (["dense", "sparse"] as const);
        for (const which of order) {
          const found = pass(which === "sparse" ? sparse : dense, image);
          if (n < 0) continue;
          for (const [k, p] of picked.entries()) times[k][which].push(found[p.i]);
        }
      }
      return picked.map(({ facts, form }, k) => ({
        name: facts.name,
        shape: `${facts.out} x ${facts.in} x ${facts.pixels}`,
        form,
        ...times[k],
        forecast: form === "dense" ? null : (speeds.ratio(facts, form) ?? null),
      }));
    },
  };
}
