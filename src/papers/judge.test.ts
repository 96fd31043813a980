/** Claims against hand-made metrics: the inequality, seeds that disagree, needs, and numbers that are not there. */
import { describe, expect, test } from "vitest";
import type { Claim, Experiment } from "./contract.ts";
import { checkExperiment, judge, owesAnalysis, verdictOf } from "./judge.ts";

const claim = (over: Partial<Claim> = {}): Claim => ({
  id: "C1",
  text: "the method gains a point",
  metric: "gain",
  op: ">=",
  threshold: 1,
  main: true,
  kind: "effect",
  basis: "reasoned",
  ...over,
});

const one = (over: Partial<Claim>, ...values: number[]) =>
  judge(
    [claim(over)],
    values.map((_, i) => i),
    values.map((gain) => ({ gain })),
  )[0];

describe("a claim by itself", () => {
  test("is judged by the mean, and keeps what each seed said", () => {
    expect(one({}, 0.5, 2, 1.1)).toMatchObject({ perSeed: [0.5, 2, 1.1], low: 0.5, high: 2, shown: true });
    expect(one({}, 0.5, 2, 1.1).value).toBeCloseTo(1.2, 12);
    expect(one({}, 0.5, 1.2).shown).toBe(false);
    expect(one({ op: "<=" }, 0.5, 1.2).shown).toBe(true);
  });

  test("survives being written: a difference of -0 is 0", () => {
    const result = one({ threshold: 0 }, -0, -0);
    expect(JSON.parse(JSON.stringify(result))).toEqual(result);
    expect(result).toMatchObject({ perSeed: [0, 0], shown: true });
  });

  test("holds on the threshold itself, with either sign", () => {
    expect(one({}, 1).shown).toBe(true);
    expect(one({ op: "<=" }, 1).shown).toBe(true);
    expect(one({ threshold: -1 }, -1.0000001).shown).toBe(false);
  });

  test('"==" is exact unless it has a tolerance, which is inclusive and works both ways', () => {
    const half = { op: "==", threshold: 0.5 } as const;
    expect(one(half, 0.5).shown).toBe(true);
    expect(one(half, 0.5 + 2 ** -40).shown).toBe(false);
    const near = { ...half, tolerance: 0.25 } as const;
    expect([0.25, 0.75, 0.249, 0.751].map((v) => one(near, v).shown)).toEqual([true, true, false, false]);
  });

  test("is fragile when its seeds disagree, whatever the mean says", () => {
    expect(one({}, 0.9, 1.5).fragile).toBe(true);
    expect(one({}, 0.9, 0.95, 1.01)).toMatchObject({ shown: false, fragile: true });
    expect(one({}, 1, 1.5).fragile).toBe(false);
    expect(one({}, 0.5, 0.9).fragile).toBe(false);
    expect(one({ op: "==", threshold: 1, tolerance: 0.1 }, 1.3, 0.75)).toMatchObject({ shown: true, fragile: false });
    expect(one({ op: "==", threshold: 1, tolerance: 0.1 }, 1.3, 1)).toMatchObject({ shown: false, fragile: true });
  });
});

describe("needs", () => {
  const claims = [
    claim({ needs: ["F", "A"] }),
    claim({ id: "F", metric: "baseline", threshold: 50, main: false, kind: "floor" }),
    claim({ id: "A", metric: "changes", threshold: 1, main: false, kind: "activity" }),
  ];
  const judged = (baseline: number, changes: number) => judge(claims, [1], [{ gain: 3, baseline, changes }]);

  test("let a claim count only when all of them are shown, and those that are not are named", () => {
    expect(judged(60, 5)[0]).toMatchObject({ shown: true });
    expect(judged(60, 5)[0]).not.toHaveProperty("unmet");
    expect(judged(40, 5)[0]).toMatchObject({ shown: false, value: 3, unmet: ["F"] });
    expect(judged(40, 0)[0]).toMatchObject({ shown: false, unmet: ["F", "A"] });
    expect(verdictOf(judged(40, 5))).toBe("not shown");
  });
});

describe("the verdict", () => {
  const results = (...shown: [boolean, boolean][]) =>
    shown.map(([main, yes], i) => ({ ...one({ id: `C${i}`, main }, yes ? 2 : 0) }));

  test("counts main claims only", () => {
    expect(verdictOf(results([true, true], [true, true], [false, false]))).toBe("shown");
    expect(verdictOf(results([true, true], [true, false]))).toBe("partly");
    expect(verdictOf(results([true, false], [false, true]))).toBe("not shown");
  });

  test("an analysis is owed for a main claim that is not shown", () => {
    expect(owesAnalysis(results([true, true], [false, false]))).toBe(false);
    expect(owesAnalysis(results([true, true], [true, false]))).toBe(true);
  });
});

describe("numbers that are no numbers", () => {
  test.for([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])("%d is an error", (value) => {
    expect(() => one({}, 2, value)).toThrow(/claim C1, metric gain, seed 1: expected a finite number, got/);
  });

  test("a missing metric is an error that names what there is", () => {
    expect(() => judge([claim({ metric: "gian" })], [7], [{ gain: 1, loss: 2 }])).toThrow(
      /metric gian, seed 7: expected a finite number, got none; there are gain, loss/,
    );
  });
});

describe("a declaration", () => {
  const experiment = (over: Partial<Experiment>): Experiment => ({
    paper: 1,
    method: "methods/weights/wanda.ts",
    uses: [],
    data: [],
    seeds: [1],
    quickSeeds: [1],
    minutes: 1,
    claims: [claim()],
    cells: () => [],
    metrics: () => ({}),
    ...over,
  });
  const bad: readonly (readonly [string, Partial<Experiment>, RegExp])[] = [
    ["no seeds", { seeds: [] }, /seeds: expected at least one/],
    ["a seed twice", { seeds: [1, 1] }, /seeds: expected each once, got 1, 1/],
    ["an id twice", { claims: [claim(), claim()] }, /claims: expected each once/],
    ["no main claim", { claims: [claim({ main: false })] }, /at least one main claim/],
    ["a threshold that is none", { claims: [claim({ threshold: Number.NaN })] }, /claim C1: expected a finite/],
    ["a tolerance on an inequality", { claims: [claim({ tolerance: 0.1 })] }, /tolerance/],
    ["a need that is not there", { claims: [claim({ needs: ["X"] })] }, /claim C1: expected needs .* got X/],
    ["a need that is no floor", { claims: [claim({ needs: ["C2"] }), claim({ id: "C2" })] }, /C2, of kind effect/],
    [
      "a need with needs",
      {
        claims: [
          claim({ needs: ["A"] }),
          claim({ id: "A", kind: "activity", needs: ["F"] }),
          claim({ id: "F", kind: "floor" }),
        ],
      },
      /A, which has needs of its own/,
    ],
  ];
  test.for(bad)("with %s is refused", ([, over, message]) => {
    expect(() => checkExperiment(experiment(over), "paper 1")).toThrow(message);
  });

  test("that makes sense passes", () => {
    expect(() => checkExperiment(experiment({}), "paper 1")).not.toThrow();
  });
});
