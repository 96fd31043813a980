import onnxProto from "onnx-proto";
import { expect, it } from "vitest";
import { encodeOnnx } from "./onnx-write.ts";

const { onnx } = onnxProto;

it("writes what onnx-proto reads", () => {
  const bytes = encodeOnnx({
    name: "graph",
    opset: 13,
    producer: "tester",
    nodes: [
      {
        op: "Conv",
        name: "käse",
        inputs: ["x", "w", "b"],
        outputs: ["y"],
        attributes: { pads: { ints: [0, 1, 127, 128, 300000] }, group: { int: -5 }, alpha: { float: 0.1 } },
      },
      { op: "Relu", name: "second", inputs: ["y"], outputs: ["z"] },
    ],
    initialisers: [
      { name: "w", dims: [2, 3], values: Float32Array.of(1, -2.5, 0, Number.NaN, 1e-40, Number.POSITIVE_INFINITY) },
      { name: "b", dims: [], values: Float32Array.of(7) },
      { name: "none", dims: [0], values: new Float32Array(0) },
    ],
    inputs: [{ name: "x", dims: [1, 3, 224, 224] }],
    outputs: [{ name: "z", dims: [1, 1000] }],
  });
  const model = onnx.ModelProto.decode(bytes);
  expect(onnx.ModelProto.verify(model)).toBeNull();
  expect(Number(model.irVersion)).toBe(7);
  expect(model.producerName).toBe("tester");
  expect(model.opsetImport!.map((o) => [o.domain, Number(o.version)])).toEqual([["", 13]]);
  const graph = model.graph!;
  expect(graph.name).toBe("graph");
  const [first, second] = graph.node!;
  expect([first.opType, first.name, first.input, first.output]).toEqual(["Conv", "käse", ["x", "w", "b"], ["y"]]);
  const { AttributeType } = onnx.AttributeProto;
  const [pads, group, alpha] = first.attribute!;
  expect([pads.name, pads.type, pads.ints!.map(Number)]).toEqual([
    "pads",
    AttributeType.INTS,
    [0, 1, 127, 128, 300000],
  ]);
  expect([group.name, group.type, Number(group.i)]).toEqual(["group", AttributeType.INT, -5]);
  expect([alpha.name, alpha.type, alpha.f]).toEqual(["alpha", AttributeType.FLOAT, Math.fround(0.1)]);
  expect([second.opType, second.attribute]).toEqual(["Relu", []]);
  const [w, b, none] = graph.initializer!;
  expect([w.name, w.dims!.map(Number), w.dataType]).toEqual(["w", [2, 3], onnx.TensorProto.DataType.FLOAT]);
  const raw = Uint8Array.from(w.rawData!);
  const view = new DataView(raw.buffer);
  const read = Array.from({ length: 6 }, (_, i) => view.getFloat32(4 * i, true));
  expect(read).toEqual([1, -2.5, 0, Number.NaN, Math.fround(1e-40), Number.POSITIVE_INFINITY]);
  expect([b.dims, b.rawData!.length, none.rawData!.length]).toEqual([[], 4, 0]);
  const [input, output] = [graph.input![0], graph.output![0]];
  expect(input.name).toBe("x");
  expect(input.type!.tensorType!.elemType).toBe(onnx.TensorProto.DataType.FLOAT);
  expect(input.type!.tensorType!.shape!.dim!.map((d) => Number(d.dimValue))).toEqual([1, 3, 224, 224]);
  expect(output.type!.tensorType!.shape!.dim!.map((d) => Number(d.dimValue))).toEqual([1, 1000]);
});

it("refuses a tensor whose shape and values disagree", () => {
  const model = { name: "g", opset: 13, nodes: [], inputs: [], outputs: [] };
  const initialisers = [{ name: "w", dims: [2, 2], values: new Float32Array(3) }];
  expect(() => encodeOnnx({ ...model, initialisers })).toThrow(/initialiser w: expected 4 values for \[2, 2\], got 3/);
});
