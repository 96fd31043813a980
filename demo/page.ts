/** The page of the demo: starts the worker, keeps what it tells, draws. */
import * as Plot from "@observablehq/plot";
import type { News, Order, Point, SpeedRow } from "./messages.ts";

const NAMES: Readonly<Record<string, string>> = {
  csr: "CSR (unstructured)",
  block2x1: "2x1 blocks",
  block4x1: "4x1 blocks",
};
const COLOURS: Readonly<Record<string, string>> = { csr: "#d1580c", block2x1: "#0d9070", block4x1: "#2f7fc6" };

const element = <E extends HTMLElement>(id: string): E => {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found as E;
};
const status = element("status");
const chart = element("chart");
const verdict = element("verdict");
const speeds = element("speeds");
const text = element("text");
const buttons = ["run-layers", "run-models"].map((id) => element<HTMLButtonElement>(id));
const worker = new Worker("worker.js", { type: "module" });
let points: Point[] = [];

/** Where a form's curve crosses 1, by a straight line between its points; undefined when it does not. */
function breakEven(form: string): number | undefined {
  const curve = points.filter((p) => p.form === form);
  if (curve.length > 0 && curve[0].ratio >= 1) return curve[0].sparsity;
  for (let i = 1; i < curve.length; i++) {
    const [a, b] = [curve[i - 1], curve[i]];
    if (a.ratio < 1 && b.ratio >= 1)
      return a.sparsity + ((1 - a.ratio) / (b.ratio - a.ratio)) * (b.sparsity - a.sparsity);
  }
  return undefined;
}

function draw(): void {
  const named = points.map((p) => ({ ...p, layout: NAMES[p.form] ?? p.form, percent: 100 * p.sparsity }));
  chart.replaceChildren(
    Plot.plot({
      width: Math.min(720, chart.clientWidth || 720),
      height: 360,
      style: { fontSize: "13px", background: "none" },
      x: { label: "zeros, %", domain: [15, 100] },
      y: { label: "times as fast as the best dense kernel", type: "log", grid: true, tickFormat: (d) => `${d}` },
      color: { legend: true, domain: Object.values(NAMES), range: Object.keys(NAMES).map((k) => COLOURS[k]) },
      marks: [
        Plot.ruleY([1], { stroke: "currentColor", strokeDasharray: "4,3" }),
        Plot.ruleX(named, { x: "percent", y1: "low", y2: "high", stroke: "layout", strokeOpacity: 0.5 }),
        Plot.lineY(named, { x: "percent", y: "ratio", stroke: "layout", strokeWidth: 2 }),
        Plot.dot(named, { x: "percent", y: "ratio", fill: "layout", r: 3.5, tip: true }),
      ],
    }),
  );
  const said = Object.entries(NAMES)
    .filter(([form]) => points.some((p) => p.form === form))
    .map(([form, name]) => {
      const at = breakEven(form);
      if (at === undefined) return `${name}: no gain yet`;
      const first = points.find((p) => p.form === form)?.sparsity ?? 0;
      return `${name}: pays from ${at <= first ? "at most " : "about "}${Math.round(100 * at)} %`;
    });
  verdict.textContent = said.length > 0 ? `${said.join("; ")}.` : "";
}

function table(rows: readonly SpeedRow[]): void {
  const cell = (tag: "td" | "th", words: string): HTMLElement => {
    const c = document.createElement(tag);
    c.textContent = words;
    return c;
  };
  const line = (tag: "td" | "th", words: readonly string[]): HTMLElement => {
    const tr = document.createElement("tr");
    tr.append(...words.map((w) => cell(tag, w)));
    return tr;
  };
  const used = (s: SpeedRow["decode"], first: boolean): string[] => [
    `${Math.round(s.tokensPerSecond).toLocaleString("en")} tokens/s`,
    first ? "1" : `${s.ratio.toFixed(2)} (${s.low.toFixed(2)} to ${s.high.toFixed(2)})`,
  ];
  speeds.replaceChildren(
    line("th", ["model", "decode", "over dense", "prefill", "over dense"]),
    ...rows.map((r, i) => line("td", [r.model, ...used(r.decode, i === 0), ...used(r.prefill, i === 0)])),
  );
}

const order = (o: Order): void => worker.postMessage(o);
const busy = (is: boolean): void => {
  for (const b of buttons) b.disabled = is;
  element<HTMLButtonElement>("stop").disabled = !is;
};

worker.addEventListener("error", (e) => {
  status.textContent = `The engine did not start: ${e.message || "no module workers, or no WebAssembly SIMD"}.`;
});
worker.addEventListener("message", ({ data }: MessageEvent<News>) => {
  if (data.kind === "engine") {
    const threads = data.shared
      ? `${data.threads} threads`
      : "one thread, since this page is not cross-origin isolated (it needs the COOP and COEP headers)";
    const fused = data.relaxed ? ", with fused multiply-add" : "";
    status.textContent = `WebAssembly SIMD${fused}, ${threads}.`;
    busy(false);
  } else if (data.kind === "point") {
    points.push(data.point);
    draw();
  } else if (data.kind === "speed") table(data.rows);
  else if (data.kind === "text") text.append(data.piece);
  else if (data.kind === "done") {
    element("took").textContent = `Took ${data.seconds.toFixed(1)} s.`;
    busy(false);
  } else {
    element("took").textContent = data.message;
    busy(false);
  }
});

element("run-layers").addEventListener("click", () => {
  points = [];
  draw();
  busy(true);
  element("took").textContent = "Measuring…";
  const size = Number(element<HTMLSelectElement>("size").value);
  order({ kind: "layers", size, use: element<HTMLSelectElement>("use").value as "decode" | "prefill" });
});
element("run-models").addEventListener("click", () => {
  const prompt = element<HTMLInputElement>("prompt").value;
  text.textContent = prompt;
  busy(true);
  element("took").textContent = "Measuring…";
  order({ kind: "models", base: new URL("../models", location.href).href, prompt });
});
element("stop").addEventListener("click", () => order({ kind: "stop" }));
draw();
