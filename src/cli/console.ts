/**
 * How a command speaks: results on stdout (text, or with --json one JSON value and nothing else), progress with the
 * time left on stderr, and one way to fail: exit code 1 for the user's error, 2 for a defect of ours.
 */
import { LacunaError } from "../core/errors.ts";

export interface Console {
  readonly json: boolean;
  /** a line of the result; silent with --json */
  print(line: string): void;
  /** part of a line of the result, for streamed text; silent with --json */
  write(text: string): void;
  /** the result as a value; printed only with --json */
  result(value: unknown): void;
  /** shows a task's progress; `done` in [0, 1] */
  progress(label: string, done: number, secondsLeft?: number): void;
  /** ends the progress line */
  endProgress(): void;
  /** aborted by Ctrl-C or a termination signal */
  readonly signal: AbortSignal;
}

/** 75 -> "1 min 15 s". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "?";
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** Estimates the seconds left of one task from how far it has come. */
export function timeLeft(now: () => number = () => performance.now()): (done: number) => number {
  const start = now();
  return (done) => (done > 0 ? ((now() - start) / 1000) * (1 / done - 1) : Number.NaN);
}

export function makeConsole(json: boolean, signal: AbortSignal): Console {
  const terminal = process.stderr.isTTY === true;
  let shown = "";
  let quietUntil = 0;
  const clear = (): void => {
    if (terminal && shown) process.stderr.write(`\r${" ".repeat(shown.length)}\r`);
    shown = "";
  };
  return {
    json,
    signal,
    print: (line) => {
      clear();
      if (!json) process.stdout.write(`${line}\n`);
    },
    write: (text) => {
      clear();
      if (!json) process.stdout.write(text);
    },
    result: (value) => {
      clear();
      if (json) process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
    },
    progress: (label, done, secondsLeft) => {
      const now = performance.now();
      // A terminal line is redrawn ten times a second; a log gets a line every ten seconds.
      if (now < quietUntil && done < 1) return;
      quietUntil = now + (terminal ? 100 : 10_000);
      const left = secondsLeft === undefined || Number.isNaN(secondsLeft) ? "" : `, ${duration(secondsLeft)} left`;
      const line = `${label}: ${Math.floor(done * 100)} %${left}`;
      if (!terminal) process.stderr.write(`${line}\n`);
      else {
        clear();
        shown = line.slice(0, (process.stderr.columns ?? 80) - 1);
        process.stderr.write(shown);
      }
    },
    endProgress: () => {
      clear();
      quietUntil = 0;
    },
  };
}

/** Prints an error and gives the exit code that belongs to it. */
export function report(error: unknown): number {
  if (error instanceof LacunaError) {
    const { about, expected, got, hint } = error.complaint;
    process.stderr.write(`error: ${about}\n  expected: ${expected}\n  got:      ${got}\n  ${hint}\n`);
    return 1;
  }
  if (error instanceof Error && error.name === "AbortError") {
    process.stderr.write("stopped; nothing half-written was left behind\n");
    return 130;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(
    `defect: ${text}\nThis is a defect of Lacuna, not of your input; please report it with the command you ran.\n`,
  );
  return 2;
}
