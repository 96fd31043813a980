/**
 * A small WebAssembly assembler: typed expressions, locals, structured control, one module writer.
 *
 * Expressions carry their value type, so a wrong operand is a TypeScript error, not a validation failure.
 * Code is a tree until `ModuleBuilder.bytes()` flattens it, because a branch only knows its depth there.
 * It does not optimise, parse text or support tables, globals or exceptions: kernels need none of them.
 * Format: WebAssembly core specification 2.0 (binary format), with the fixed-width SIMD, threads and
 * relaxed-SIMD extensions.
 */

export type ValType = "i32" | "i64" | "f32" | "f64" | "v128";

const VALTYPE: Record<ValType, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

/** A branch target; its depth is found when the tree is flattened. */
export interface Label {
  readonly name: string;
}

type Item =
  | number
  | Code
  | { readonly branch: Label }
  | { readonly open: number[]; readonly label: Label; readonly body: Code };
export type Code = readonly Item[];

/** A value on the stack, of a known type. */
export interface Expr<T extends ValType = ValType> {
  readonly type: T;
  readonly code: Code;
}

/** Code that leaves nothing on the stack. */
export interface Stmt {
  readonly type: "void";
  readonly code: Code;
}

/** A local variable; used as an expression it reads the variable. */
export interface Local<T extends ValType = ValType> extends Expr<T> {
  readonly index: number;
  set(value: Expr<T>): Stmt;
  tee(value: Expr<T>): Expr<T>;
}

const expr = <T extends ValType>(type: T, ...code: Item[]): Expr<T> => ({ type, code });
const stmt = (...code: Item[]): Stmt => ({ type: "void", code });

/** Unsigned LEB128. */
export function uleb(value: number): number[] {
  let v = value >>> 0;
  const out: number[] = [];
  do {
    const low = v & 0x7f;
    v >>>= 7;
    out.push(v === 0 ? low : low | 0x80);
  } while (v !== 0);
  return out;
}

/** Signed LEB128 of a 32- or 64-bit integer. */
export function sleb(value: bigint): number[] {
  let v = value;
  const out: number[] = [];
  for (;;) {
    const low = Number(v & 0x7fn);
    v >>= 7n;
    if ((v === 0n && (low & 0x40) === 0) || (v === -1n && (low & 0x40) !== 0)) {
      out.push(low);
      return out;
    }
    out.push(low | 0x80);
  }
}

const SIMD = 0xfd;
const simd = (op: number): number[] => [SIMD, ...uleb(op)];

const un =
  <A extends ValType, R extends ValType>(result: R, op: number[]) =>
  (a: Expr<A>): Expr<R> =>
    expr(result, a.code, ...op);
const bin =
  <A extends ValType, B extends ValType, R extends ValType>(result: R, op: number[]) =>
  (a: Expr<A>, b: Expr<B>): Expr<R> =>
    expr(result, a.code, b.code, ...op);
const tri =
  <R extends ValType>(op: number[], result: R) =>
  (a: Expr<"v128">, b: Expr<"v128">, c: Expr<"v128">): Expr<R> =>
    expr(result, a.code, b.code, c.code, ...op);

const load =
  <R extends ValType>(result: R, op: number[], align: number) =>
  (address: Expr<"i32">, offset = 0): Expr<R> =>
    expr(result, address.code, ...op, align, ...uleb(offset));
const store =
  <A extends ValType>(op: number[], align: number) =>
  (address: Expr<"i32">, value: Expr<A>, offset = 0): Stmt =>
    stmt(address.code, value.code, ...op, align, ...uleb(offset));

const i32bin = (op: number) => bin<"i32", "i32", "i32">("i32", [op]);
const i64bin = (op: number) => bin<"i64", "i64", "i64">("i64", [op]);

