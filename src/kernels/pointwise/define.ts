/** Puts a kernel together from described functions, so that documentation and code cannot part. */
import type { Kernel, KernelFunction, Trial } from "../kernel.ts";
import type { FunctionScope, Stmt, ValType } from "../wasm/asm.ts";
import { ModuleBuilder } from "../wasm/asm.ts";

type Params = Readonly<Record<string, ValType>>;

/** A function that can be added to a module under a name. */
export interface Described extends KernelFunction {
  addTo(m: ModuleBuilder, name: string): void;
}

/** Parameters in order with their types, one sentence, and the body. */
export function described<P extends Params>(
  params: P,
  does: string,
  body: (f: FunctionScope<P, "void">) => Stmt | readonly Stmt[],
): Described {
  return {
    params: Object.keys(params),
    does,
    addTo: (m, name) => {
      m.func(name, params, body);
    },
  };
}

export interface Definition {
  readonly name: string;
  readonly family: string;
  readonly summary: string;
  readonly functions: Readonly<Record<string, Described>>;
  readonly trials: readonly Trial[];
}

export function defineKernel({ name, family, summary, functions, trials }: Definition): Kernel {
  return {
    name,
    family,
    summary,
    functions: Object.fromEntries(Object.entries(functions).map(([key, { params, does }]) => [key, { params, does }])),
    emit: ({ shared }) => {
      const m = new ModuleBuilder({ shared });
      for (const [key, fn] of Object.entries(functions)) fn.addTo(m, key);
      return m.bytes();
    },
    trials,
  };
}
