/**
 * Lacuna's products: one seat for each number of threads. Fused multiply-add is used where the engine has it, as in
 * generation, unless the seat is told not to.
 */
import { gemm } from "../../../src/core/compute/gemm.ts";
import { sparseMatrix } from "../../../src/core/compute/sparse.ts";
import { threadFloor } from "../../../src/core/compute/split.ts";
import { fusion, initSync, memory } from "../../../src/core/engine.ts";
import { outside } from "../../../src/core/scope.ts";
import { tensor } from "../../../src/core/tensor.ts";
import { gridDensity, quotaOfDensity } from "../../../src/runtime/drawn.ts";
import { buildForm, isQuotaForm, isSparse, type Product, sparseProduct } from "../../../src/runtime/layer.ts";
import { rotate } from "../../../src/runtime/timing.ts";
import { copiesOf, inputOf, type ProductCase, type Products, weightOf } from "./case.ts";

export interface LacunaSetup {
  readonly threads: number;
  /** false: two roundings even where the engine can fuse */
  readonly fused?: boolean;
  /** operations from which all threads are used, instead of the engine's own floors */
  readonly floor?: number;
  /** spend so many microseconds before each product, in which workers go to sleep */
  readonly idle?: number;
}

const place = (values: Float32Array): number => {
  const ptr = memory.alloc(4 * values.length);
  memory.f32(ptr, values.length).set(values);
  return ptr;
};

/** Both factors as they are, packed within the call. */
function unprepared(c: ProductCase, values: Float32Array): Product {
  const ptr = place(values);
  const bytes = 4 * values.length;
  return {
    bytes,
    bytesPerToken: bytes,
    forward: (x, tokens, y) =>
      gemm({
        m: tokens,
        n: c.out,
        k: c.in,
        a: { ptr: x, type: "f32", rowStride: c.in, colStride: 1 },
        // As a matrix product is usually given: B [in, out] row-major.
        b: { ptr, type: "f32", rowStride: c.out, colStride: 1 },
        c: y,
      }),
    free: () => memory.free(ptr),
  };
}

function build(c: ProductCase, copy: number): Product {
  const w = weightOf(c, copy);
  if (c.form === "calls") {
    const b = new Float32Array(w.length);
    for (let r = 0; r < c.out; r++) for (let k = 0; k < c.in; k++) b[k * c.out + r] = w[r * c.in + k];
    return unprepared(c, b);
  }
  if (isSparse(c.form)) {
    const quota = isQuotaForm(c.form) ? quotaOfDensity(gridDensity(c.density), c.in) : undefined;
    return sparseProduct(sparseMatrix(w, c.out, c.in, c.form, { ...quota, values: "f32" }));
  }
  const weight = outside(() => tensor(w, [c.out, c.in]));
  const product = buildForm(weight, c.form);
  if (c.form === "packed") {
    weight.dispose();
    return product;
  }
  return {
    ...product,
    free() {
      product.free();
      weight.dispose();
    },
  };
}

/** Looks at the clock for so many microseconds. */
function wait(microseconds: number): void {
  const end = performance.now() + microseconds / 1000;
  while (performance.now() < end);
}

export function open({ threads, fused = true, floor, idle = 0 }: LacunaSetup): Promise<Products> {
  initSync({ threads });
  interface Loaded {
    readonly c: ProductCase;
    readonly next: () => void;
    readonly one: (i: number) => void;
    readonly y: number;
    free(): void;
  }
  const loaded = new Map<string, Loaded>();
  const of = (id: string): Loaded => {
    const found = loaded.get(id);
    if (!found) throw new Error(`bench: no product ${id}`);
    return found;
  };
  return Promise.resolve({
    load(c) {
      const copies = copiesOf(c);
      const products = Array.from({ length: copies }, (_, i) => build(c, i));
      const xs = Array.from({ length: copies }, (_, i) => place(inputOf(c, i)));
      const y = place(new Float32Array(c.tokens * c.out));
      const plain = (i: number): void => fusion(fused, () => products[i].forward(xs[i], c.tokens, y));
      const floored = floor === undefined ? plain : (i: number): void => threadFloor(floor, () => plain(i));
      const one = (i: number): void => {
        if (idle > 0) wait(idle);
        floored(i);
      };
      loaded.set(c.id, {
        c,
        y,
        one,
        next: rotate(copies, one),
        free() {
          for (const p of products) p.free();
          for (const ptr of [...xs, y]) memory.free(ptr);
        },
      });
    },
    run(id) {
      const { c, next } = of(id);
      for (let i = 0; i < (c.repeat ?? 1); i++) next();
    },
    sample(id) {
      const { c, one, y } = of(id);
      one(1);
      return memory.f32(y, c.tokens * c.out).slice();
    },
    unload(id) {
      of(id).free();
      loaded.delete(id);
    },
  });
}
