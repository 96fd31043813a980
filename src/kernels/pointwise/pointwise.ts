/**
 * Elementwise f32 operations and movements of rows. Outputs may be the inputs themselves (in place), but may not
 * overlap them otherwise.
 */
import type { Kernel } from "../kernel.ts";
import type { Expr, Local, Stmt } from "../wasm/asm.ts";
import { f32, forRange, i32, select, seq, v128 } from "../wasm/asm.ts";
import { type Described, defineKernel, described } from "./define.ts";
import { type Formula1, type Formula2, gelu, geluSlope, relu, silu, siluSlope } from "./formulas.ts";
import type { Float, Maker } from "./lanes.ts";
import { expOf, sigmoidOf, tanhOf } from "./math.ts";
import { pointwiseTrials } from "./pointwise.trials.ts";
import { eachRow, stream, streamRange } from "./stream.ts";

const c = i32.const;
const bytesOf = (count: Expr<"i32">): Expr<"i32"> => i32.shl(count, c(2));

/** Holds a value so that it can be read more than once. */
function hold<F extends Float>(f: Maker, value: Expr<F>): readonly [Local<F>, Stmt] {
  const v = f.local(value.type);
  return [v, v.set(value)];
}

function unary(does: string, formula: Formula1, unroll: number): Described {
  return described({ x: "i32", out: "i32", from: "i32", to: "i32" }, does, (f) => {
    const { x, out, from, to } = f.p;
    return streamRange(
      f,
      from,
      to,
      [
        [x, 4],
        [out, 4],
      ],
      unroll,
      (o, k) => {
        const [v, set] = hold(f, o.load(x, 4 * k));
        return seq(set, o.store(out, formula(o, f, v), 4 * k));
      },
    );
  });
}

function binary(does: string, formula: Formula2): Described {
  return described({ a: "i32", b: "i32", out: "i32", from: "i32", to: "i32" }, does, (f) => {
    const { a, b, out, from, to } = f.p;
    return streamRange(
      f,
      from,
      to,
      [
        [a, 4],
        [b, 4],
        [out, 4],
      ],
      4,
      (o, k) => {
        const [va, setA] = hold(f, o.load(a, 4 * k));
        const [vb, setB] = hold(f, o.load(b, 4 * k));
        return seq(setA, setB, o.store(out, formula(o, f, va, vb), 4 * k));
      },
    );
  });
}

/** dx = dy * slope(x); `of` names what the slope is read from. */
function backward(of: "x" | "y", does: string, slope: Formula2): Described {
  const params = { [of]: "i32", dy: "i32", dx: "i32", from: "i32", to: "i32" } as const;
  return described(params, does, (f) => {
    const { dy, dx, from, to } = f.p;
    const x = f.p[of];
    return streamRange(
      f,
      from,
      to,
      [
        [x, 4],
        [dy, 4],
        [dx, 4],
      ],
      2,
      (o, k) => {
        const [vx, setX] = hold(f, o.load(x, 4 * k));
        const [vd, setD] = hold(f, o.load(dy, 4 * k));
        return seq(setX, setD, o.store(dx, slope(o, f, vx, vd), 4 * k));
      },
    );
  });
}

/** out[r, c] = join(x[r, c], row[c]) */
function withRow(name: "bias" | "w", does: string, join: "add" | "mul"): Described {
  const params = { x: "i32", [name]: "i32", out: "i32", cols: "i32", from: "i32", to: "i32" } as const;
  return described(params, does, (f) => {
    const { x, out, cols, from, to } = f.p;
    const row = f.local("i32");
    return eachRow(
      f,
      from,
      to,
      [
        [x, bytesOf(cols)],
        [out, bytesOf(cols)],
      ],
      row.set(f.p[name]),
      stream(
        f,
        cols,
        [
          [x, 4],
          [row, 4],
          [out, 4],
        ],
        4,
        (o, k) => o.store(out, o[join](o.load(x, 4 * k), o.load(row, 4 * k)), 4 * k),
      ),
    );
  });
}

const scale = described({ a: "i32", s: "f32", out: "i32", from: "i32", to: "i32" }, "out = s * a", (f) => {
  const { a, s, out, from, to } = f.p;
  return streamRange(
    f,
    from,
    to,
    [
      [a, 4],
      [out, 4],
    ],
    4,
    (o, k) => o.store(out, o.mul(o.load(a, 4 * k), o.splat(s)), 4 * k),
  );
});

const axpy = described({ s: "f32", x: "i32", y: "i32", from: "i32", to: "i32" }, "y += s * x", (f) => {
  const { s, x, y, from, to } = f.p;
  return streamRange(
    f,
    from,
    to,
    [
      [x, 4],
      [y, 4],
    ],
    4,
    (o, k) => o.store(y, o.add(o.load(y, 4 * k), o.mul(o.load(x, 4 * k), o.splat(s))), 4 * k),
  );
});

const fill = described({ out: "i32", s: "f32", from: "i32", to: "i32" }, "out = s", (f) => {
  const { out, s, from, to } = f.p;
  return streamRange(f, from, to, [[out, 4]], 4, (o, k) => o.store(out, o.splat(s), 4 * k));
});

