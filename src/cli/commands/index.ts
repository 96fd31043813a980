/** All commands, in the order `lacuna --help` shows them. */
import type { Command } from "../command.ts";
import { bench } from "./bench.ts";
import { compress } from "./compress.ts";
import { doctor } from "./doctor.ts";
import { evaluate } from "./eval.ts";
import { forecast } from "./forecast.ts";
import { generate } from "./generate.ts";
import { inspect } from "./inspect.ts";
import { paper } from "./paper.ts";
import { papers } from "./papers.ts";
import { prune } from "./prune.ts";
import { reproduce } from "./reproduce.ts";
import { train } from "./train.ts";
import { unpack } from "./unpack.ts";

export const commands: readonly Command[] = [
  compress,
  forecast,
  prune,
  unpack,
  evaluate,
  generate,
  bench,
  inspect,
  train,
  papers,
  paper,
  reproduce,
  doctor,
];
