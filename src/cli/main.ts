#!/usr/bin/env node
/**
 * The command line: builds the program from the commands and runs it. Nothing is decided here.
 */
import { CommanderError, Command as Program } from "commander";
import { packageVersion } from "../runtime/machine.node.ts";
import type { Command, Runner } from "./command.ts";
import { commands } from "./commands/index.ts";
import { makeConsole, report } from "./console.ts";

const run: Runner = async (options, action) => {
  const abort = new AbortController();
  const stop = (): void => {
    if (abort.signal.aborted) process.exit(130); // asked twice: at once
    abort.abort();
  };
  process.on("SIGINT", stop).on("SIGTERM", stop);
  try {
    await action(makeConsole(options.json === true, abort.signal));
  } catch (error) {
    process.exitCode = report(error);
  } finally {
    process.off("SIGINT", stop).off("SIGTERM", stop);
  }
};

export function buildProgram(all: readonly Command[] = commands): Program {
  const program = new Program("lacuna")
    .description("Makes neural networks sparse, keeps them good, and runs them faster: prune, train, recover, run.")
    .version(packageVersion())
    .showSuggestionAfterError()
    .showHelpAfterError("(see lacuna --help)")
    .exitOverride();
  for (const command of all) command.register(program, run);
  for (const sub of program.commands)
    sub.exitOverride().showSuggestionAfterError().helpOption("-h, --help", "show this help");
  return program;
}

/** Runs the command line and sets the process's exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    await buildProgram().parseAsync([...argv], { from: "user" });
  } catch (error) {
    // commander has printed its message; help and version end with 0, a mistake in the call with 1.
    process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? 0 : 1) : report(error);
  }
}

// Whoever read our output may go away (`| head`); the work goes on, and nobody is told.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

await main(process.argv.slice(2));