const maskMul = described(
  { x: "i32", mask: "i32", out: "i32", from: "i32", to: "i32" },
  "out = x where the mask's byte is not 0, else +0 (whatever x is)",
  (f) => {
    const { x, mask, out, from, to } = f.p;
    return streamRange(
      f,
      from,
      to,
      [
        [x, 4],
        [mask, 1],
        [out, 4],
      ],
      4,
      (o, k) => o.store(out, o.choose(o.load(x, 4 * k), o.value(0), o.some(o.loadBytes(mask, k))), 4 * k),
    );
  },
);

const siluGate = described(
  { gate: "i32", up: "i32", out: "i32", from: "i32", to: "i32" },
  "out = silu(gate) * up",
  (f) => {
    const { gate, up, out, from, to } = f.p;
    return streamRange(
      f,
      from,
      to,
      [
        [gate, 4],
        [up, 4],
        [out, 4],
      ],
      2,
      (o, k) => {
        const [g, setG] = hold(f, o.load(gate, 4 * k));
        const [u, setU] = hold(f, o.load(up, 4 * k));
        return seq(setG, setU, o.store(out, o.mul(silu(o, f, g), u), 4 * k));
      },
    );
  },
);

const siluGateBackward = described(
  { gate: "i32", up: "i32", dy: "i32", dgate: "i32", dup: "i32", from: "i32", to: "i32" },
  "dgate = dy * up * silu'(gate), dup = dy * silu(gate)",
  (f) => {
    const { gate, up, dy, dgate, dup, from, to } = f.p;
    return streamRange(
      f,
      from,
      to,
      [
        [gate, 4],
        [up, 4],
        [dy, 4],
        [dgate, 4],
        [dup, 4],
      ],
      2,
      (o, k) => {
        const [g, setG] = hold(f, o.load(gate, 4 * k));
        const [u, setU] = hold(f, o.load(up, 4 * k));
        const [d, setD] = hold(f, o.load(dy, 4 * k));
        const [s, setS] = hold(f, sigmoidOf(o, f, g));
        const slope = o.mul(s, o.add(o.value(1), o.mul(g, o.sub(o.value(1), s))));
        return seq(
          setG,
          setU,
          setD,
          setS,
          o.store(dgate, o.mul(o.mul(d, u), slope), 4 * k),
          o.store(dup, o.mul(d, o.mul(g, s)), 4 * k),
        );
      },
    );
  },
);

const transpose = described(
  { x: "i32", out: "i32", rows: "i32", cols: "i32", from: "i32", to: "i32" },
  "out[c, r] = x[r, c] for x [rows, cols]; units are rows of out",
  (f) => {
    const { x, out, rows, cols, from, to } = f.p;
    const [j, r, source, target, stride, outStride] = Array.from({ length: 6 }, () => f.local("i32"));
    const v = f.locals("v128", 4);
    const t = f.locals("v128", 4);
    const place = (row: Expr<"i32">): Stmt =>
      seq(
        source.set(i32.add(x, bytesOf(i32.add(i32.mul(row, cols), j)))),
        target.set(i32.add(out, bytesOf(i32.add(i32.mul(j, rows), row)))),
      );
    /** 4 rows of x by 4 columns at `column` beyond j */
    const tile = (column: number): Stmt => {
      const from4 = (l: number): Expr<"i32"> => i32.add(source, i32.mul(stride, c(l)));
      const to4 = (l: number): Expr<"i32"> => i32.add(target, i32.mul(outStride, c(column + l)));
      return seq(
        ...v.map((lane, l) => lane.set(v128.load(from4(l), 4 * column))),
        t[0].set(v128.shuffle32(v[0], v[1], [0, 4, 1, 5])),
        t[1].set(v128.shuffle32(v[2], v[3], [0, 4, 1, 5])),
        t[2].set(v128.shuffle32(v[0], v[1], [2, 6, 3, 7])),
        t[3].set(v128.shuffle32(v[2], v[3], [2, 6, 3, 7])),
        v128.store(to4(0), v128.shuffle32(t[0], t[1], [0, 1, 4, 5])),
        v128.store(to4(1), v128.shuffle32(t[0], t[1], [2, 3, 6, 7])),
        v128.store(to4(2), v128.shuffle32(t[2], t[3], [0, 1, 4, 5])),
        v128.store(to4(3), v128.shuffle32(t[2], t[3], [2, 3, 6, 7])),
      );
    };
    const band = (width: number): Stmt =>
      seq(
        forRange(r, c(0), i32.and(rows, c(-4)), 4, place(r), ...(width === 8 ? [tile(0), tile(4)] : [tile(0)])),
        forRange(
          r,
          r,
          rows,
          1,
          place(r),
          ...Array.from({ length: width }, (_, l) =>
            f32.store(i32.add(target, i32.mul(outStride, c(l))), f32.load(source, 4 * l)),
          ),
        ),
      );
    return [
      stride.set(bytesOf(cols)),
      outStride.set(bytesOf(rows)),
      forRange(j, from, i32.sub(to, c(7)), 8, band(8)),
      forRange(j, j, i32.sub(to, c(3)), 4, band(4)),
      forRange(j, j, to, 1, forRange(r, c(0), rows, 1, place(r), f32.store(target, f32.load(source)))),
    ];
  },
);

