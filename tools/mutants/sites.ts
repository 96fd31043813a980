/**
 * Where a kernel's source can be changed: one small change a site, found with the TypeScript compiler's syntax tree.
 *
 * Operators: calls of the assembler (add <-> sub, lt <-> le, signed <-> unsigned, ...), operators of TypeScript, numbers
 * one off, offsets of loads and stores, arguments of multiply-add and select, bounds of loops, guards that always hold,
 * statements left out. Types, messages and the parts of a kernel that describe or test it are left alone.
 */
import ts from "typescript";

export interface Site {
  /** from src/kernels/ on */
  readonly file: string;
  readonly line: number;
  readonly kind: string;
  readonly start: number;
  readonly end: number;
  /** what stands there instead; may use `__asm` (the assembler's exports) and `__hit()` (tells that it ran) */
  readonly code: string;
  /** the surroundings before and after, on one line: with the file, what a site is known by when lines move */
  readonly before: string;
  readonly after: string;
  /** which of the sites with the same file, before and after */
  readonly occurrence: number;
}

export const siteKey = (s: Pick<Site, "file" | "before" | "after" | "occurrence">): string =>
  [s.file, s.before, s.after, s.occurrence].join("\n");

const ASSEMBLER = /^(i32|i64|f32|f64|v128|i8x16|i16x8|i32x4|i64x2|f32x4|f64x2)$/;

/** Methods of the assembler and what a slip of the hand would have written; only where both exist for the type. */
const SWAPS: readonly (readonly [string, string])[] = [
  ["add", "sub"],
  ["lt", "le"],
  ["gt", "ge"],
  ["ltu", "leu"],
  ["gtu", "geu"],
  ["eq", "ne"],
  ["and", "or"],
  ["shrs", "shru"],
  ["min", "max"],
  ["pmin", "pmax"],
  ["mul", "div"],
  ["divs", "divu"],
  ["rems", "remu"],
  ["load8s", "load8u"],
  ["load16s", "load16u"],
  ["load8x8s", "load8x8u"],
  ["load16x4s", "load16x4u"],
  ["extendLowS", "extendLowU"],
  ["extendHighS", "extendHighU"],
  ["narrowS", "narrowU"],
  ["convertI32s", "convertI32u"],
  ["extendI32s", "extendI32u"],
  ["floor", "nearest"],
];
/** One way only. */
const TURNS: readonly (readonly [string, string])[] = [
  ["mul", "add"],
  ["shl", "shrs"],
  ["xor", "or"],
  ["andnot", "and"],
];

/** The same for `o.add(...)` of src/kernels/pointwise/lanes.ts: operations written once for one value and for four. */
const LANES: Readonly<Record<string, string>> = {
  ...{ add: "sub", sub: "add", mul: "div", div: "mul", lt: "gt", gt: "lt" },
  ...{ iadd: "isub", isub: "iadd", iand: "ior", ior: "iand", shr: "shru", shru: "shr" },
};

const swapOf = (method: string, exists: (name: string) => boolean): string | undefined =>
  [...SWAPS, ...SWAPS.map(([a, b]) => [b, a] as const), ...TURNS].find(([a, b]) => a === method && exists(b))?.[1];

const OPERATORS: Partial<Record<ts.SyntaxKind, string>> = {
  [ts.SyntaxKind.PlusToken]: "-",
  [ts.SyntaxKind.MinusToken]: "+",
  [ts.SyntaxKind.AsteriskToken]: "+",
  [ts.SyntaxKind.AsteriskAsteriskToken]: "*",
  [ts.SyntaxKind.SlashToken]: "*",
  [ts.SyntaxKind.PercentToken]: "*",
  [ts.SyntaxKind.LessThanToken]: "<=",
  [ts.SyntaxKind.LessThanEqualsToken]: "<",
  [ts.SyntaxKind.GreaterThanToken]: ">=",
  [ts.SyntaxKind.GreaterThanEqualsToken]: ">",
  [ts.SyntaxKind.EqualsEqualsEqualsToken]: "!==",
  [ts.SyntaxKind.ExclamationEqualsEqualsToken]: "===",
  [ts.SyntaxKind.AmpersandAmpersandToken]: "||",
  [ts.SyntaxKind.BarBarToken]: "&&",
  [ts.SyntaxKind.LessThanLessThanToken]: ">>",
  [ts.SyntaxKind.GreaterThanGreaterThanToken]: "<<",
  [ts.SyntaxKind.GreaterThanGreaterThanGreaterThanToken]: ">>",
  [ts.SyntaxKind.AmpersandToken]: "|",
  [ts.SyntaxKind.BarToken]: "&",
  [ts.SyntaxKind.CaretToken]: "|",
};

/** Parts of a kernel that describe or test it. */
const DESCRIBES = new Set(["name", "family", "summary", "functions", "params", "does", "trials", "ladder"]);

