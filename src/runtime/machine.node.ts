/** Which machine, engine and version a measurement was made with. Node only. */
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { threads } from "../core/engine.ts";
import { hasRelaxedSimd } from "../kernels/probe.ts";
import type { ProfileKey } from "./profile.ts";

/** Where and with what a run was made. */
export interface Provenance {
  /** package version */
  readonly lacuna: string;
  /** ISO date and time of the start */
  readonly date: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly platform: string;
  };
  readonly node: string;
  readonly v8: string;
  readonly threads: number;
  /** relaxed multiply-add was used in timed runs */
  readonly fused: boolean;
}

/** The package's version, from its own package.json, wherever this file was bundled to. */
export function packageVersion(): string {
  for (const up of ["../package.json", "../../package.json"]) {
    try {
      const json: unknown = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8"));
      if (json && typeof json === "object" && "name" in json && json.name === "lacuna" && "version" in json)
        return String(json.version);
    } catch {
      // one level further up
    }
  }
  return "unknown";
}

export function provenance(): Provenance {
  return {
    lacuna: packageVersion(),
    date: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model.trim() ?? "unknown",
      cores: availableParallelism(),
      memoryBytes: totalmem(),
      platform: `${process.platform} ${process.arch}`,
    },
    node: process.versions.node,
    v8: process.versions.v8,
    threads: threads(),
    fused: hasRelaxedSimd(),
  };
}

export function profileKey(p: Provenance = provenance()): ProfileKey {
  return { cpu: p.machine.cpu, node: p.node, v8: p.v8, threads: p.threads, fused: p.fused, lacuna: p.lacuna };
}