export const i32 = {
  const: (value: number): Expr<"i32"> => expr("i32", 0x41, ...sleb(BigInt(value | 0))),
  load: load("i32", [0x28], 2),
  load8s: load("i32", [0x2c], 0),
  load8u: load("i32", [0x2d], 0),
  load16s: load("i32", [0x2e], 1),
  load16u: load("i32", [0x2f], 1),
  store: store<"i32">([0x36], 2),
  store8: store<"i32">([0x3a], 0),
  store16: store<"i32">([0x3b], 1),
  eqz: un<"i32", "i32">("i32", [0x45]),
  eq: i32bin(0x46),
  ne: i32bin(0x47),
  lt: i32bin(0x48),
  ltu: i32bin(0x49),
  gt: i32bin(0x4a),
  gtu: i32bin(0x4b),
  le: i32bin(0x4c),
  leu: i32bin(0x4d),
  ge: i32bin(0x4e),
  geu: i32bin(0x4f),
  clz: un<"i32", "i32">("i32", [0x67]),
  ctz: un<"i32", "i32">("i32", [0x68]),
  popcnt: un<"i32", "i32">("i32", [0x69]),
  add: i32bin(0x6a),
  sub: i32bin(0x6b),
  mul: i32bin(0x6c),
  divs: i32bin(0x6d),
  divu: i32bin(0x6e),
  rems: i32bin(0x6f),
  remu: i32bin(0x70),
  and: i32bin(0x71),
  or: i32bin(0x72),
  xor: i32bin(0x73),
  shl: i32bin(0x74),
  shrs: i32bin(0x75),
  shru: i32bin(0x76),
  reinterpretF32: un<"f32", "i32">("i32", [0xbc]),
  truncSatF32: un<"f32", "i32">("i32", [0xfc, 0x00]),
  truncSatF64: un<"f64", "i32">("i32", [0xfc, 0x02]),
  wrap: un<"i64", "i32">("i32", [0xa7]),
  atomicLoad: load("i32", [0xfe, 0x10], 2),
  atomicStore: store<"i32">([0xfe, 0x17], 2),
  /** value before the addition */
  atomicAdd: (address: Expr<"i32">, value: Expr<"i32">, offset = 0): Expr<"i32"> =>
    expr("i32", address.code, value.code, 0xfe, 0x1e, 2, ...uleb(offset)),
} as const;

export const i64 = {
  const: (value: bigint): Expr<"i64"> => expr("i64", 0x42, ...sleb(BigInt.asIntN(64, value))),
  load: load("i64", [0x29], 3),
  store: store<"i64">([0x37], 3),
  add: i64bin(0x7c),
  sub: i64bin(0x7d),
  mul: i64bin(0x7e),
  and: i64bin(0x83),
  or: i64bin(0x84),
  xor: i64bin(0x85),
  shl: i64bin(0x86),
  shrs: i64bin(0x87),
  shru: i64bin(0x88),
  eqz: un<"i64", "i32">("i32", [0x50]),
  ctz: un<"i64", "i64">("i64", [0x7a]),
  popcnt: un<"i64", "i64">("i64", [0x7b]),
  extendI32u: un<"i32", "i64">("i64", [0xad]),
  extendI32s: un<"i32", "i64">("i64", [0xac]),
  reinterpretF64: un<"f64", "i64">("i64", [0xbd]),
} as const;

function floatBytes(value: number, size: 4 | 8): number[] {
  const view = new DataView(new ArrayBuffer(size));
  if (size === 4) view.setFloat32(0, value, true);
  else view.setFloat64(0, value, true);
  return [...new Uint8Array(view.buffer)];
}

const f32bin = (op: number) => bin<"f32", "f32", "f32">("f32", [op]);
const f32cmp = (op: number) => bin<"f32", "f32", "i32">("i32", [op]);
const f64bin = (op: number) => bin<"f64", "f64", "f64">("f64", [op]);
const f64cmp = (op: number) => bin<"f64", "f64", "i32">("i32", [op]);

export const f32 = {
  const: (value: number): Expr<"f32"> => expr("f32", 0x43, ...floatBytes(value, 4)),
  load: load("f32", [0x2a], 2),
  store: store<"f32">([0x38], 2),
  abs: un<"f32", "f32">("f32", [0x8b]),
  neg: un<"f32", "f32">("f32", [0x8c]),
  ceil: un<"f32", "f32">("f32", [0x8d]),
  floor: un<"f32", "f32">("f32", [0x8e]),
  nearest: un<"f32", "f32">("f32", [0x90]),
  sqrt: un<"f32", "f32">("f32", [0x91]),
  add: f32bin(0x92),
  sub: f32bin(0x93),
  mul: f32bin(0x94),
  div: f32bin(0x95),
  min: f32bin(0x96),
  max: f32bin(0x97),
  eq: f32cmp(0x5b),
  ne: f32cmp(0x5c),
  lt: f32cmp(0x5d),
  gt: f32cmp(0x5e),
  le: f32cmp(0x5f),
  ge: f32cmp(0x60),
  convertI32s: un<"i32", "f32">("f32", [0xb2]),
  convertI32u: un<"i32", "f32">("f32", [0xb3]),
  demote: un<"f64", "f32">("f32", [0xb6]),
  reinterpretI32: un<"i32", "f32">("f32", [0xbe]),
} as const;

