/**
 * The public API of Lacuna.
 */

export { init, shutdown } from "./core/engine.ts";
export { LacunaError } from "./core/errors.ts";
