/**
 * `scope(fn)`: every tensor made inside is freed at its end, except those reachable from what `fn` returns.
 *
 * Synchronous only: a scope across an `await` would free what another task made, so promises are refused.
 */
import { setOwner, Tensor } from "./tensor.ts";

function reachable(value: unknown, found: Set<Tensor>, seen: Set<unknown>): void {
  if (value instanceof Tensor) {
    found.add(value);
    return;
  }
  if (typeof value !== "object" || value === null || seen.has(value) || ArrayBuffer.isView(value)) return;
  seen.add(value);
  if (Array.isArray(value) || value instanceof Set) for (const v of value) reachable(v, found, seen);
  else if (value instanceof Map) for (const v of value.values()) reachable(v, found, seen);
  else for (const v of Object.values(value)) reachable(v, found, seen);
}

/** Runs `fn` and frees what it made and does not return (tensors in arrays, maps, sets and object fields are kept). */
export function scope<R>(fn: () => R): R {
  const made: Tensor[] = [];
  const outer = setOwner({ adopt: (t) => made.push(t) });
  const kept = new Set<Tensor>();
  let result: R;
  try {
    result = fn();
    if (result instanceof Promise) throw new Error("scope: the function returned a promise; scopes are synchronous");
    reachable(result, kept, new Set());
  } finally {
    setOwner(outer);
    for (const t of made) if (!kept.has(t)) t.dispose();
  }
  for (const t of made) if (kept.has(t)) t.adoptOutside();
  return result;
}

/** Makes tensors that no enclosing scope frees: weights, caches, optimiser state. */
export function outside<R>(fn: () => R): R {
  const outer = setOwner(null);
  try {
    return fn();
  } finally {
    setOwner(outer);
  }
}
