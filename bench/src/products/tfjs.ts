/** tfjs-wasm's products, dense. Its packing of a constant factor (XNNPACK) happens once per tensor, before the timing. */
import type { Rank, Tensor2D } from "@tensorflow/tfjs-core";
import { rotate } from "../../../src/runtime/timing.ts";
import { type Tfjs, tfjs } from "../peers/tfjs.ts";
import { copiesOf, inputOf, type ProductCase, type Products, transposed, weightOf } from "./case.ts";

/**
 * Products that tfjs has to compute before its speed is its own: between some 100 and 800 of them V8 runs its inner loop
 * in a form less than half as fast, which is neither what comes before nor what stays.
 */
const SETTLING = 2500;

function settle(tf: Tfjs): void {
  const [x, b] = [0, 1].map((i) => tf.randomUniform<Rank.R2>([256, 256], -1, 1, "float32", i));
  for (let i = 0; i < SETTLING; i++) tf.matMul(x, b).dispose();
  for (const t of [x, b]) t.dispose();
}

export async function open(): Promise<Products> {
  const tf = await tfjs();
  settle(tf);
  const loaded = new Map<string, { repeat: number; next: () => void; xs: Tensor2D[]; bs: Tensor2D[] }>();
  const of = (id: string) => {
    const found = loaded.get(id);
    if (!found) throw new Error(`bench: no product ${id}`);
    return found;
  };
  return {
    load(c: ProductCase) {
      const copies = Array.from({ length: copiesOf(c) }, (_, i) => i);
      const xs = copies.map((i) => tf.tensor2d(inputOf(c, i), [c.tokens, c.in]));
      const bs = copies.map((i) => tf.tensor2d(transposed(weightOf(c, i), c.out, c.in), [c.in, c.out]));
      const next = rotate(copies.length, (i) => tf.matMul(xs[i], bs[i]).dispose());
      loaded.set(c.id, { xs, bs, next, repeat: c.repeat ?? 1 });
    },
    run(id) {
      const { repeat, next } = of(id);
      for (let i = 0; i < repeat; i++) next();
    },
    sample(id) {
      const { xs, bs } = of(id);
      const y = tf.matMul(xs[1], bs[1]);
      const values = y.dataSync() as Float32Array;
      y.dispose();
      return values.slice();
    },
    unload(id) {
      const { xs, bs } = of(id);
      for (const t of [...xs, ...bs]) t.dispose();
      loaded.delete(id);
    },
  };
}
