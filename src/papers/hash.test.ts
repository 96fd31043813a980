/** Code text ignores what does not matter and nothing else; hashes change with the code they cover. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import ts from "typescript";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { codeOf } from "./code.ts";
import type { Experiment } from "./contract.ts";
import { hashesOf, sourceFolder } from "./hash.node.ts";

describe("code text", () => {
  const same: readonly (readonly [string, string, string])[] = [
    ["comments", "const a = 1; // one\n/* two */ const b = /* three */ 2;", "const a=1;const b=2;"],
    ["white space and trailing commas", "f(\n  a,\n  b,\n);", "f(a,b);"],
    ["white space between words", "return  \n  a", "return a"],
  ];
  test.for(same)("is the same without %s", ([, a, b]) => {
    expect(codeOf(a)).toBe(codeOf(b));
    expect(codeOf(codeOf(a))).toBe(codeOf(a));
  });

  const different: readonly (readonly [string, string])[] = [
    ["f(0.1)", "f(0.2)"],
    ["const ab = 1", "const a b = 1"],
    ["a - -b", "a --b"],
    ['f("a b")', 'f("ab")'],
    ['f("// no comment")', 'f("// a comment")'],
    [`f(\`x // \${a /* c */} y\`)`, `f(\`x // \${b /* c */} y\`)`],
    ["f(`a  b`)", "f(`a b`)"],
    ["s.split(/\\/\\/ a/)", "s.split(/\\/\\/ b/)"],
    ["return /[/*]a/.test(s)", "return /[/*]b/.test(s)"],
    ["f('it\\'s // x')", "f('it\\'s // y')"],
    ["x = a! / b // 1\n* (c /* d */)", "x = a! / b // 1\n* (e /* d */)"],
    ["x = a / b; y = c // 1\n/ d", "x = a / b; y = e // 1\n/ d"],
  ];
  test.for(different)("%s is not %s", ([a, b]) => expect(codeOf(a)).not.toBe(codeOf(b)));

  test("of our own sources is the same program to the compiler as the file it came from", () => {
    const printed = (text: string): string =>
      ts
        .createPrinter({ removeComments: true })
        .printFile(ts.createSourceFile("x.ts", text, ts.ScriptTarget.Latest))
        .replace(/,(\s*[)\]}])/g, "$1")
        .replace(/\s+/g, "");
    const files = readdirSync(sourceFolder as string, { recursive: true, encoding: "utf8" });
    const sample = files.filter((f) => f.endsWith(".ts")).filter((_, i) => i % 25 === 0);
    expect(sample.length).toBeGreaterThan(10);
    for (const file of sample) {
      const text = readFileSync(join(sourceFolder as string, file), "utf8");
      const code = codeOf(text);
      expect({ file, code: printed(code), again: codeOf(code) }).toEqual({ file, code: printed(text), again: code });
    }
  });

  test("a comment after a division or a regular expression still goes", () => {
    expect(codeOf("a / b // c\n+ d")).toBe("a/b+d");
    expect(codeOf("x.test(/['\"]/) // it's\n+ d")).toBe("x.test(/['\"]/)+d");
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the text is code
    expect(codeOf("`${`a // ${b}`} //` // c")).toBe("`${`a // ${b}`} //`");
  });
});

describe("hashes of an experiment", () => {
  const src = mkdtempSync(join(tmpdir(), "lacuna-hash-"));
  const put = (name: string, text: string): string => {
    mkdirSync(dirname(join(src, name)), { recursive: true });
    writeFileSync(join(src, name), text);
    return join(src, name);
  };
  const experiment = { method: "methods/m.ts", uses: ["train/loop.ts"] } as unknown as Experiment;
  const hashes = () => hashesOf(experiment, join(src, "papers/01-x.ts"), src);
  beforeEach(() => {
    put("papers/01-x.ts", 'import { m } from "../methods/m.ts";\nimport { bench } from "./bench.ts";\nm(bench);');
    put("papers/bench.ts", "export const bench = 1;");
    put("methods/m.ts", 'import { add } from "../core/add.ts";\nexport const m = add;');
    put("core/add.ts", "export const add = (a: number, b: number) => a + b;");
    put("train/loop.ts", "export const loop = 3;");
  });
  afterAll(() => rmSync(src, { recursive: true, force: true }));

  test.for([
    ["the experiment", "papers/01-x.ts", true],
    ["what it imports from this folder", "papers/bench.ts", true],
    ["the method", "methods/m.ts", true],
    ["what it uses", "train/loop.ts", true],
    ["what its method imports: cells only", "core/add.ts", false],
  ] as const)("change with %s", ([, file, record]) => {
    const before = hashes();
    put(file, `${file === "core/add.ts" ? "" : 'import "../core/add.ts";'}export const other = 2;`);
    const after = hashes();
    expect(after.cells).not.toBe(before.cells);
    expect(after.record !== before.record).toBe(record);
  });

  test("do not change with comments and layout, nor from call to call", () => {
    const before = hashes();
    put("methods/m.ts", '/** A method. */\nimport {add} from "../core/add.ts"; // sums\n\nexport const m =\n  add;\n');
    expect(hashes()).toEqual(before);
  });

  test("a module that is not there is named", () => {
    const bad = { ...experiment, uses: ["train/gone.ts"] } as Experiment;
    expect(() => hashesOf(bad, join(src, "papers/01-x.ts"), src)).toThrow(/gone\.ts/);
  });
});
