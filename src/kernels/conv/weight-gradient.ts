/**
 * The weight's gradient of a convolution: dot products of planes of the output's gradient with shifted planes of the
 * input. Both have the same pitch, so that an image is one run of elements; between the rows the gradient is zero.
 *
 * A tile of R outputs by J terms keeps its sums, four lanes each, over all images of the call; lanes are then added in
 * order. What is zero times the input's padding must be finite there, so the planes must have been written.
 */
import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import { inPieces } from "../pointwise/trial.ts";
import {
  block,
  br,
  brIf,
  type Expr,
  f32,
  f32x4,
  forRange,
  i32,
  label,
  loop,
  ModuleBuilder,
  madd,
  type Stmt,
  select,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { bytesOfPlanes, type ConvShape, flatPlanes, forwardProduct, gradientPlanes, inputPlanes } from "./geometry.ts";
import { convWeightGradient, sizesOf } from "./plain.ts";
import { splitPlanes } from "./planes.ts";
import { drawShape } from "./trial.ts";

const { add, sub, mul, shl, lt, divu, remu } = i32;
const n = i32.const;
const UNROLL = 4;

/** Outputs and terms of a tile: R * J + J + 2 values must fit 15 registers. */
const [R, J] = [4, 2];

const params = {
  dy: "i32",
  dyImage: "i32",
  dyChannel: "i32",
  x: "i32",
  xImage: "i32",
  xGroup: "i32",
  terms: "i32",
  k: "i32",
  outs: "i32",
  images: "i32",
  vectors: "i32",
  dw: "i32",
  onto: "i32",
  from: "i32",
  to: "i32",
} as const;

function emit(m: ModuleBuilder, fused: boolean): void {
  const least = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => select(a, b, lt(a, b));
  m.func("dot", params, ({ p, local, locals }) => {
    const acc = Array.from({ length: R }, () => locals("v128", J));
    const xs = locals("v128", J);
    const d = local("v128");
    const ds = locals("i32", R);
    const qs = locals("i32", J);
    const offsets = locals("i32", J);
    const outsAt = locals("i32", R);
    const [u, tiles, panels, term, panel, group, first, image, dyb, xb, left, at] = locals("i32", 12);
    const sum = local("f32");
    const [done, again] = [label("done"), label("again")];
    const step = (i: number): Stmt =>
      seq(
        ...xs.map((x, j) => x.set(v128.load(qs[j], 16 * i))),
        ...acc.flatMap((row, r) => [
          d.set(v128.load(ds[r], 16 * i)),
          ...row.map((c, j) => c.set(madd(fused, d, xs[j], c))),
        ]),
        brIf(done, i32.eqz(left.tee(sub(left, n(1))))),
      );
    const lane = (r: number, j: number, l: number): Expr<"f32"> => f32x4.extract(acc[r][j], l);
    const store = (r: number, j: number): Stmt =>
      when(
        i32.and(lt(add(first, n(r)), p.outs), lt(add(term, n(j)), p.k)),
        seq(
          at.set(add(mul(add(mul(group, p.outs), add(first, n(r))), p.k), add(term, n(j)))),
          at.set(add(p.dw, shl(at, n(2)))),
          sum.set(f32.add(f32.add(lane(r, j, 0), lane(r, j, 1)), f32.add(lane(r, j, 2), lane(r, j, 3)))),
          when(p.onto, sum.set(f32.add(f32.load(at), sum))),
          f32.store(at, sum),
        ),
      );
    return [
      tiles.set(divu(add(p.k, n(J - 1)), n(J))),
      panels.set(divu(add(p.outs, n(R - 1)), n(R))),
      forRange(
        u,
        p.from,
        p.to,
        1,
        term.set(mul(remu(u, tiles), n(J))),
        panel.set(divu(u, tiles)),
        group.set(divu(panel, panels)),
        first.set(mul(remu(panel, panels), n(R))),
        // Beyond the last output or term the last one is computed again and not stored.
        ...offsets.map((o, j) => o.set(i32.load(add(p.terms, shl(least(add(term, n(j)), sub(p.k, n(1))), n(2)))))),
        ...outsAt.map((o, r) => o.set(mul(least(add(first, n(r)), sub(p.outs, n(1))), p.dyChannel))),
        ...acc.flat().map((c) => c.set(v128.const32(0, 0, 0, 0))),
        dyb.set(add(p.dy, mul(mul(group, p.outs), p.dyChannel))),
        xb.set(add(p.x, mul(group, p.xGroup))),
        forRange(
          image,
          n(0),
          p.images,
          1,
          ...ds.map((d, r) => d.set(add(dyb, outsAt[r]))),
          ...qs.map((q, j) => q.set(add(xb, offsets[j]))),
          left.set(p.vectors),
          block(
            done,
            brIf(done, i32.eqz(left)),
            loop(
              again,
              ...Array.from({ length: UNROLL }, (_, i) => step(i)),
              ...[...ds, ...qs].map((q) => q.set(add(q, n(16 * UNROLL)))),
              br(again),
            ),
          ),
          dyb.set(add(dyb, p.dyImage)),
          xb.set(add(xb, p.xImage)),
        ),
        ...acc.flatMap((row, r) => row.map((_, j) => store(r, j))),
      ),
    ];
  });
}

/** Units of `dot`: a tile of outputs by terms. */
export const gradientUnits = (outs: number, groups: number, k: number): number =>
  groups * Math.ceil(outs / groups / R) * Math.ceil(k / J);

/** Vectors of four from the first to the last output of an image whose planes have this pitch. */
export const vectorsOf = (rows: number, columns: number, pitch: number): number =>
  Math.ceil(((rows - 1) * pitch + columns) / 4);

const trial = (draw: Draw, box: Sandbox): Comparison[] => {
  const s: ConvShape = drawShape(draw);
  const images = draw.int(0, 3);
  const values = draw.floats(images * s.channels * s.height * s.width);
  const dys = draw.floats(images * s.outs * s.outHeight * s.outWidth);
  const shared = draw.int(0, 1) === 1;
  const pitch = Math.max(inputPlanes(s).pitch, shared ? gradientPlanes(s).pitch : 0);
  const xp = inputPlanes(s, pitch);
  const dp = shared ? gradientPlanes(s, pitch) : flatPlanes(s, pitch);
  const put = (v: Float64Array): number => box.put(Float32Array.from(v));
  const x = put(splitPlanes(values, images * s.channels, s.height, s.width, xp, s.strideY, s.strideX));
  const dy = put(splitPlanes(dys, images * s.outs, s.outHeight, s.outWidth, dp, 1, 1));
  const { terms } = forwardProduct(s, xp);
  const k = terms.length;
  // What lies behind the terms would lead out of memory: it must not be taken for one.
  const table = box.put(Int32Array.of(...terms, ...Array<number>(4).fill(0x7ffffff0)));
  const onto = draw.int(0, 1);
  const start = draw.floats(s.outs * k);
  const [whole, pieces] = [box.put(start), box.put(start)];
  const outs = s.outs / s.groups;
  const run = (dw: number, from: number, to: number): number =>
    box.call(
      "dot",
      ...[dy + 4 * (dp.top * dp.pitch + dp.left), s.outs * bytesOfPlanes(dp), bytesOfPlanes(dp)],
      ...[x, s.channels * bytesOfPlanes(xp), (s.channels / s.groups) * bytesOfPlanes(xp)],
      ...[table, k, outs, images, vectorsOf(s.outHeight, s.outWidth, pitch), dw, onto, from, to],
    );
  const units = gradientUnits(s.outs, s.groups, k);
  run(whole, 0, units);
  inPieces(draw, units, (a, b) => run(pieces, a, b));
  const want = convWeightGradient(s, values, dys, images).map((v, i) => v + onto * start[i]);
  const sizes = convWeightGradient(s, sizesOf(values), sizesOf(dys), images);
  // Worst case of a sum rounded at every step, over all outputs of all images, and the old value.
  const steps = images * s.outHeight * s.outWidth + 4;
  const tolerance = sizes.map((size, i) => (size * steps + Math.abs(start[i])) * 2 ** -23);
  const got = box.f32(whole, start.length);
  return [
    { what: "weight's gradient", got, want, tolerance },
    { what: "weight's gradient, in pieces", got: box.f32(pieces, start.length), want: got, tolerance: 0 },
  ];
};

export const convWeights: Kernel = {
  name: "conv-weights-f32-4x2",
  family: "conv",
  summary: "Weight gradient of a convolution over padded planes, tiles of 4 outputs by 2 terms",
  functions: {
    dot: {
      params: Object.keys(params),
      does:
        "dw[o, i] = (onto: +=) sum over images and 4 vectors elements e of dy[o, e] x[e + terms[i]] of the output's " +
        "group; strides and terms in bytes, outs a group's; units are tiles of 4 outputs by 2 terms",
    },
  },
  emit({ shared, fused }) {
    const m = new ModuleBuilder({ shared });
    emit(m, fused);
    return m.bytes();
  },
  trials: [{ name: "weight's gradient", run: trial }],
};
