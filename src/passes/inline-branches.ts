/** inline-branches: an If whose condition is the same in every run becomes the nodes of the branch it takes. */
import { z } from "zod";
import { everyNode, type Graph, type Model, type Node, releaseCaptures } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import { inline } from "../graph/inline.js";
import { conditionOf } from "../graph/ops/control-flow.js";
import { definePass } from "./pass.js";

/**
 * The condition is a constant, or asks about ranks and extents that the model fixes: exporters guard cases with
 * `if x.shape[1] == 1`, and the branch that is never taken often contradicts the shapes at hand.
 */
export const inlineBranches = definePass({
  name: "inline-branches",
  summary: "replace each If whose condition is always the same by the branch it takes",
  options: z.strictObject({}),
  effect: "exact",

  run(model: Model) {
    let changed = false;
    // Taking a branch may settle what another asks about.
    for (let round = takeBranches(model); round; round = takeBranches(model)) changed = true;
    return changed;
  },
});

/** One round, outer to inner: what stands in a branch taken just now is looked at in the next. */
function takeBranches(model: Model): boolean {
  const types = infer(model);
  const replaced = new Set<Node>();
  for (const node of [...everyNode(model.graph)]) {
    const branch = takenBranch(node, types);
    if (!branch || isInside(node, replaced)) continue;
    replaced.add(node);
    takeBranch(node, branch);
  }
  return replaced.size > 0;
}

function isInside(node: Node, replaced: ReadonlySet<Node>): boolean {
  for (let owner = node.graph?.owner; owner; owner = owner.graph?.owner) if (replaced.has(owner)) return true;
  return false;
}

function takeBranch(node: Node, branch: Graph): void {
  const graph = node.graph as Graph;
  const branches = node.subgraphs();
  // Without its branches their names are free.
  for (const name of [...node.attributes.keys()]) node.setAttribute(name, undefined);
  inline(node, branch, { inputs: new Map(), rename: (name) => graph.freshName(name), sharesSymbols: true });
  for (const b of branches) releaseCaptures(b);
}

function takenBranch(node: Node, types: Types): Graph | undefined {
  if (!node.isStandard || node.opType !== "If") return undefined;
  const condition = conditionOf(types.context(node));
  if (condition === undefined) return undefined;
  const branch = node.attributes.get(condition === 0 ? "else_branch" : "then_branch");
  return branch?.kind === "graph" ? branch.value : undefined;
}
