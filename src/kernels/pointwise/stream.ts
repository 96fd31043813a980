/**
 * Loops over contiguous elements: four lanes at a time, unrolled, then four, then one.
 *
 * `stream` is for independent elements. `fold` sums (or takes the maximum) over a whole row in an order that depends
 * on the row's length only: element j goes to lane j mod 16 of four accumulators, the tail is added last.
 */
import type { Expr, Local, Stmt } from "../wasm/asm.ts";
import { f32, f32x4, forRange, i32, seq, whileLoop } from "../wasm/asm.ts";
import type { Float, Int, Lanes, Maker } from "./lanes.ts";
import { four, one } from "./lanes.ts";

/** A pointer that moves along, and the bytes of an element behind it. */
export type Cursor = readonly [pointer: Local<"i32">, bytes: number];

/** The work on one element or four; `k` elements behind the cursors. */
export type Body = <F extends Float, I extends Int>(o: Lanes<F, I>, k: number) => Stmt;

const c = i32.const;

const advance = (cursors: readonly Cursor[], count: number): Stmt =>
  seq(...cursors.map(([p, bytes]) => p.set(i32.add(p, c(count * bytes)))));

/** Runs `body` over `count` elements and leaves the cursors behind the last. */
export function stream(f: Maker, count: Expr<"i32">, cursors: readonly Cursor[], unroll: number, body: Body): Stmt {
  const left = f.local("i32");
  const width = 4 * unroll;
  const step = (size: number, ...work: Stmt[]): Stmt =>
    whileLoop(i32.ge(left, c(size)), ...work, advance(cursors, size), left.set(i32.sub(left, c(size))));
  return seq(
    left.set(count),
    step(width, ...Array.from({ length: unroll }, (_, u) => body(four, 4 * u))),
    ...(unroll > 1 ? [step(4, body(four, 0))] : []),
    step(1, body(one, 0)),
  );
}

/** Runs `body` over elements from..to of the arrays the pointers begin. */
export function streamRange(
  f: Maker,
  from: Expr<"i32">,
  to: Expr<"i32">,
  cursors: readonly Cursor[],
  unroll: number,
  body: Body,
): Stmt {
  return seq(
    ...cursors.map(([p, bytes]) => p.set(i32.add(p, i32.mul(from, c(bytes))))),
    stream(f, i32.sub(to, from), cursors, unroll, body),
  );
}

export type Term = <F extends Float, I extends Int>(o: Lanes<F, I>, k: number) => readonly Expr<F>[];

/** Sets `into[i]` to the sum (or maximum) of the i-th term over `count` elements; moves the cursors. */
export function fold(
  f: Maker,
  count: Expr<"i32">,
  cursors: readonly Cursor[],
  into: readonly Local<"f32">[],
  kind: "sum" | "max",
  term: Term,
): Stmt {
  const left = f.local("i32");
  const start = kind === "sum" ? 0 : Number.NEGATIVE_INFINITY;
  const lanes = into.map(() => Array.from({ length: 4 }, () => f.local("v128")));
  const tails = into.map(() => f.local("f32"));
  const join = kind === "sum" ? f32x4.add : f32x4.pmax;
  const joinOne = kind === "sum" ? f32.add : f32.max;
  const step = (size: number, ...work: Stmt[]): Stmt =>
    whileLoop(i32.ge(left, c(size)), ...work, advance(cursors, size), left.set(i32.sub(left, c(size))));
  const addFour = (u: number): Stmt => seq(...term(four, 4 * u).map((t, i) => lanes[i][u].set(join(lanes[i][u], t))));
  return seq(
    left.set(count),
    ...lanes.flat().map((v) => v.set(four.value(start))),
    ...tails.map((t) => t.set(f32.const(start))),
    step(16, addFour(0), addFour(1), addFour(2), addFour(3)),
    step(4, addFour(0)),
    step(1, ...term(one, 0).map((t, i) => tails[i].set(joinOne(tails[i], t)))),
    ...into.flatMap((result, i) => {
      const [a, b, d, e] = lanes[i];
      const lane = (l: number): Expr<"f32"> => f32x4.extract(a, l);
      return [
        a.set(join(join(a, b), join(d, e))),
        result.set(joinOne(joinOne(joinOne(lane(0), lane(1)), joinOne(lane(2), lane(3))), tails[i])),
      ];
    }),
  );
}

/** for r = from .. to - 1, with the given pointers set to their row r before (bytes of a row beside each). */
export function eachRow(
  f: Maker,
  from: Expr<"i32">,
  to: Expr<"i32">,
  rows: readonly (readonly [pointer: Local<"i32">, rowBytes: Expr<"i32">])[],
  ...body: readonly Stmt[]
): Stmt {
  const r = f.local("i32");
  return seq(...rows.map(([p, bytes]) => p.set(i32.add(p, i32.mul(from, bytes)))), forRange(r, from, to, 1, ...body));
}
