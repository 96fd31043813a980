/**
 * Where the control words of the thread pool lie in the engine's memory. All below `RESERVED_BYTES`.
 *
 * A job is open while OPEN holds its number. A worker enters (ACTIVE + 1), looks again, works or leaves; the main
 * thread closes the job and waits until ACTIVE is 0. So a worker that the host has put to sleep is never waited for.
 */

export const CONTROL = 64;
export const CONTROL_WORDS = 64;

export const EPOCH = 0;
export const OPEN = 1;
export const ACTIVE = 2;
export const SLEEPERS = 3;
export const ERROR = 4;
// NEXT is contended by all threads; it has a cache line of its own.
export const NEXT = 16;
export const KERNEL_ID = 32;
export const KERNEL_PTR = 33;
export const KERNEL_BYTES = 34;
export const FUNCTION = 35;
export const TOTAL = 36;
export const CHUNK = 37;
export const ARGUMENT_COUNT = 38;

export const ARGUMENTS = CONTROL + 4 * CONTROL_WORDS;
export const MAX_ARGUMENTS = 48;

/**
 * How often a worker looks for work before it sleeps: for longer than a decode step of a small model takes, in which only
 * the head is shared out. Waking a worker costs more than half of that head does.
 */
export const SPIN_TURNS = 100_000;
