/** All commands, in the order `lacuna --help` shows them. */
import type { Command } from "../command.ts";
import { train } from "./train.ts";

export const commands: readonly Command[] = [train];