export const f64 = {
  const: (value: number): Expr<"f64"> => expr("f64", 0x44, ...floatBytes(value, 8)),
  load: load("f64", [0x2b], 3),
  store: store<"f64">([0x39], 3),
  abs: un<"f64", "f64">("f64", [0x99]),
  neg: un<"f64", "f64">("f64", [0x9a]),
  sqrt: un<"f64", "f64">("f64", [0x9f]),
  floor: un<"f64", "f64">("f64", [0x9c]),
  nearest: un<"f64", "f64">("f64", [0x9e]),
  add: f64bin(0xa0),
  sub: f64bin(0xa1),
  mul: f64bin(0xa2),
  div: f64bin(0xa3),
  min: f64bin(0xa4),
  max: f64bin(0xa5),
  eq: f64cmp(0x61),
  lt: f64cmp(0x63),
  gt: f64cmp(0x64),
  le: f64cmp(0x65),
  ge: f64cmp(0x66),
  convertI32s: un<"i32", "f64">("f64", [0xb7]),
  convertI32u: un<"i32", "f64">("f64", [0xb8]),
  promote: un<"f32", "f64">("f64", [0xbb]),
  reinterpretI64: un<"i64", "f64">("f64", [0xbf]),
} as const;

const vbin = (op: number) => bin<"v128", "v128", "v128">("v128", simd(op));
const vun = (op: number) => un<"v128", "v128">("v128", simd(op));
const vshift = (op: number) => bin<"v128", "i32", "v128">("v128", simd(op));
const splat = <A extends ValType>(op: number) => un<A, "v128">("v128", simd(op));
const extract =
  <R extends ValType>(result: R, op: number) =>
  (a: Expr<"v128">, lane: number): Expr<R> =>
    expr(result, a.code, ...simd(op), lane);
const replace =
  <A extends ValType>(op: number) =>
  (a: Expr<"v128">, lane: number, value: Expr<A>): Expr<"v128"> =>
    expr("v128", a.code, value.code, ...simd(op), lane);

export const v128 = {
  load: load("v128", simd(0), 4),
  load8x8s: load("v128", simd(1), 3),
  load8x8u: load("v128", simd(2), 3),
  /** four signed 16-bit integers to four 32-bit lanes */
  load16x4s: load("v128", simd(3), 3),
  /** four unsigned 16-bit integers to four 32-bit lanes */
  load16x4u: load("v128", simd(4), 3),
  load8splat: load("v128", simd(7), 0),
  load16splat: load("v128", simd(8), 1),
  load32splat: load("v128", simd(9), 2),
  load64splat: load("v128", simd(10), 3),
  /** low 32 bits loaded, the rest zero */
  load32zero: load("v128", simd(0x5c), 2),
  load64zero: load("v128", simd(0x5d), 3),
  /** `value` with one 16-bit lane loaded */
  load16lane: (address: Expr<"i32">, value: Expr<"v128">, lane: number, offset = 0): Expr<"v128"> =>
    expr("v128", address.code, value.code, ...simd(0x55), 1, ...uleb(offset), lane),
  /** `value` with one lane loaded */
  load32lane: (address: Expr<"i32">, value: Expr<"v128">, lane: number, offset = 0): Expr<"v128"> =>
    expr("v128", address.code, value.code, ...simd(0x56), 2, ...uleb(offset), lane),
  store: store<"v128">(simd(11), 4),
  /** low 64 bits */
  store64: (address: Expr<"i32">, value: Expr<"v128">, offset = 0, lane = 0): Stmt =>
    stmt(address.code, value.code, ...simd(0x5b), 3, ...uleb(offset), lane),
  store32: (address: Expr<"i32">, value: Expr<"v128">, offset = 0, lane = 0): Stmt =>
    stmt(address.code, value.code, ...simd(0x5a), 2, ...uleb(offset), lane),
  const32: (a: number, b: number, c: number, d: number): Expr<"v128"> =>
    expr(
      "v128",
      ...simd(12),
      ...[a, b, c, d].flatMap((x) => [x & 255, (x >>> 8) & 255, (x >>> 16) & 255, (x >>> 24) & 255]),
    ),
  /** 16 byte lanes out of the 32 of a then b */
  shuffle: (a: Expr<"v128">, b: Expr<"v128">, lanes: readonly number[]): Expr<"v128"> =>
    expr("v128", a.code, b.code, ...simd(13), ...lanes),
  /** four 32-bit lanes out of the 8 of a then b */
  shuffle32: (a: Expr<"v128">, b: Expr<"v128">, lanes: readonly [number, number, number, number]): Expr<"v128"> =>
    expr("v128", a.code, b.code, ...simd(13), ...lanes.flatMap((l) => [4 * l, 4 * l + 1, 4 * l + 2, 4 * l + 3])),
  swizzle: vbin(14),
  not: vun(77),
  and: vbin(78),
  andnot: vbin(79),
  or: vbin(80),
  xor: vbin(81),
  /** bits of a where mask is 1, of b where it is 0 */
  bitselect: (a: Expr<"v128">, b: Expr<"v128">, mask: Expr<"v128">): Expr<"v128"> => tri(simd(82), "v128")(a, b, mask),
  anyTrue: un<"v128", "i32">("i32", simd(83)),
} as const;

