/**
 * Counting multiply-adds of the weighted products of layers: forward, gradient of the input, gradient of the weight.
 *
 * Layers report what they do as they do it. `ran` is what the kernels that ran took: a weight stored dense counts whole,
 * masked or not. `nonZero` counts kept weights only, whatever the storage: what the same step takes when sparse kernels
 * run it. A FLOP count is twice a MAC count. Losses, norms, activations and optimisers are not counted.
 */
import type { Param } from "./param.ts";

export type Product = "forward" | "dX" | "dW";
export type Macs = Readonly<Record<Product, number>>;

export interface Tally {
  readonly ran: Macs;
  readonly nonZero: Macs;
}

const nothing = (): Record<Product, number> => ({ forward: 0, dX: 0, dW: 0 });
const so = { ran: nothing(), nonZero: nothing() };

/** Reports one product of a parameter over `uses` places (examples, tokens, output positions); `dense`: run dense. */
export function countProduct(p: Param, product: Product, uses: number, dense = p.storage !== "csr"): void {
  const kept =
    p.view?.kept?.(p, product) ?? (product === "dW" ? p.gradientPlaces?.index.nonZeros : undefined) ?? p.kept;
  so.ran[product] += uses * (dense ? p.numel : kept);
  so.nonZero[product] += uses * kept;
}

/**
 * What an operation calls with each product that it runs for this parameter over `uses` places; `whole`: the gradient of
 * the whole weight beside that of the stored one, which counts as it ran and not as work on non-zeros.
 */
export const counter =
  (p: Param, uses: number): ((product: Product, whole?: boolean) => void) =>
  (product, whole = false) => {
    if (whole) so.ran[product] += uses * p.numel;
    else countProduct(p, product, uses);
  };

/** All that was counted so far; `since` subtracts. */
export const tally = (): Tally => ({ ran: { ...so.ran }, nonZero: { ...so.nonZero } });

/** What was counted between `start`, a tally, and now. */
export function since(start: Tally): Tally {
  const less = (a: Macs, b: Macs): Macs => ({ forward: a.forward - b.forward, dX: a.dX - b.dX, dW: a.dW - b.dW });
  return { ran: less(so.ran, start.ran), nonZero: less(so.nonZero, start.nonZero) };
}

export const totalMacs = (m: Macs): number => m.forward + m.dX + m.dW;
