/** Seats: each an isolate of its own, called synchronously, timed by the work alone. */
import { expect, test } from "vitest";
import { interleave } from "../../src/runtime/timing.ts";
import { Seat, seatClock } from "./seat.ts";

const fixture = new URL("./seat.fixture.ts", import.meta.url);

test("calls answer in order, from an isolate that keeps its state, sync or async", async () => {
  const [a, b] = [await Seat.open("a", fixture, { from: 10 }), await Seat.open("b", fixture, { from: 0 })];
  expect([a.call("next", 1), a.call("next", 2), b.call("next", 5), a.call("next", 1)]).toEqual([11, 13, 5, 14]);
  expect(a.call("later", "value")).toBe("value");
  await a.close();
  await b.close();
});

test("what fails inside fails outside, and the seat lives on", async () => {
  const seat = await Seat.open("a", fixture, { from: 0 });
  expect(() => seat.call("fail")).toThrow(/^a: Error: on purpose/);
  expect(() => seat.call("nothing")).toThrow("no call nothing");
  expect(seat.call("next", 1)).toBe(1);
  await seat.close();
  await expect(Seat.open("b", fixture, { from: 0, broken: true })).rejects.toThrow("does not open");
});

test("the seats' clock counts their work", async () => {
  const seat = await Seat.open("a", fixture, { from: 0 });
  const start = seatClock();
  seat.call("busy", 20);
  const worked = seatClock() - start;
  expect(worked).toBeGreaterThanOrEqual(20);
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(seatClock() - start).toBe(worked);
  const timing = await interleave([seat.variant("next")], { rounds: 3, slice: 0.01, warmUp: 0, clock: seatClock });
  expect(timing.variants[0].time.repeats).toBe(3);
  await seat.close();
});
