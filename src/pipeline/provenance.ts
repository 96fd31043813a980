/** Where and with what a run was made. Node only. */
import { availableParallelism, cpus, platform, release, totalmem } from "node:os";
import { threads } from "../core/engine.ts";
import { hasRelaxedSimd } from "../kernels/probe.ts";
import type { Provenance } from "./record.ts";

export function provenance(version: string): Provenance {
  return {
    lacuna: version,
    date: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model.trim() ?? "unknown",
      cores: availableParallelism(),
      memoryBytes: totalmem(),
      platform: `${platform()} ${release()}`,
    },
    node: process.versions.node,
    v8: process.versions.v8,
    threads: threads(),
    fused: hasRelaxedSimd(),
  };
}
