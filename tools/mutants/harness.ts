/**
 * The part of vitest that the tests under src/kernels and src/core/compute use, for running them again and again in one
 * process. It does not report, isolate or fake; a run over unchanged sources shows that it judges as vitest does.
 */
import { isDeepStrictEqual } from "node:util";

type Body = () => unknown;
interface Case {
  readonly name: string;
  readonly body: Body;
}
export interface Suite {
  readonly cases: Case[];
  readonly before: Body[];
  readonly after: Body[];
}

class Close {
  readonly near: number;
  readonly digits: number;
  constructor(near: number, digits = 2) {
    this.near = near;
    this.digits = digits;
  }
  accepts(got: unknown): boolean {
    return typeof got === "number" && Math.abs(got - this.near) < 10 ** -this.digits / 2;
  }
}

const isObject = (x: unknown): x is Record<string, unknown> => typeof x === "object" && x !== null;

/** Equal but for keys that are undefined; with `part`, other keys of `got` do not count. */
function equal(got: unknown, want: unknown, part = false): boolean {
  if (want instanceof Close) return want.accepts(got);
  if (Object.is(got, want)) return true;
  if (!isObject(got) || !isObject(want)) return false;
  if (ArrayBuffer.isView(want) || want instanceof Map || want instanceof Set) return isDeepStrictEqual(got, want);
  if (Array.isArray(want) !== Array.isArray(got)) return false;
  if (Array.isArray(want) && (got as unknown as unknown[]).length !== want.length) return false;
  const keys = new Set([...Object.keys(want), ...(part ? [] : Object.keys(got))]);
  return [...keys].every((k) => equal(got[k], want[k], part));
}

function throws(body: unknown, want: unknown): boolean {
  try {
    (body as Body)();
  } catch (error) {
    if (want === undefined) return true;
    if (typeof want === "function") return error instanceof (want as new () => unknown);
    const message = error instanceof Error ? error.message : String(error);
    return want instanceof RegExp ? want.test(message) : message.includes(String(want));
  }
  return false;
}

const MATCHERS: Readonly<Record<string, (got: never, ...want: never[]) => boolean>> = {
  toBe: (got: unknown, want: unknown) => Object.is(got, want),
  toEqual: (got: unknown, want: unknown) => equal(got, want),
  toMatchObject: (got: unknown, want: unknown) => equal(got, want, true),
  toBeUndefined: (got: unknown) => got === undefined,
  toBeCloseTo: (got: number, want: number, digits = 2) => got === want || new Close(want, digits).accepts(got),
  toBeGreaterThan: (got: number, want: number) => got > want,
  toBeGreaterThanOrEqual: (got: number, want: number) => got >= want,
  toBeLessThan: (got: number, want: number) => got < want,
  toBeLessThanOrEqual: (got: number, want: number) => got <= want,
  toMatch: (got: string, want: RegExp) => want.test(got),
  toThrow: (got: unknown, want: unknown) => throws(got, want),
};

function expectation(got: unknown): Record<string, unknown> {
  const matchers = (not: boolean): Record<string, unknown> =>
    Object.fromEntries(
      Object.entries(MATCHERS).map(([name, judge]) => [
        name,
        (...want: never[]) => {
          if (judge(got as never, ...want) === not) throw new Error(`expected${not ? " not" : ""} ${name}`);
        },
      ]),
    );
  return { ...matchers(false), not: matchers(true) };
}

/** A stand-in for the package, and the suite that the modules which import it fill. */
export function harness(): { readonly vitest: Record<string, unknown>; readonly suite: Suite } {
  const suite: Suite = { cases: [], before: [], after: [] };
  const path: string[] = [];
  const test = (name: string, body: Body): void => {
    suite.cases.push({ name: [...path, name].join(" > "), body });
  };
  const describe = (name: string, body: Body): void => {
    path.push(name);
    body();
    path.pop();
  };
  const each =
    (one: (name: string, body: Body) => void) =>
    (rows: readonly unknown[]) =>
    (name: string, body: (...row: unknown[]) => unknown): void => {
      for (const row of rows) {
        const list = Array.isArray(row) ? row : [row];
        let next = 0;
        one(
          name.replace(/%[sdijo]/g, () => String(list[next++])),
          () => body(...list),
        );
      }
    };
  const expect = Object.assign(expectation, { closeTo: (near: number, digits?: number) => new Close(near, digits) });
  const it = Object.assign(test, { each: each(test) });
  return {
    suite,
    vitest: {
      test: it,
      it,
      describe: Object.assign(describe, { each: each(describe) }),
      expect,
      beforeAll: (body: Body) => suite.before.push(body),
      afterAll: (body: Body) => suite.after.push(body),
    },
  };
}
