/** Runs the self-check inside of a browser's Worker: a message in (where the model and the text are), the report out. */
import { openModelAt } from "../models/open-web.ts";
import { selfCheck } from "./self-check.ts";

interface Order {
  readonly model: string;
  readonly text: string;
  readonly cases: number;
  readonly threadCount: number;
}

addEventListener("message", async ({ data }: MessageEvent<Order>) => {
  try {
    const text = await (await fetch(data.text)).text();
    postMessage({ report: await selfCheck(() => openModelAt(data.model), text.slice(0, 12_000), data) });
  } catch (error) {
    postMessage({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
});
