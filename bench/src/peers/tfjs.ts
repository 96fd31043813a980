/**
 * TensorFlow.js on its WebAssembly backend with SIMD. In Node it has one thread: its own flag
 * WASM_HAS_MULTITHREAD_SUPPORT is false there. Its packages are CommonJS; `require` gives all of them one core.
 *
 * tfjs-core alone has no gradients: the umbrella package (data, layers, WebGL, ten times the size) registers them from
 * a file of tfjs-core's that holds ES modules under a CommonJS name, which tsx reads and plain Node does not.
 */
import { createRequire } from "node:module";
import { dirname } from "node:path";

export type Tfjs = typeof import("@tensorflow/tfjs-core");

export const TFJS_PACKAGES = ["@tensorflow/tfjs-core", "@tensorflow/tfjs-backend-wasm"] as const;

let ready: Promise<Tfjs> | undefined;

async function start(): Promise<Tfjs> {
  const require = createRequire(import.meta.url);
  const tf = require("@tensorflow/tfjs-core") as Tfjs;
  const wasm = require("@tensorflow/tfjs-backend-wasm") as typeof import("@tensorflow/tfjs-backend-wasm");
  wasm.setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm"))}/`);
  if (!(await tf.setBackend("wasm"))) throw new Error("bench: tfjs-backend-wasm did not start");
  require("@tensorflow/tfjs-core/dist/register_all_gradients.js");
  if (!(await tf.env().getAsync("WASM_HAS_SIMD_SUPPORT")))
    throw new Error("bench: tfjs-backend-wasm runs without SIMD");
  return tf;
}

/** tfjs-core with the wasm backend running. */
export function tfjs(): Promise<Tfjs> {
  ready ??= start();
  return ready;
}
