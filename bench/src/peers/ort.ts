/**
 * ONNX Runtime: on WebAssembly (onnxruntime-web) and native (onnxruntime-node), one thread each, and the smallest model
 * there is to time: Y = X B with a constant B, which both may pack once when the session is made.
 *
 * onnxruntime-web has threads in Node when asked; here it is asked for one, as every contestant of these runs.
 */
import onnxProto from "onnx-proto";

const { onnx } = onnxProto;

export const ORT_PACKAGES = ["onnxruntime-web", "onnxruntime-node"] as const;

type Ort = typeof import("onnxruntime-common");
export type OrtKind = "web" | "node";

const IR_VERSION = 8;
const OPSET = 17;

/** Model bytes of Y[T, n] = X[T, k] B[k, n] with B in the file. */
export function matMulModel(b: Float32Array, k: number, n: number): Uint8Array {
  const FLOAT = onnx.TensorProto.DataType.FLOAT;
  const value = (name: string, columns: number) => ({
    name,
    type: { tensorType: { elemType: FLOAT, shape: { dim: [{ dimParam: "T" }, { dimValue: columns }] } } },
  });
  const model = onnx.ModelProto.create({
    irVersion: IR_VERSION,
    opsetImport: [{ domain: "", version: OPSET }],
    graph: {
      name: "product",
      node: [{ opType: "MatMul", input: ["x", "b"], output: ["y"] }],
      input: [value("x", k)],
      output: [value("y", n)],
      initializer: [
        { name: "b", dataType: FLOAT, dims: [k, n], rawData: new Uint8Array(b.buffer, b.byteOffset, b.byteLength) },
      ],
    },
  });
  return onnx.ModelProto.encode(model).finish();
}

export interface OrtSession {
  run(
    inputs: Readonly<Record<string, { readonly data: Float32Array; readonly dims: readonly number[] }>>,
  ): Promise<Readonly<Record<string, Float32Array>>>;
  /** as `run`, with inputs that were made before */
  prepared(
    inputs: Readonly<Record<string, { readonly data: Float32Array; readonly dims: readonly number[] }>>,
  ): () => Promise<Readonly<Record<string, { readonly data: unknown }>>>;
  free(): Promise<void>;
}

async function load(kind: OrtKind): Promise<Ort> {
  if (kind === "node") return (await import("onnxruntime-node")) as unknown as Ort;
  const ort = (await import("onnxruntime-web")) as unknown as Ort;
  ort.env.wasm.numThreads = 1;
  return ort;
}

/** A session on one thread. Results are fresh arrays. */
export async function ortSession(kind: OrtKind, model: Uint8Array): Promise<OrtSession> {
  const ort = await load(kind);
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [kind === "web" ? "wasm" : "cpu"],
    graphOptimizationLevel: "all",
    ...(kind === "node" && { intraOpNumThreads: 1, interOpNumThreads: 1 }),
  });
  type Inputs = Parameters<OrtSession["run"]>[0];
  const feeds = (inputs: Inputs) =>
    Object.fromEntries(
      Object.entries(inputs).map(([name, { data, dims }]) => [name, new ort.Tensor("float32", data, [...dims])]),
    );
  return {
    async run(inputs) {
      const results = await session.run(feeds(inputs));
      return Object.fromEntries(Object.entries(results).map(([name, t]) => [name, t.data as Float32Array]));
    },
    prepared(inputs) {
      const made = feeds(inputs);
      return () => session.run(made);
    },
    free: () => session.release(),
  };
}
