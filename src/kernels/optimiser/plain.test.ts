/** The optimisers' twins against steps worked out by hand. */
import { describe, expect, it } from "vitest";
import { adam, adamw, sgd } from "./plain.ts";

describe("AdamW", () => {
  const settings = {
    lr: 0.1,
    beta1: 0.9,
    beta2: 0.99,
    eps: 0,
    decay: 0,
    correction1: 10,
    correction2: 100,
    gradScale: 1,
  };

  it("moves by lr against the gradient's sign in the first step, whatever its size", () => {
    for (const g of [3, -0.02]) expect(adamw(1, g, 0, 0, settings)[0]).toBeCloseTo(1 - 0.1 * Math.sign(g), 12);
  });

  it("decays apart from the gradient, and scales the gradient before both moments", () => {
    const [p, m, v] = adamw(2, 4, 0, 0, { ...settings, decay: 0.5, gradScale: 0.25 });
    expect(p).toBeCloseTo(2 - 0.1 * (1 + 0.5 * 2), 12);
    expect([m, v]).toEqual([expect.closeTo(0.1, 12), expect.closeTo(0.01, 12)]);
  });
});

describe("Adam", () => {
  const settings = { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 0, correction1: 10, correction2: 100 };

  it("takes the decay into both moments, so that a first step is by lr whatever the decay", () => {
    const [p, m, v] = adam(2, 4, 0, 0, { ...settings, decay: 0.5, gradScale: 0.25 });
    expect(p).toBeCloseTo(2 - 0.1, 12);
    expect([m, v]).toEqual([expect.closeTo(0.1 * 2, 12), expect.closeTo(0.01 * 4, 12)]);
  });

  it("is AdamW where nothing decays", () => {
    const plain = { ...settings, decay: 0, gradScale: 0.5 };
    expect(adam(2, 4, 0.3, 0.7, plain)).toEqual(adamw(2, 4, 0.3, 0.7, plain));
  });
});

describe("SGD", () => {
  const settings = { lr: 0.5, momentum: 0.5, decay: 0.25, gradScale: 2, nesterov: false };

  it("adds decay to the gradient, then momentum", () => {
    expect(sgd(4, 1, 2, settings)).toEqual([4 - 0.5 * 4, 0.5 * 2 + (2 + 1)]);
  });

  it("looks ahead in Nesterov's form", () => {
    expect(sgd(4, 1, 2, { ...settings, nesterov: true })).toEqual([4 - 0.5 * (3 + 0.5 * 4), 4]);
  });
});
