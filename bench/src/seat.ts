/**
 * A seat: one contestant in an isolate of its own, so that engines with other thread counts, heaps and memories can take
 * turns inside one interleaved run. A module exports `open(setup)`, which gives named calls.
 *
 * The main thread blocks while a seat works, so only one of them runs. A call is timed inside the isolate and advances
 * the seats' own clock: passing messages costs nothing by it. Seats' output would come late; they print nothing.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads";
import type { Variant } from "../../src/runtime/timing.ts";

export type Calls = Readonly<Record<string, (argument: never) => unknown>>;

export interface SeatStart {
  readonly module: string;
  readonly setup: unknown;
  readonly port: MessagePort;
  readonly flag: Int32Array;
}

export interface SeatRequest {
  readonly call: string;
  readonly argument: unknown;
}

export type SeatReply =
  | { readonly ok: true; readonly value: unknown; readonly milliseconds: number }
  | { readonly ok: false; readonly message: string };

/** Milliseconds after which a call is given up: a peer that hangs must not hang the bench. */
const LONGEST = 15 * 60_000;

/** Milliseconds that seats have worked, all together. */
let worked = 0;
/** The clock for `interleave` over seats. */
export const seatClock = (): number => worked;

export class Seat {
  readonly name: string;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #flag: Int32Array;

  private constructor(name: string, worker: Worker, port: MessagePort, flag: Int32Array) {
    this.name = name;
    this.#worker = worker;
    this.#port = port;
    this.#flag = flag;
  }

  /** Opens `module` (a file URL) in a new isolate; throws what its `open` throws. */
  static async open(name: string, module: URL, setup: unknown): Promise<Seat> {
    const flag = new Int32Array(new SharedArrayBuffer(4));
    const { port1, port2 } = new MessageChannel();
    const start: SeatStart = { module: module.href, setup, port: port2, flag };
    const worker = new Worker(new URL("./seat-start.mjs", import.meta.url), {
      workerData: start,
      transferList: [port2],
      execArgv: [],
    });
    const reply = await new Promise<SeatReply>((resolve, reject) => {
      port1.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", (code) => reject(new Error(`bench: ${name} ended with code ${code}`)));
    });
    worker.removeAllListeners();
    port1.removeAllListeners();
    if (!reply.ok) {
      await worker.terminate();
      throw new Error(`${name}: ${reply.message}`);
    }
    worker.unref();
    return new Seat(name, worker, port1, flag);
  }

  /** Runs one call to its end while this thread waits. */
  call<T>(call: string, argument?: unknown): T {
    Atomics.store(this.#flag, 0, 0);
    const request: SeatRequest = { call, argument };
    this.#port.postMessage(request);
    // Woken without an answer by the notice of the call before, which can come late.
    while (Atomics.load(this.#flag, 0) === 0) {
      if (Atomics.wait(this.#flag, 0, 0, LONGEST) === "timed-out") {
        throw new Error(`bench: ${this.name} did not finish ${call} in ${LONGEST / 60_000} minutes`);
      }
    }
    const reply = receiveMessageOnPort(this.#port)?.message as SeatReply | undefined;
    if (!reply) throw new Error(`bench: ${this.name} did not answer ${call}`);
    if (!reply.ok) throw new Error(`${this.name}: ${reply.message}`);
    worked += reply.milliseconds;
    return reply.value as T;
  }

  /** The call as something to time, by `seatClock`; named after the seat, or as asked where it has several. */
  variant(call: string, argument?: unknown, name: string = this.name): Variant {
    return { name, run: () => void this.call(call, argument) };
  }

  async close(): Promise<void> {
    this.#port.close();
    await this.#worker.terminate();
  }
}
