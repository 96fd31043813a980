/** All commands, in the order `lacuna --help` shows them. */
import type { Command } from "../command.ts";
import { evaluate } from "./eval.ts";
import { inspect } from "./inspect.ts";
import { train } from "./train.ts";

export const commands: readonly Command[] = [evaluate, inspect, train];
