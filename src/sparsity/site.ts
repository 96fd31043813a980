/** Sites: the weights of a network that a method may prune, chosen by role and name. */
import { demand } from "../core/errors.ts";
import type { Net } from "../nn/net.ts";
import type { Param, Role } from "../nn/param.ts";
import type { LayerShape } from "./pattern.ts";

/** A parameter as budgets, scores and methods see it: [rows, columns] with all but the first axis flattened. */
export interface Site extends LayerShape {
  /** position among the sites, which names it in hashes and lists */
  readonly index: number;
  readonly shape: readonly number[];
  readonly numel: number;
  readonly role: Role;
  /** multiply-adds of one example when dense */
  readonly macs: number;
  readonly param: Param;
}

export interface SiteOptions {
  /** default: weights, stems, heads, depthwise and edges: all of rank 2 and more but embeddings */
  readonly roles?: readonly Role[];
  /** parameters to leave out, by name */
  readonly except?: readonly string[];
}

const PRUNABLE: readonly Role[] = ["weight", "stem", "head", "depthwise", "edge"];

export function siteOf(param: Param, index: number): Site {
  const { name, shape, numel, role } = param;
  const rows = shape[0];
  return { name, index, shape, rows, columns: numel / rows, numel, role, macs: numel * param.uses, param };
}

/** Sites of a network in the order of its parameters; never norms or biases. Throws `LacunaError` if there are none. */
export function sitesOf(net: Net, { roles = PRUNABLE, except = [] }: SiteOptions = {}): readonly Site[] {
  const chosen = net.params.filter((p) => p.shape.length >= 2 && roles.includes(p.role) && !except.includes(p.name));
  demand(chosen.length > 0, () => ({
    about: "sites",
    expected: `at least one weight of role ${roles.join(", ")}`,
    got: net.params.map((p) => `${p.name} (${p.role})`).join(", "),
    hint: "Name other roles, or leave fewer parameters out.",
  }));
  return chosen.map(siteOf);
}

/** The embedding tables of a network. */
export const embeddingSites = (net: Net): readonly Site[] => sitesOf(net, { roles: ["embedding"] });
