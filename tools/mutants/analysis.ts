/**
 * What became of the mutants that no trial and no test noticed, one by one. Keyed by file, before and after, so that an
 * entry stays right when lines move; an entry whose mutant is drawn no more does no harm.
 */
export interface Analysis {
  readonly file: string;
  readonly before: string;
  readonly after: string;
  /** `equivalent`: no caller can see it. `accepted`: it can be seen, and why nothing looks. */
  readonly verdict: "equivalent" | "accepted";
  readonly why: string;
}

export const ANALYSES: readonly Analysis[] = [
  {
    file: "kernels/attention/prefill.ts",
    before: "minusInfinity = v128.const32(-8388608, -8388608, -8388608, -8388608);",
    after: "minusInfinity = v128.const32(-8388608, -8388608, -8388609, -8388608);",
    verdict: "equivalent",
    why: "One lane of minus infinity becomes the largest negative number. A masked score then still lies so far below every visible one that its exponential is 0, and each query sees at least its own key.",
  },
  {
    file: "kernels/attention/sparse.ts",
    before: 'arget, rowBytes, left, weights] = f.locals("i32", 9);',
    after: 'arget, rowBytes, left, weights] = f.locals("i32", 10);',
    verdict: "equivalent",
    why: "One local more than is named: it is never used.",
  },
  {
    file: "kernels/attention/tile.ts",
    before: "e.set(add(e, c(8)))), seq(narrow, e.set(add(e, c(4))))),",
    after: "e.set(add(e, c(8)))), seq(narrow, e.set(add(e, c(5))))),",
    verdict: "equivalent",
    why: "The narrow body runs once, for the last four columns; whether `e` then passes `E` by nothing or by one, the loop ends.",
  },
  {
    file: "kernels/conv/conv.ts",
    before: "column.set(add(column, n(4))),",
    after: "column.set(add(column, n(3))),",
    verdict: "equivalent",
    why: "Vectors overlap by a pixel, and a pixel computed twice comes out the same: only slower. The last vector of a row is moved to its end either way.",
  },
  {
    file: "kernels/conv/listed.ts",
    before: "...(r === 3 && height === 8 ? [exit()] : []),",
    after: "...(r === 3 || height === 8 ? [exit()] : []),",
    verdict: "equivalent",
    why: "More of the exits that are never taken; they only keep the compiler from mixing loads.",
  },
  {
    file: "kernels/conv/pool.ts",
    before: "stream(f, size, [[at, 4]], 4, (o, k) => o.store(at, o.value(0), 4 * k)),",
    after: "stream(f, size, [[at, 4]], 5, (o, k) => o.store(at, o.value(0), 4 * k)),",
    verdict: "equivalent",
    why: "How often a loop that writes zeros is unrolled.",
  },
  {
    file: "kernels/conv/weight-gradient.ts",
    before: "brIf(done, i32.eqz(left)),",
    after: "nop,",
    verdict: "equivalent",
    why: "The guard for an image of no vectors: `vectorsOf` gives at least one for a shape with an output, and shapes without are refused before.",
  },
  {
    file: "kernels/convnet/planes.ts",
    before: "return brIf(target, i32.eq(pointer, c(asked)));",
    after: "return nop;",
    verdict: "equivalent",
    why: "The exits that are never taken, left out: they only keep the compiler from mixing loads.",
  },
  {
    file: "kernels/convnet/stream.ts",
    before: "const STRIP_BYTES = 65536;",
    after: "const STRIP_BYTES = 65535;",
    verdict: "equivalent",
    why: "How many tiles a group computes before the next: another order of the same sums.",
  },
  {
    file: "kernels/dense/element.ts",
    before: 'for (let i = 0; i < values.length; i++) values[i] = type === "f32" ? stored[i] : de',
    after: 'for (let i = 0; i <= values.length; i++) values[i] = type === "f32" ? stored[i] : de',
    verdict: "equivalent",
    why: "One turn more writes beyond the end of a typed array, which JavaScript ignores.",
  },
  {
    file: "kernels/dense/gemv-panel.ts",
    before: 'const acc = locals("v128", OUTPUTS / 4);',
    after: 'const acc = locals("v128", OUTPUTS / 3);',
    verdict: "equivalent",
    why: "Locals beyond those whose sums are stored: nothing reads them.",
  },
  {
    file: "kernels/dense/gemv.ts",
    before: "3), group), when(i32.eq(group, n(4)), group.set(n(2)), group.set(n(3)))),",
    after: "3), group), when(i32.eq(group, n(4)), group.set(n(1)), group.set(n(3)))),",
    verdict: "equivalent",
    why: "Four tokens as one and three instead of two and two: a token's sums are the same, the work is slower.",
  },
  {
    file: "kernels/elementary.ts",
    before: "let p = 0;",
    after: "let p = 1;",
    verdict: "accepted",
    why: "Adds z^11, at most 1.4e-17 of the result, to a series that is good to 1e-15: below its stated accuracy, and a test of the last bit would only repeat the code.",
  },
  {
    file: "kernels/norm/softmax.ts",
    before: "2,",
    after: "1,",
    verdict: "equivalent",
    why: "How often a loop over elements is unrolled.",
  },
  {
    file: "kernels/pointwise/math.ts",
    before: "k.set(o.isub(k, o.bits(ROUNDER_BITS))),",
    after: "nop,",
    verdict: "equivalent",
    why: "The rounder's bits, halved, end in more zeros than the exponent has bits: both factors shift them out. The subtraction could go.",
  },
  {
    file: "kernels/probe.ts",
    before: "answers.set(name, answer);",
    after: ";",
    verdict: "equivalent",
    why: "Answers are no longer remembered, and found again each time: only slower.",
  },
  {
    file: "kernels/quant/gemv.ts",
    before: 'const [v, sums, other] = locals("v128", 3);',
    after: 'const [v, sums, other] = locals("v128", 4);',
    verdict: "equivalent",
    why: "One local more than is named: it is never used.",
  },
  {
    file: "kernels/quant/panel.ts",
    before: "es + (i >> 1) * 2 * PANEL + 2 * lane + (i & 1)] = code - 128;",
    after: "es + (i >> 1) * 2 * PANEL + 2 * lane + (i & 1)] = code + 128;",
    verdict: "equivalent",
    why: "Stored in a byte: adding and subtracting 128 are the same modulo 256.",
  },
  {
    file: "kernels/sparse/spmm.ts",
    before: "f(again, c(1)) : brIf(again, i32.leu(index, exits[0])),",
    after: "f(again, c(1)) : brIf(again, i32.leu(index, exits[1])),",
    verdict: "equivalent",
    why: "Only in a step of the ladder that has no exits inside a turn: units are padded to whole turns, so the last turn starts three entries before the last one, and both comparisons hold for it alone.",
  },
  {
    file: "kernels/top/top.ts",
    before: "i32.and(f.p.n, n(-16)),",
    after: "i32.or(f.p.n, n(-16)),",
    verdict: "equivalent",
    why: "The loop over sixteen scores does not run and the one over single scores does all: the same result, only slower.",
  },
];