/** A trial or twin written beside its kernel: what draws a case, arranges it in a sandbox, or says what is right. */
function isTrial(node: ts.Node, source: ts.SourceFile): boolean {
  if (ts.isVariableDeclaration(node)) return /\b(Trial|Ladder|Rung)\b/.test(node.type?.getText(source) ?? "");
  if (!ts.isFunctionLike(node) || ts.isTypeNode(node)) return false;
  if (ts.isFunctionDeclaration(node) && /Twin$/.test(node.name?.text ?? "")) return true;
  return node.parameters.some((p) => /^(draw|box)$/.test(p.name.getText(source)));
}

const describes = (node: ts.Node, source: ts.SourceFile): boolean =>
  (ts.isPropertyAssignment(node) && DESCRIBES.has(node.name.getText(source))) || isTrial(node, source);

/** Statements of a file that only its trials and descriptions use: the twin beside a kernel, what draws its operands. */
function onlyForTrials(source: ts.SourceFile): ReadonlySet<ts.Statement> {
  const exported = (s: ts.Statement): boolean =>
    ts.canHaveModifiers(s) && (ts.getModifiers(s) ?? []).some((m) => m.kind === ts.SyntaxKind.ExportKeyword);
  const parts = source.statements
    .filter((s) => ts.isFunctionDeclaration(s) || ts.isVariableStatement(s))
    .map((s) => {
      const uses = new Set<string>();
      const collect = (node: ts.Node): void => {
        // `functions` names the emitters of a kernel made by `defineKernel`, and only describes those of another
        const named = ts.isPropertyAssignment(node) && node.name.getText(source) === "functions";
        if (!named && describes(node, source)) return;
        if (ts.isIdentifier(node)) uses.add(node.text);
        ts.forEachChild(node, collect);
      };
      ts.forEachChild(s, collect);
      const named = ts.isVariableStatement(s) ? s.declarationList.declarations.map((d) => d.name) : [s.name!];
      const names = named.flatMap((n) => n.getText(source).match(/\w+/g) ?? []);
      return { s, uses, names };
    });
  const wanted = new Set(parts.filter(({ s }) => exported(s)));
  for (let before = -1; before < wanted.size; ) {
    before = wanted.size;
    const used = new Set([...wanted].flatMap(({ uses }) => [...uses]));
    for (const part of parts) if (part.names.some((n) => used.has(n))) wanted.add(part);
  }
  return new Set(parts.filter((p) => !wanted.has(p)).map(({ s }) => s));
}

/** The assembler's methods by type, e.g. `i32` -> `add`, `sub`, ... */
export type Methods = Readonly<Record<string, ReadonlySet<string>>>;

/** `add` in `const add = i32.add`, `const { add } = i32`, or imported from a file that has it so. */
function aliasesOf(source: ts.SourceFile): ReadonlySet<string> {
  const names = new Set<string>();
  for (const s of source.statements) {
    if (ts.isImportDeclaration(s) && s.importClause?.namedBindings && ts.isNamedImports(s.importClause.namedBindings)) {
      for (const e of s.importClause.namedBindings.elements) names.add(e.name.text);
    }
    if (!ts.isVariableStatement(s)) continue;
    for (const d of s.declarationList.declarations) {
      const from = d.initializer?.getText(source) ?? "";
      if (ts.isObjectBindingPattern(d.name) && from === "i32") {
        for (const e of d.name.elements) names.add(e.name.getText(source));
      } else if (from === `i32.${d.name.getText(source)}`) names.add(d.name.getText(source));
    }
  }
  return names;
}
/** Short names that the kernels give to methods of i32; `min`, `max` and the like are functions of their own. */
const SHORT = new Set(["add", "sub", "mul", "shl", "lt", "ltu", "le", "gt", "ge", "eq", "ne", "and"]);

