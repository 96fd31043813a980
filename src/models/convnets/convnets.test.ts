import onnxProto from "onnx-proto";
import { describe, expect, it } from "vitest";
import { stream } from "../../core/random.ts";
import { convTwin, limit } from "../../kernels/convnet/twin.ts";
import { drawImage, drawNet } from "./drawn.ts";
import { foldBatchNorm } from "./fold.ts";
import { layerMacs, outputSizes, weightCount } from "./net.ts";
import { netToOnnx } from "./onnx.ts";
import { efficientNetLite0, mobileNetV1, mobileNetV2, roundChannels } from "./shapes.ts";
import { netTwin } from "./twin.ts";

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

describe("shapes", () => {
  it("count what the papers count", () => {
    // multiply-adds and parameters without batch norm; v1: 569 M and 4.2 M, v2: 300 M and 3.4 M (their tables),
    // lite0: 407 M and 4.7 M with 5x5 stages (its model card)
    const counts = [mobileNetV1(), mobileNetV2(), efficientNetLite0()].map((shape) => ({
      macs: Math.round(sum(layerMacs(shape)) / 1e6),
      parameters: Math.round(sum(shape.layers.map((l) => weightCount(l).weight + weightCount(l).bias)) / 1e4) / 100,
    }));
    expect(counts).toEqual([
      { macs: 569, parameters: 4.22 },
      { macs: 301, parameters: 3.49 },
      { macs: 385, parameters: 4.63 },
    ]);
  });

  it("end in 7 x 7 pixels, and in ceil(side / 32) for other sides", () => {
    for (const make of [mobileNetV1, mobileNetV2, efficientNetLite0]) {
      for (const [resolution, side] of [
        [224, 7],
        [225, 8],
        [32, 1],
      ]) {
        const sizes = outputSizes(make({ resolution, width: 0.5, classes: 10 }));
        expect(sizes.at(-3)).toMatchObject({ height: side, width: side });
        expect(sizes.at(-1)).toEqual({ channels: 10, height: 1, width: 1 });
      }
    }
  });

  it("round channels as the reference networks do", () => {
    expect([8, 12, 16.8, 24 * 0.35, 32 * 0.35, 320 * 0.35].map(roundChannels)).toEqual([8, 16, 16, 8, 16, 112]);
  });

  it("refuse what does not fit, by name", () => {
    const shape = mobileNetV1();
    const layers = shape.layers.filter((l) => l.name !== "block3.depthwise" && l.name !== "block2.pointwise");
    expect(() => outputSizes({ ...shape, layers })).toThrow(
      /layer block3.pointwise of mobilenet-v1: expected 128 input channels, got 64/,
    );
    expect(() => outputSizes({ ...shape, layers: shape.layers.filter((l) => l.kind !== "pool") })).toThrow(
      /expected one pixel, got 7 x 7/,
    );
    expect(() => mobileNetV2({ width: 0 })).toThrow(/a width above 0/);
  });
});

describe("batch norm", () => {
  it("folded gives what the layer and the norm give one after the other", () => {
    const draws = stream(1, "fold");
    const draw = (n: number, first: number): Float32Array =>
      Float32Array.from({ length: n }, (_, i) => draws.normal(first + i));
    const shape = { in: 3, out: 4, height: 5, width: 6, size: 3, stride: 1, groups: 1 };
    const [weight, bias, x] = [draw(4 * 27, 0), draw(4, 200), draw(90, 300)];
    const variance = draw(4, 600).map((v) => v * v);
    const norm = { scale: draw(4, 400), shift: draw(4, 500), mean: draw(4, 700), variance, epsilon: 1e-3 };
    const none = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] as const;
    for (const b of [bias, undefined]) {
      const before = convTwin(shape, x, 30, weight, b ?? new Float32Array(4), ...none).values;
      const folded = foldBatchNorm(weight, b, norm);
      const got = convTwin(shape, x, 30, folded.weight, folded.bias, ...none).values;
      got.forEach((value, i) => {
        const o = Math.floor(i / 30);
        const want = ((before[i] - norm.mean[o]) * norm.scale[o]) / Math.sqrt(variance[o] + 1e-3) + norm.shift[o];
        // folded weights are rounded to f32: 28 terms of a few units, each off by 6e-8 of itself
        expect(Math.abs(value - want)).toBeLessThan(1e-5 * (1 + Math.abs(want)));
      });
    }
  });

  it("leaves zeros", () => {
    const norm = { scale: [2], shift: [1], mean: [3], variance: [4], epsilon: 0 };
    expect(foldBatchNorm([0, 5], undefined, norm)).toEqual({
      weight: Float32Array.of(0, 5),
      bias: Float32Array.of(-2),
    });
  });
});

