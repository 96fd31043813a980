/**
 * `lacuna/runtime`: opens a packed (or dense) model and runs it. For browsers, inside of a Worker, and for Node; without
 * cross-origin isolation there is no shared memory, and so one thread.
 */
export { canThread, type EngineOptions, init, shutdown, threads } from "../core/engine.ts";
export { type Complaint, LacunaError } from "../core/errors.ts";
export { filesInMemory, type ModelFiles } from "../formats/model-folder.ts";
export { blobSource, memorySource } from "../formats/source.ts";
export type { Model } from "../models/model.ts";
export { openModelAt } from "../models/open-web.ts";
export { type GenerateOptions, type Generation, generate } from "../runtime/generate.ts";
export { createRunner, type Runner, type RunnerOptions } from "../runtime/runner.ts";
