/**
 * Runs TypeScript modules from text held in memory, so that one file's text can be another: no file is touched.
 *
 * A world is one evaluation of modules. A changed world shares with the one it came from every module that cannot reach
 * the changed file, and evaluates the others anew, which takes milliseconds where a new process takes seconds.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import ts from "typescript";

interface Compiled {
  readonly code: string;
  /** absolute paths of what it imports when it runs */
  readonly imports: readonly string[];
}
type Exports = Record<string, unknown>;
/** Called by a changed site when it runs. */
export type Hit = () => void;

const native = createRequire(import.meta.url);
const REQUIRE = /require\("(\.{1,2}\/[^"]+)"\)/g;

export class Sources {
  /** where compiled modules are kept from run to run, or nowhere */
  readonly #kept: string | undefined;
  readonly #texts = new Map<string, string>();
  readonly #compiled = new Map<string, Compiled>();
  readonly #closures = new Map<string, ReadonlySet<string>>();

  constructor(kept?: string) {
    this.#kept = kept;
    if (kept) mkdirSync(kept, { recursive: true });
  }

  text(path: string): string {
    let text = this.#texts.get(path);
    if (text === undefined) {
      text = readFileSync(path, "utf8");
      this.#texts.set(path, text);
    }
    return text;
  }

  #transpiled(path: string, text: string): string {
    const place =
      this.#kept && join(this.#kept, `${createHash("sha256").update(`${ts.version}\n${text}`).digest("hex")}.js`);
    if (place && existsSync(place)) return readFileSync(place, "utf8");
    const { outputText } = ts.transpileModule(text, {
      fileName: path,
      compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022, esModuleInterop: true },
    });
    if (place) writeFileSync(place, outputText);
    return outputText;
  }

  compile(path: string, text: string): Compiled {
    const outputText = this.#transpiled(path, text);
    const imports = [...outputText.matchAll(REQUIRE)].map((m) => resolve(dirname(path), m[1]));
    return { code: outputText, imports: imports.filter((f) => f.endsWith(".ts") && existsSync(f)) };
  }

  compiled(path: string): Compiled {
    let compiled = this.#compiled.get(path);
    if (!compiled) {
      compiled = this.compile(path, this.text(path));
      this.#compiled.set(path, compiled);
    }
    return compiled;
  }

  /** The file and all that it imports, directly or not. */
  closure(path: string): ReadonlySet<string> {
    let closure = this.#closures.get(path);
    if (!closure) {
      const all = new Set<string>();
      const open = [path];
      for (let at = open.pop(); at !== undefined; at = open.pop()) {
        if (all.has(at)) continue;
        all.add(at);
        open.push(...this.compiled(at).imports);
      }
      closure = all;
      this.#closures.set(path, closure);
    }
    return closure;
  }
}

export interface WorldOptions {
  readonly sources: Sources;
  /** the module handed to changed code as `__asm` */
  readonly assembler: string;
  /** packages that are replaced, by name */
  readonly packages?: Readonly<Record<string, unknown>>;
}

export class World {
  readonly #options: WorldOptions;
  readonly #modules = new Map<string, Exports>();
  readonly #base: World | undefined;
  readonly #changed: { readonly path: string; readonly text: string; readonly hit: Hit } | undefined;

  constructor(options: WorldOptions, base?: World, changed?: { path: string; text: string; hit: Hit }) {
    this.#options = options;
    this.#base = base;
    this.#changed = changed;
  }

  /** Whether the module is another than in the world this one came from. */
  differs(path: string): boolean {
    return this.#changed !== undefined && this.#options.sources.closure(path).has(this.#changed.path);
  }

  load(path: string): Exports {
    if (this.#base && !this.differs(path)) return this.#base.load(path);
    const known = this.#modules.get(path);
    if (known) return known;
    const exports: Exports = {};
    this.#modules.set(path, exports);
    const { sources, packages, assembler } = this.#options;
    const changed = this.#changed?.path === path ? this.#changed : undefined;
    const { code } = changed ? sources.compile(path, changed.text) : sources.compiled(path);
    const require = (name: string): unknown => {
      if (name.startsWith(".")) return this.load(resolve(dirname(path), name));
      return packages && name in packages ? packages[name] : native(name);
    };
    const run = new Function("exports", "require", "__asm", "__hit", `${code}\n//# sourceURL=${path}`);
    run(exports, require, changed ? this.load(assembler) : undefined, changed?.hit);
    return exports;
  }
}
