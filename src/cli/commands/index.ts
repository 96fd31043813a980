/** All commands, in the order `lacuna --help` shows them. */
import type { Command } from "../command.ts";
import { evaluate } from "./eval.ts";
import { generate } from "./generate.ts";
import { inspect } from "./inspect.ts";
import { prune } from "./prune.ts";
import { train } from "./train.ts";
import { unpack } from "./unpack.ts";

export const commands: readonly Command[] = [prune, unpack, evaluate, generate, inspect, train];
