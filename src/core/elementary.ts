/** Elementary functions for the floors above; they live in kernels/elementary.ts, because kernels need them too. */
export { exp, ln, sinCosTurns } from "../kernels/elementary.ts";
