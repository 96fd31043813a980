/** ONNX Runtime's products, dense: a model with one MatMul for each copy of the weight, which it packs when it is made. */
import { matMulModel, type OrtKind, type OrtSession, ortSession } from "../peers/ort.ts";
import { copiesOf, inputOf, type ProductCase, type Products, transposed, weightOf } from "./case.ts";

export interface OrtSetup {
  readonly kind: OrtKind;
}

interface Loaded {
  readonly sessions: readonly OrtSession[];
  readonly runs: readonly (() => Promise<Readonly<Record<string, { readonly data: unknown }>>>)[];
  readonly repeat: number;
  at: number;
}

/** As with tfjs, V8 takes long to find the inner loop's last form: see `settle` there. */
const SETTLING = 1500;

async function settle(): Promise<void> {
  const c: ProductCase = { id: "settle", tokens: 256, in: 256, out: 256, form: "packed", density: 1 };
  const session = await ortSession("web", matMulModel(weightOf(c, 0), c.in, c.out));
  const run = session.prepared({ x: { data: inputOf(c, 0), dims: [c.tokens, c.in] } });
  for (let i = 0; i < SETTLING; i++) await run();
  await session.free();
}

export async function open({ kind }: OrtSetup): Promise<Products> {
  if (kind === "web") await settle();
  const loaded = new Map<string, Loaded>();
  const of = (id: string): Loaded => {
    const found = loaded.get(id);
    if (!found) throw new Error(`bench: no product ${id}`);
    return found;
  };
  return {
    async load(c: ProductCase) {
      const sessions: OrtSession[] = [];
      const runs: Loaded["runs"][number][] = [];
      for (let i = 0; i < copiesOf(c); i++) {
        const model = matMulModel(transposed(weightOf(c, i), c.out, c.in), c.in, c.out);
        const session = await ortSession(kind, model);
        sessions.push(session);
        runs.push(session.prepared({ x: { data: inputOf(c, i), dims: [c.tokens, c.in] } }));
      }
      loaded.set(c.id, { sessions, runs, repeat: c.repeat ?? 1, at: 0 });
    },
    async run(id) {
      const found = of(id);
      for (let i = 0; i < found.repeat; i++) {
        found.at = (found.at + 1) % found.runs.length;
        await found.runs[found.at]();
      }
    },
    async sample(id) {
      const { y } = await of(id).runs[1]();
      return (y.data as Float32Array).slice();
    },
    async unload(id) {
      for (const s of of(id).sessions) await s.free();
      loaded.delete(id);
    },
  };
}
