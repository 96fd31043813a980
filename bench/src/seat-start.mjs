/** First file of a seat's isolate, plain JavaScript: makes it read TypeScript, whoever started it, and goes on there. */
import { register as registerRequire } from "tsx/cjs/api";
import { register } from "tsx/esm/api";

registerRequire();
register();
await import("./seat-worker.ts");
