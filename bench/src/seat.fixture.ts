/** A seat for tests: counts, waits, fails. */
import type { Calls } from "./seat.ts";

export async function open(setup: { readonly from: number; readonly broken?: boolean }): Promise<Calls> {
  if (setup.broken) throw new Error("does not open");
  let count = setup.from;
  return {
    next: (by: number) => {
      count += by;
      return count;
    },
    busy: (milliseconds: number) => {
      const end = performance.now() + milliseconds;
      while (performance.now() < end);
    },
    later: async (value: string) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      return value;
    },
    fail: () => {
      throw new Error("on purpose");
    },
  };
}