export const i8x16 = {
  splat: splat<"i32">(15),
  /** 16-bit lanes of a then b to signed bytes, saturating */
  narrowS: vbin(0x65),
  add: vbin(0x6e),
  bitmask: un<"v128", "i32">("i32", simd(0x64)),
} as const;

export const i16x8 = {
  splat: splat<"i32">(16),
  add: vbin(0x8e),
  sub: vbin(0x91),
  mul: vbin(0x95),
  shl: vshift(0x8b),
  shrs: vshift(0x8c),
  shru: vshift(0x8d),
  /** 32-bit lanes of a then b to signed 16-bit lanes, saturating */
  narrowS: vbin(0x85),
  /** 32-bit lanes of a then b to unsigned 16-bit lanes, saturating */
  narrowU: vbin(0x86),
  extendLowS: vun(0x87),
  extendHighS: vun(0x88),
  extendLowU: vun(0x89),
  extendHighU: vun(0x8a),
  extractU: extract("i32", 25),
} as const;

export const i32x4 = {
  splat: splat<"i32">(17),
  extract: extract("i32", 27),
  replace: replace<"i32">(28),
  eq: vbin(0x37),
  ne: vbin(0x38),
  lt: vbin(0x39),
  gt: vbin(0x3b),
  ge: vbin(0x3f),
  extendLowS: vun(0xa7),
  extendHighS: vun(0xa8),
  extendLowU: vun(0xa9),
  extendHighU: vun(0xaa),
  shl: vshift(0xab),
  shrs: vshift(0xac),
  shru: vshift(0xad),
  add: vbin(0xae),
  sub: vbin(0xb1),
  mul: vbin(0xb5),
  /** pairwise products of 16-bit lanes, summed into 32-bit lanes */
  dotI16x8: vbin(0xba),
  truncSatF32x4s: vun(0xf8),
  /** the sign bits of the four lanes */
  bitmask: un<"v128", "i32">("i32", simd(0xa4)),
} as const;

export const i64x2 = { splat: splat<"i64">(18), add: vbin(0xce), shl: vshift(0xcb), shru: vshift(0xcd) } as const;

export const f32x4 = {
  splat: splat<"f32">(19),
  extract: extract("f32", 31),
  replace: replace<"f32">(32),
  eq: vbin(0x41),
  ne: vbin(0x42),
  lt: vbin(0x43),
  gt: vbin(0x44),
  le: vbin(0x45),
  ge: vbin(0x46),
  nearest: vun(0x6a),
  floor: vun(0x68),
  abs: vun(0xe0),
  neg: vun(0xe1),
  sqrt: vun(0xe3),
  add: vbin(0xe4),
  sub: vbin(0xe5),
  mul: vbin(0xe6),
  div: vbin(0xe7),
  min: vbin(0xe8),
  max: vbin(0xe9),
  pmin: vbin(0xea),
  pmax: vbin(0xeb),
  convertI32x4s: vun(0xfa),
  /** a * b + c in one rounding; only where the relaxed-SIMD probe succeeds */
  relaxedMadd: tri(simd(0x105), "v128"),
} as const;

