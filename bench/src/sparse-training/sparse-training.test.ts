/** Fairness of `sparse-training`: every peer computes Lacuna's dense network, sparse and masked are one network. */
import { afterAll, expect, test } from "vitest";
import { shutdown } from "../../../src/core/engine.ts";
import { csrName, type Entrant, PEERS, seatFor } from "../suites/sparse-training.ts";
import { CHECKED_STEPS, checkLosses, LOSS_TOLERANCE } from "../suites/train.ts";
import { type Bytes, open } from "./lacuna.ts";
import { type Form, macsOf, maskOf, setupOf } from "./setup.ts";

afterAll(shutdown);

const setup = setupOf([30, 48, 40, 7], 24, 3);
const own = async (form: Form): Promise<number[]> =>
  (await open({ ...setup, ...form, threads: 1 })).losses({ steps: CHECKED_STEPS });
const dense: Form = { storage: "dense", sparsity: 0 };

test.each(PEERS)("$name computes Lacuna's network", async (peer) => {
  const reference = await own(dense);
  const seat = await seatFor(peer, setup);
  const found = seat.call<number[]>("losses", { steps: CHECKED_STEPS });
  expect(checkLosses(peer.name, reference, found)).toBeLessThan(LOSS_TOLERANCE / 20);
  expect(seat.call("losses", { steps: CHECKED_STEPS })).toEqual(found);
  expect(Number.isFinite(seat.call<number>("step"))).toBe(true);
  expect(Math.abs(reference[2] - reference[0])).toBeGreaterThan(0.05);
  await seat.close();
});

test("sparse and masked are one network, another mask is another", async () => {
  const masked = await own({ storage: "masked", sparsity: 0.8 });
  const sparse = await own({ storage: "csr", sparsity: 0.8 });
  expect(checkLosses("sparse", masked, sparse)).toBeLessThan(LOSS_TOLERANCE / 20);
  const other = await own({ storage: "csr", sparsity: 0.7 });
  expect(() => checkLosses("other", masked, other)).toThrow("other does not compute the same network");
});

test("a seat counts its bytes, and masks keep their counts", async () => {
  const entrant: Entrant = { name: csrName(0.9), module: "lacuna", form: { storage: "csr", sparsity: 0.9 } };
  const seat = await seatFor(entrant, setup);
  const { parameters, gradients, peak } = seat.call<Bytes>("bytes");
  expect(gradients).toBeLessThan(parameters);
  expect(parameters).toBeLessThan(peak);
  await seat.close();
  const { bits, kept } = maskOf(0, 1000, 0.9);
  expect([kept, bits.reduce((a, b) => a + b, 0)]).toEqual([100, 100]);
  expect(macsOf([2, 3, 5], 10)).toBe(10 * (2 * 6 + 3 * 15));
});
