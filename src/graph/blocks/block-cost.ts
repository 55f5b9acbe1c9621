/** What leaves with a block, in multiply-accumulates and parameters. */
import type { Cost } from "../cost.js";
import { isFloat } from "../dtype.js";
import type { Tensor } from "../tensor.js";
import type { Block } from "./find.js";

export interface BlockCost {
  /** Of one run at batch 1, as cost() counts; undefined for a block in a body. */
  readonly macs: number | undefined;
  /** Elements of float constants that only nodes of the block read. */
  readonly parameters: number;
}

/** `cost` is of the model the block was found in. */
export function blockCost({ add, nodes }: Block, cost: Cost): BlockCost {
  const inside = new Set(nodes);
  const own = new Set<Tensor>();
  for (const v of nodes.flatMap((n) => n.inputs)) {
    if (v?.constant && isFloat(v.constant.dtype) && !v.isOutput && v.uses().every((use) => inside.has(use.node))) own.add(v.constant);
  }
  const parameters = [...own].reduce((n, t) => n + t.size, 0);
  if (add.graph?.owner) return { macs: undefined, parameters };
  return { macs: cost.byNode.reduce((n, c) => n + (inside.has(c.node) ? c.macs : 0), 0), parameters };
}
