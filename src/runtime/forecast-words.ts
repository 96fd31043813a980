/** What a forecast says in words: where each pattern pays, what a useful sparsity gives, what only makes it smaller. */
import type { BreakEven, ForecastPattern, ModelCurve, UseForecast } from "./forecast.ts";

const percent = (x: number): string => `${Math.round(100 * x)} %`;
const times = (x: number): string => x.toFixed(1);

/** "from 35 %", or nothing where it never pays. */
function from(b: BreakEven): string | undefined {
  if (!b) return undefined;
  return b.kind === "below"
    ? `from ${percent(b.sparsity)} or less`
    : `from ${percent(Math.ceil(b.sparsity * 20) / 20)}`;
}

const curveOf = (f: UseForecast, pattern: ForecastPattern): ModelCurve | undefined =>
  f.model.find((c) => c.pattern === pattern);

function pays(name: string, decode: BreakEven, prefill: BreakEven): string {
  const d = from(decode);
  const p = from(prefill);
  if (d && p) return d === p ? `${name} pays ${d}` : `${name} pays ${p} in prefill and ${d} in decode`;
  if (p) return `${name} pays ${p} in prefill and never in decode`;
  if (d) return `${name} pays ${d} in decode and never in prefill`;
  return `${name} does not pay at any sparsity measured`;
}

/** The sparsity whose gain is quoted: high enough to matter, low enough that quality can be kept. */
const QUOTED = 0.7;

export function recommend(decode: UseForecast, prefill: UseForecast): string {
  const said: string[] = [];
  const block = [curveOf(decode, "4x1"), curveOf(prefill, "4x1")] as const;
  if (block[0] && block[1]) {
    const at = (c: ModelCurve) => c.points.find((p) => Math.abs(p.sparsity - QUOTED) < 1e-6);
    const [d, p] = [at(block[0]), at(block[1])];
    let text = `On this machine ${pays("4x1", block[0].breakEven, block[1].breakEven)}`;
    if (d && p && (d.model > 1 || p.model > 1)) {
      text += `; at ${percent(QUOTED)} this model runs ${times(d.model)} times as fast in decode and ${times(p.model)} in prefill`;
    }
    said.push(`${text}.`);
  }
  const nm = [curveOf(decode, "N:M@4x1")?.points[0], curveOf(prefill, "N:M@4x1")?.points[0]] as const;
  if (nm[0] && nm[1]) said.push(`${nm[0].pattern}: ${times(nm[0].model)} in decode, ${times(nm[1].model)} in prefill.`);
  const loose = [curveOf(decode, "unstructured"), curveOf(prefill, "unstructured")] as const;
  if (loose[0] && loose[1]) {
    const text = pays("Unstructured sparsity", loose[0].breakEven, loose[1].breakEven);
    const both = loose[0].breakEven?.kind === "below" && loose[1].breakEven?.kind === "below";
    said.push(both ? `${text}.` : `${text}; short of that it makes the model smaller, not faster.`);
  }
  return said.length > 0 ? said.join(" ") : "No pattern with a kernel fits the shapes of this model.";
}