const gatherRows = described(
  { table: "i32", ids: "i32", out: "i32", cols: "i32", from: "i32", to: "i32" },
  "out[r] = table[ids[r]], ids i32; units are rows of out",
  (f) => {
    const { table, ids, out, cols, from, to } = f.p;
    const source = f.local("i32");
    return eachRow(
      f,
      from,
      to,
      [
        [ids, c(4)],
        [out, bytesOf(cols)],
      ],
      source.set(i32.add(table, bytesOf(i32.mul(i32.load(ids), cols)))),
      stream(
        f,
        cols,
        [
          [source, 4],
          [out, 4],
        ],
        4,
        (o, k) => o.store(out, o.load(source, 4 * k), 4 * k),
      ),
      ids.set(i32.add(ids, c(4))),
    );
  },
);

const scatterAddRows = described(
  { dy: "i32", ids: "i32", grad: "i32", cols: "i32", rows: "i32", from: "i32", to: "i32" },
  "grad[ids[r]] += dy[r] for all rows, in rising order; units are blocks of 4 columns",
  (f) => {
    const { dy, ids, grad, cols, rows, from, to } = f.p;
    const [first, width, r, source, target, stride] = Array.from({ length: 6 }, () => f.local("i32"));
    const last = i32.shl(to, c(2));
    return [
      first.set(i32.shl(from, c(2))),
      width.set(i32.sub(select(last, cols, i32.lt(last, cols)), first)),
      stride.set(bytesOf(cols)),
      forRange(
        r,
        c(0),
        rows,
        1,
        source.set(i32.add(dy, bytesOf(i32.add(i32.mul(r, cols), first)))),
        target.set(i32.add(grad, bytesOf(i32.add(i32.mul(i32.load(i32.add(ids, bytesOf(r))), cols), first)))),
        stream(
          f,
          width,
          [
            [source, 4],
            [target, 4],
          ],
          4,
          (o, k) => o.store(target, o.add(o.load(target, 4 * k), o.load(source, 4 * k)), 4 * k),
        ),
      ),
    ];
  },
);

export const pointwise: Kernel = defineKernel({
  name: "pointwise-f32",
  family: "pointwise",
  summary: "Elementwise operations with their gradients, broadcasting of a row, transposition, gathering of rows.",
  functions: {
    add: binary("out = a + b", (o, _, a, b) => o.add(a, b)),
    sub: binary("out = a - b", (o, _, a, b) => o.sub(a, b)),
    mul: binary("out = a * b", (o, _, a, b) => o.mul(a, b)),
    scale,
    axpy,
    fill,
    addRow: withRow("bias", "out[r, c] = x[r, c] + bias[c]; units are rows", "add"),
    mulRow: withRow("w", "out[r, c] = x[r, c] * w[c]; units are rows", "mul"),
    silu: unary("out = x * sigmoid(x)", silu, 2),
    siluBackward: backward("x", "dx = dy * silu'(x)", (o, f, x, dy) => o.mul(dy, siluSlope(o, f, x))),
    siluGate,
    siluGateBackward,
    relu: unary("out = max(x, 0); NaN stays NaN", relu, 4),
    reluBackward: backward("x", "dx = dy where x > 0, else 0", (o, _, x, dy) =>
      o.choose(dy, o.value(0), o.gt(x, o.value(0))),
    ),
    relu6: unary("out = min(max(x, 0), 6); NaN stays NaN", (o, f, x) => o.clamp(f, x, 0, 6), 4),
    relu6Backward: backward("x", "dx = dy where 0 < x < 6, else 0", (o, _, x, dy) =>
      o.choose(o.choose(dy, o.value(0), o.gt(x, o.value(0))), o.value(0), o.lt(x, o.value(6))),
    ),
    gelu: unary("out = x / 2 * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))", gelu, 2),
    geluBackward: backward("x", "dx = dy * gelu'(x), of the tanh form", (o, f, x, dy) => o.mul(dy, geluSlope(o, f, x))),
    tanh: unary("out = tanh(x)", tanhOf, 2),
    tanhBackward: backward("y", "dx = dy * (1 - y^2), y = tanh(x)", (o, _, y, dy) =>
      o.mul(dy, o.sub(o.value(1), o.mul(y, y))),
    ),
    sigmoid: unary("out = 1 / (1 + e^-x)", sigmoidOf, 2),
    sigmoidBackward: backward("y", "dx = dy * y * (1 - y), y = sigmoid(x)", (o, _, y, dy) =>
      o.mul(dy, o.mul(y, o.sub(o.value(1), y))),
    ),
    exp: unary("out = e^x", expOf, 2),
    maskMul,
    transpose,
    gatherRows,
    scatterAddRows,
  },
  trials: pointwiseTrials,
});