export function findSites(file: string, text: string, methods: Methods): Site[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  const aliases = aliasesOf(source);
  const idle = onlyForTrials(source);
  const found: Site[] = [];
  const seen = new Map<string, number>();

  const add = (kind: string, start: number, end: number, code: string, shown = code): void => {
    const lineStart = text.lastIndexOf("\n", start - 1) + 1;
    const lineEnd = text.indexOf("\n", end) < 0 ? text.length : text.indexOf("\n", end);
    const flat = (s: string): string => s.replace(/\s+/g, " ");
    const short = (s: string): string => (s.length > 110 ? `${s.slice(0, 60)} ... ${s.slice(-45)}` : s);
    const [head, tail] = [
      text.slice(Math.max(lineStart, start - 50), start),
      text.slice(end, Math.min(lineEnd, end + 50)),
    ];
    const around = (inner: string): string => flat(`${head}${short(flat(inner))}${tail}`).trim();
    const [before, after] = [around(text.slice(start, end)), around(shown)];
    if (before === after) return;
    const same = [file, before, after].join("\n");
    const occurrence = seen.get(same) ?? 0;
    seen.set(same, occurrence + 1);
    const line = source.getLineAndCharacterOfPosition(start).line + 1;
    found.push({ file, line, kind, start, end, code, before, after, occurrence });
  };
  const replace = (kind: string, node: ts.Node, code: string, shown = code): void =>
    add(kind, node.getStart(source), node.getEnd(), `(__hit(), ${code})`, shown);

  const callSites = (node: ts.CallExpression): void => {
    const { expression: callee, arguments: args } = node;
    const said = (n: ts.Node): string => n.getText(source);
    const method = ts.isPropertyAccessExpression(callee) ? callee.name.text : said(callee);
    const owner = ts.isPropertyAccessExpression(callee) ? said(callee.expression) : "";
    const type = ASSEMBLER.test(owner) ? owner : SHORT.has(method) && aliases.has(method) && !owner ? "i32" : "";
    if (type !== "" && methods[type]) {
      const other = swapOf(method, (name) => methods[type].has(name));
      if (other) replace("opcode", callee, `__asm.${type}.${other}`, owner ? `${type}.${other}` : other);
      const access = /^(load|store)/.exec(method);
      if (access && !/lane$/.test(method)) {
        const place = access[1] === "load" ? 1 : 2;
        const by = type === "v128" && !/splat|zero|store32|store64/.test(method) ? 16 : 4;
        if (args.length > place)
          replace("offset", args[place], `(${said(args[place])}) + ${by}`, `${said(args[place])} + ${by}`);
        else if (args.length === place && !args.some(ts.isSpreadElement)) {
          add("offset", node.getEnd() - 1, node.getEnd(), `, (__hit(), ${by}))`, `, ${by})`);
        }
      }
      if (access?.[1] === "store") replace("statement", node, "__asm.nop", "nop");
    } else if (owner === "o") {
      if (LANES[method]) replace("opcode", callee, `o.${LANES[method]}`);
      if (method === "choose") {
        const [a, b, truth] = args.map(said);
        replace("argument", node, `o.choose(${b}, ${a}, ${truth})`);
      }
      if (method === "store") replace("statement", node, "__asm.nop", "nop");
    } else if (method === "set") replace("statement", node, "__asm.nop", "nop");
    if (owner !== "") return;
    if (method === "madd" && args.length === 4) {
      const [fused, a, b, c] = args.map(said);
      replace("argument", node, `madd(${fused}, ${a}, ${c}, ${b})`);
    }
    if (method === "select" && args.length === 3) {
      const [a, b, c] = args.map(said);
      replace("argument", node, `select(${b}, ${a}, ${c})`);
    }
    if (method === "when") {
      if (args.length === 2) replace("guard", node, said(args[1]));
      replace("statement", node, "__asm.nop", "nop");
    }
    if (method === "brIf" || method === "whileLoop") replace("statement", node, "__asm.nop", "nop");
    if (method === "forRange" && args.length > 4) {
      const [, from, to] = args;
      replace("bound", from, `__asm.i32.add(${said(from)}, __asm.i32.const(1))`, `${said(from)} + 1`);
      replace("bound", to, `__asm.i32.sub(${said(to)}, __asm.i32.const(1))`, `${said(to)} - 1`);
    }
  };

  const isText = (n: ts.Node): boolean => ts.isStringLiteralLike(n) || ts.isTemplateExpression(n);
  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return;
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node) || ts.isThrowStatement(node)) return;
    if (ts.isTemplateExpression(node) || describes(node, source) || idle.has(node as ts.Statement)) return;
    if (ts.isPropertyAssignment(node)) {
      visit(node.initializer); // a number may be a key
      return;
    }
    if (ts.isCallExpression(node)) callSites(node);
    else if (ts.isBinaryExpression(node)) {
      const other = OPERATORS[node.operatorToken.kind];
      if (other && !isText(node.left) && !isText(node.right)) {
        const [l, r] = [node.left.getText(source), node.right.getText(source)];
        // `-a ** b` may not be written; parentheses keep the precedence whatever the new operator is.
        replace("operator", node, `((${l}) ${other} (${r}))`, `${l} ${other} ${r}`);
      }
    } else if (ts.isNumericLiteral(node)) {
      const value = Number(node.text);
      const column = source.getLineAndCharacterOfPosition(node.getStart(source)).character;
      const down = value > 0 && column % 2 === 0;
      const whole = Number.isInteger(value);
      const next = whole ? (down ? value - 1 : value + 1) : value * 1.01;
      replace("constant", node, String(next));
    } else if (ts.isBigIntLiteral(node)) replace("constant", node, `(${node.text} + 1n)`, `${node.text} + 1n`);
    else if (ts.isIfStatement(node) || ts.isConditionalExpression(node)) {
      const condition = ts.isIfStatement(node) ? node.expression : node.condition;
      replace("condition", condition, `!(${condition.getText(source)})`);
    } else if (ts.isExpressionStatement(node) && !/\.func\(|^driver\(/.test(node.getText(source))) {
      add("statement", node.getStart(source), node.getEnd(), "__hit();", ";");
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** The file with one site changed. */
export const applySite = (text: string, site: Site): string =>
  text.slice(0, site.start) + site.code + text.slice(site.end);