export const f64x2 = {
  splat: splat<"f64">(20),
  extract: extract("f64", 33),
  replace: replace<"f64">(34),
  abs: vun(0xec),
  neg: vun(0xed),
  sqrt: vun(0xef),
  add: vbin(0xf0),
  sub: vbin(0xf1),
  mul: vbin(0xf2),
  div: vbin(0xf3),
  /** the two low f32 lanes */
  promoteLowF32x4: vun(0x5f),
  /** two f64 lanes to two low f32 lanes, the rest zero */
  demoteZero: vun(0x5e),
} as const;

/** Chooses between two values of one type; both are computed. */
export const select = <T extends ValType>(a: Expr<T>, b: Expr<T>, condition: Expr<"i32">): Expr<T> =>
  expr(a.type, a.code, b.code, condition.code, ...(a.type === "v128" ? [0x1c, 1, VALTYPE.v128] : [0x1b]));

/** Multiply-add: fused where `fused` is set and the engine has it, else two roundings. */
export const madd = (fused: boolean, a: Expr<"v128">, b: Expr<"v128">, c: Expr<"v128">): Expr<"v128"> =>
  fused ? f32x4.relaxedMadd(a, b, c) : f32x4.add(f32x4.mul(a, b), c);

export const seq = (...parts: readonly Stmt[]): Stmt => stmt(...parts.map((p) => p.code));
export const nop: Stmt = stmt();
/** A value that is computed after `first` has run. */
export const after = <T extends ValType>(first: Stmt, value: Expr<T>): Expr<T> =>
  expr(value.type, first.code, value.code);
export const drop = (value: Expr): Stmt => stmt(value.code, 0x1a);
export const label = (name: string): Label => ({ name });

/** `br` to a label: leaves a `block`, repeats a `loop`. */
export const br = (target: Label): Stmt => stmt(0x0c, { branch: target });
export const brIf = (target: Label, condition: Expr<"i32">): Stmt => stmt(condition.code, 0x0d, { branch: target });
export const block = (target: Label, ...body: readonly Stmt[]): Stmt =>
  stmt({ open: [0x02, 0x40], label: target, body: body.map((s) => s.code) });
export const loop = (target: Label, ...body: readonly Stmt[]): Stmt =>
  stmt({ open: [0x03, 0x40], label: target, body: body.map((s) => s.code) });

export function when(condition: Expr<"i32">, then: Stmt, otherwise?: Stmt): Stmt {
  const body: Item[] = [then.code];
  if (otherwise) body.push(0x05, otherwise.code);
  return stmt(condition.code, { open: [0x04, 0x40], label: label("if"), body });
}

/** Repeats `body` while `condition` holds, tested first. */
export function whileLoop(condition: Expr<"i32">, ...body: readonly Stmt[]): Stmt {
  const out = label("out");
  const again = label("again");
  return block(out, loop(again, brIf(out, i32.eqz(condition)), ...body, br(again)));
}

/** for (i = from; i < to; i += step), signed; `i` keeps its last value. */
export function forRange(
  i: Local<"i32">,
  from: Expr<"i32">,
  to: Expr<"i32">,
  step: number,
  ...body: readonly Stmt[]
): Stmt {
  return seq(i.set(from), whileLoop(i32.lt(i, to), ...body, i.set(i32.add(i, i32.const(step)))));
}

type Params = Readonly<Record<string, ValType>>;
type ParamLocals<P extends Params> = { readonly [K in keyof P]: Local<P[K]> };

/** What a function body may ask for. */
export interface FunctionScope<P extends Params, R extends ValType | "void"> {
  readonly p: ParamLocals<P>;
  local<T extends ValType>(type: T): Local<T>;
  locals<T extends ValType>(type: T, count: number): Local<T>[];
  ret(value?: R extends ValType ? Expr<R> : never): Stmt;
}

interface Fn {
  readonly name: string;
  readonly exported: boolean;
  readonly params: ValType[];
  readonly results: ValType[];
  readonly locals: ValType[];
  readonly body: Code;
}

/** A function of the module under construction that others may call. */
export interface FnRef<R extends ValType | "void"> {
  readonly name: string;
  call(...args: readonly Expr[]): R extends ValType ? Expr<R> : Stmt;
}

function makeLocal<T extends ValType>(type: T, index: number): Local<T> {
  const i = uleb(index);
  return {
    type,
    index,
    code: [0x20, ...i],
    set: (value) => stmt(value.code, 0x21, ...i),
    tee: (value) => expr(type, value.code, 0x22, ...i),
  };
}

