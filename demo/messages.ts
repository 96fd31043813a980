/** What page and worker say to each other. */

export type Order =
  | { readonly kind: "layers"; readonly size: number; readonly use: "decode" | "prefill" }
  | { readonly kind: "models"; readonly base: string; readonly prompt: string }
  | { readonly kind: "stop" };

/** Speed against the best dense form: median, quartiles. */
export interface Point {
  readonly form: string;
  readonly sparsity: number;
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
}

export type News =
  | { readonly kind: "engine"; readonly threads: number; readonly shared: boolean; readonly relaxed: boolean }
  | { readonly kind: "point"; readonly point: Point }
  | { readonly kind: "speed"; readonly rows: readonly SpeedRow[] }
  | { readonly kind: "text"; readonly piece: string }
  | { readonly kind: "done"; readonly seconds: number }
  | { readonly kind: "error"; readonly message: string };

export interface SpeedRow {
  readonly model: string;
  readonly decode: {
    readonly tokensPerSecond: number;
    readonly ratio: number;
    readonly low: number;
    readonly high: number;
  };
  readonly prefill: {
    readonly tokensPerSecond: number;
    readonly ratio: number;
    readonly low: number;
    readonly high: number;
  };
}