describe("ONNX", () => {
  const { onnx } = onnxProto;

  /** Runs a decoded graph node by node, knowing only the operators' definitions. */
  function interpret(bytes: Uint8Array, image: Float32Array): { values: ArrayLike<number>; ops: string[] } {
    const graph = onnx.ModelProto.decode(bytes).graph!;
    interface Value {
      readonly dims: number[];
      readonly data: ArrayLike<number>;
    }
    const values = new Map<string, Value>();
    for (const t of graph.initializer!) {
      const raw = t.rawData!;
      const data = new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
      values.set(t.name!, { dims: t.dims!.map(Number), data });
    }
    const input = graph.input![0];
    const dims = input.type!.tensorType!.shape!.dim!.map((d) => Number(d.dimValue));
    values.set(input.name!, { dims, data: image });
    for (const node of graph.node!) {
      const [a, b, c] = node.input!.map((name) => values.get(name)!);
      const ints = new Map(
        node.attribute!.map((at) => [at.name!, at.ints!.length ? at.ints!.map(Number) : [Number(at.i)]]),
      );
      const map = (f: (v: number, i: number) => number): Value => ({
        dims: a.dims,
        data: Float64Array.from(a.data, f),
      });
      const run = (): Value => {
        switch (node.opType) {
          case "Conv": {
            const [, channels, height, width] = a.dims;
            const [out, , size] = b.dims;
            const [stride] = ints.get("strides")!;
            expect(ints.get("pads")).toEqual(new Array(4).fill(size >> 1));
            expect(ints.get("kernel_shape")).toEqual([size, size]);
            const [groups] = ints.get("group")!;
            const shape = { in: channels, out, height, width, size, stride, groups };
            const plain = convTwin(shape, a.data, height * width, b.data, c.data, -Infinity, Infinity);
            return { dims: [1, out, Math.ceil(height / stride), Math.ceil(width / stride)], data: plain.values };
          }
          case "Relu":
            return map((v) => Math.max(0, v));
          case "Clip":
            return map((v) => limit(v, b.data[0], c.data[0]));
          case "Add":
            return map((v, i) => v + b.data[i]);
          case "GlobalAveragePool": {
            const [, channels, height, width] = a.dims;
            const pixels = height * width;
            const data = Float64Array.from({ length: channels }, (_, k) => {
              return sum(Array.from({ length: pixels }, (_, p) => a.data[k * pixels + p])) / pixels;
            });
            return { dims: [1, channels, 1, 1], data };
          }
          case "Flatten":
            return { dims: [a.dims[0], a.data.length / a.dims[0]], data: a.data };
          case "Gemm": {
            const [out, width] = b.dims;
            expect(ints.get("transB")).toEqual([1]);
            const data = Float64Array.from({ length: out }, (_, o) => {
              return c.data[o] + sum(Array.from({ length: width }, (_, k) => a.data[k] * b.data[o * width + k]));
            });
            return { dims: [1, out], data };
          }
          case "Identity":
            return a;
          default:
            throw new Error(`operator ${node.opType}`);
        }
      };
      values.set(node.output![0], run());
    }
    return { values: values.get(graph.output![0].name!)!.data, ops: graph.node!.map((n) => n.opType!) };
  }

  it("files read by onnx-proto compute what the network computes", () => {
    const small = { width: 0.25, resolution: 16, classes: 5 };
    for (const shape of [mobileNetV1(small), mobileNetV2(small), efficientNetLite0(small)]) {
      const net = drawNet(shape, 11);
      const image = drawImage(shape, 11);
      const want = netTwin(net, image).at(-1)!;
      const { values, ops } = interpret(netToOnnx(net), image);
      expect(values.length).toBe(5);
      // the same f64 sums in the same order
      for (let i = 0; i < 5; i++) expect(values[i]).toBeCloseTo(want[i], 10);
      expect(ops.filter((op) => op === "Add").length).toBe(
        shape.layers.filter((l) => l.kind === "pointwise" && l.residual !== undefined).length,
      );
    }
  });
});