function flatten(code: Code, labels: readonly Label[], out: number[]): void {
  for (const item of code) {
    if (typeof item === "number") out.push(item);
    else if (Array.isArray(item)) flatten(item, labels, out);
    else if ("branch" in item) {
      const depth = labels.lastIndexOf(item.branch);
      if (depth < 0) throw new Error(`assembler: branch to "${item.branch.name}" from outside of it`);
      out.push(...uleb(labels.length - 1 - depth));
    } else if ("open" in item) {
      for (const b of item.open) out.push(b);
      flatten(item.body, [...labels, item.label], out);
      out.push(0x0b);
    }
  }
}

const text = (s: string): number[] => {
  const bytes = new TextEncoder().encode(s);
  return [...uleb(bytes.length), ...bytes];
};
const section = (id: number, body: number[]): number[] => [id, ...uleb(body.length), ...body];
const vector = (parts: readonly number[][]): number[] => [...uleb(parts.length), ...parts.flat()];

export interface ModuleOptions {
  /** import a shared memory (needs the maximum below) instead of an unshared one */
  readonly shared: boolean;
}

/** Largest memory a kernel module accepts: 65,536 pages of 64 KiB, the whole 32-bit address space. */
export const MAX_PAGES = 65536;

/** Collects functions and writes the module; it imports one memory as `env.memory`. */
export class ModuleBuilder {
  readonly #fns: Fn[] = [];
  readonly #options: ModuleOptions;

  constructor(options: ModuleOptions) {
    this.#options = options;
  }

  /**
   * Adds an exported function. `body` gets its parameters by name and a maker of locals.
   * Locals start at zero at every call, as WebAssembly defines.
   */
  func<P extends Params, R extends ValType | "void" = "void">(
    name: string,
    params: P,
    body: (f: FunctionScope<P, R>) => Stmt | readonly Stmt[],
    result?: R,
    exported = true,
  ): FnRef<R> {
    const locals: ValType[] = [];
    const names = Object.keys(params);
    const p = Object.fromEntries(names.map((n, i) => [n, makeLocal(params[n], i)])) as unknown as ParamLocals<P>;
    const scope: FunctionScope<P, R> = {
      p,
      local: (type) => {
        locals.push(type);
        return makeLocal(type, names.length + locals.length - 1);
      },
      locals: (type, count) => Array.from({ length: count }, () => scope.local(type)),
      ret: (value?: Expr) => stmt(value ? value.code : [], 0x0f),
    };
    const made = body(scope);
    const code: Code = Array.isArray(made) ? made.map((s: Stmt) => s.code) : (made as Stmt).code;
    const results: ValType[] = result && result !== "void" ? [result as ValType] : [];
    // A function with a result returns through `ret`; what follows the last statement cannot be reached.
    const full: Code = results.length > 0 ? [code, 0x00] : code;
    this.#fns.push({ name, exported, params: names.map((n) => params[n]), results, locals, body: full });
    const index = this.#fns.length - 1;
    const call = (...args: readonly Expr[]): Expr | Stmt => {
      const items: Item[] = [...args.map((a) => a.code), 0x10, ...uleb(index)];
      return results.length > 0 ? expr(results[0], ...items) : stmt(...items);
    };
    return { name, call: call as FnRef<R>["call"] };
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const types = this.#fns.map((f) => [
      0x60,
      ...vector(f.params.map((t) => [VALTYPE[t]])),
      ...vector(f.results.map((t) => [VALTYPE[t]])),
    ]);
    const limits = this.#options.shared ? [3, 1, ...uleb(MAX_PAGES)] : [0, 1];
    const bodies = this.#fns.map((f) => {
      const runs: number[][] = [];
      for (let i = 0; i < f.locals.length; ) {
        let j = i;
        while (j < f.locals.length && f.locals[j] === f.locals[i]) j++;
        runs.push([...uleb(j - i), VALTYPE[f.locals[i]]]);
        i = j;
      }
      const out: number[] = vector(runs);
      flatten(f.body, [label(f.name)], out);
      out.push(0x0b);
      return [...uleb(out.length), ...out];
    });
    const exported = this.#fns.flatMap((f, i) => (f.exported ? [[...text(f.name), 0, ...uleb(i)]] : []));
    return new Uint8Array([
      ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      ...section(1, vector(types)),
      ...section(2, vector([[...text("env"), ...text("memory"), 2, ...limits]])),
      ...section(3, vector(this.#fns.map((_, i) => uleb(i)))),
      ...section(7, vector(exported)),
      ...section(10, vector(bodies)),
    ]);
  }
}
