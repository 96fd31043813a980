/** One core for a while, and all of them again. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { coresOf, onOneCore } from "./pin.ts";

test("lists of cores", () => {
  expect(coresOf("0")).toEqual([0]);
  expect(coresOf("0,1")).toEqual([0, 1]);
  expect(coresOf("0-2,5,7-8")).toEqual([0, 1, 2, 5, 7, 8]);
});

test.skipIf(process.platform !== "linux")("the process is on one core inside, and as before afterwards", async () => {
  const allowed = (): string => /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync("/proc/self/status", "utf8"))![1];
  const before = allowed();
  const { value, pinned } = await onOneCore(async () => allowed());
  if (pinned) expect(coresOf(value)).toEqual([coresOf(before).at(-1)]);
  expect(allowed()).toBe(before);
  await expect(onOneCore(() => Promise.reject(new Error("inside")))).rejects.toThrow("inside");
  expect(allowed()).toBe(before);
});
