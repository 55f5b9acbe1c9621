/** The groups of a model as plain data, and what lies outside them. */

import { isTypedPerUse } from "../graph/coupling/couple.js";
import type { Coupling, Group } from "../graph/coupling/groups.js";
import { isKnown } from "../graph/dim.js";
import { everyNode, type Node } from "../graph/graph.js";
import { findPools } from "../score/pools.js";

export interface GroupFacts {
  readonly name: string;
  readonly channels: number;
  /** Constants that make the channels, sum over them, and act on each, as value:axis. */
  readonly producers: readonly string[];
  readonly consumers: readonly string[];
  readonly vectors: readonly string[];
  readonly nodes: readonly string[];
  /** How channels must leave, where not one by one. */
  readonly balanced?: string;
  /** Why no channel of it can leave, all constraints considered. */
  readonly declined?: string;
}

export function groupFacts(coupling: Coupling): GroupFacts[] {
  const { pools, declined } = findPools(coupling);
  const why = new Map(declined.map((d) => [d.group, d.why]));
  const balance = new Map<Group, string>();
  for (const pool of pools) {
    if (pool.cells.length === 1 && pool.cells[0]?.taken[1] === 1 && pool.groups.length === 1) continue;
    const together = pool.groups.length > 1 ? ` with ${pool.groups.length - 1} other groups` : "";
    for (const g of pool.groups) balance.set(g, `balanced: ${pool.cells.length} parts lose equally many${together}`);
  }
  return coupling.groups.map((g): GroupFacts => {
    const slots = (role: Group["slots"][number]["role"]) => [
      ...new Set(g.slots.filter((s) => s.role === role).map((s) => `${s.value.name}:${s.axis}`)),
    ];
    const [balanced, refused] = [balance.get(g), why.get(g)];
    return {
      name: g.name,
      channels: g.choices.length,
      producers: slots("producer"),
      consumers: slots("consumer"),
      vectors: slots("vector"),
      nodes: g.nodes.map((n) => n.label),
      ...(balanced ? { balanced } : {}),
      ...(refused ? { declined: refused } : {}),
    };
  });
}

const PRODUCTS: ReadonlySet<string> = new Set(["Conv", "ConvTranspose", "Gemm", "MatMul"]);

/** Elements of the weights of convolutions and matrix products; `prunable` counts those on a group that is not `declined`. */
export function prunableShare(coupling: Coupling, declined: ReadonlySet<string>): { readonly all: number; readonly prunable: number } {
  const touched = new Set(coupling.groups.filter((g) => !declined.has(g.name)).flatMap((g) => g.slots.map((s) => s.value)));
  const weights = new Set(
    [...everyNode(coupling.typing.model.graph)]
      .filter((n) => n.isStandard && PRODUCTS.has(n.opType))
      .flatMap((n) => n.inputs.filter((v) => (v?.constant?.dims.length ?? 0) >= 2)),
  );
  let all = 0;
  let prunable = 0;
  for (const v of weights) {
    const size = v?.constant?.size ?? 0;
    all += size;
    if (v && touched.has(v)) prunable += size;
  }
  return { all, prunable };
}

export interface FrozenReason {
  /** The reason, names in it replaced by "…" where they differ. */
  readonly why: string;
  readonly axes: number;
  readonly example: string;
}

/** Axes of constants of rank 2 and more that cannot lose an index, by reason, most frequent first. Extents of 1 are left out. */
export function frozenReasons(coupling: Coupling): FrozenReason[] {
  const { typing } = coupling;
  const reasons = new Map<string, { whys: Set<string>; axes: number; example: string }>();
  const seen = new Set<unknown>();
  const visit = (node: Node, index: number) => {
    const value = node.inputs[index];
    if (!value?.constant || isTypedPerUse(value) || seen.has(value)) return;
    seen.add(value);
    typing.axesOf(value)?.forEach((axis, i) => {
      const why = typing.system.reason(axis);
      if (!why || !isKnown(axis.size) || axis.size <= 1) return;
      const key = why.text.replace(/"[^"]*"/g, "…");
      const of = reasons.get(key) ?? {
        whys: new Set<string>(),
        axes: 0,
        example: `${value.name}:${i}${why.node ? ` at ${why.node}` : ""}`,
      };
      of.whys.add(why.text);
      of.axes++;
      reasons.set(key, of);
    });
  };
  for (const node of everyNode(typing.model.graph)) for (const index of node.inputs.keys()) visit(node, index);
  return [...reasons]
    .map(([key, { whys, axes, example }]) => ({ why: whys.size === 1 ? ([...whys][0] as string) : key, axes, example }))
    .sort((a, b) => b.axes - a.axes || (a.why < b.why ? -1 : 1));
}
