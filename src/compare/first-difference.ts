/** Where two graphs part: the first value that differs, among those that can be compared. */
import { isFloat } from "../graph/dtype.js";
import type { Model } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import { applyPlan } from "../passes/remove-filters.js";
import type { FirstDifference } from "../report.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import type { PruningPlan } from "../score/plan.js";
import { bisect } from "../verify/bisect.js";
import { difference } from "../verify/difference.js";
import type { BisectFigures } from "./report.js";

/**
 * Bisects `a` and `b` on `feeds`. Values are compared where both have one of the same name and dims; what only one graph has,
 * or has in another width, is passed over. With the plan that made b of a, b is held against a with the removed
 * slices made ineffective, and values at the indices that were kept.
 * @throws PlanError when the plan is not one of `a`.
 */
export async function firstDifference(
  runner: Runner,
  a: Model,
  b: Model,
  feeds: Feeds,
  tolerance: number,
  plan: PruningPlan | undefined,
): Promise<BisectFigures> {
  if (plan) {
    const removal = applyPlan(a, plan);
    const shared = comparableValues(removal.source, b, () => true);
    const first = await bisect(runner, { reference: removal.oracle(), candidate: b, feeds, tolerance, removal });
    return { against: "a with the removed slices of the plan made ineffective", tolerance, ...counts(shared), first };
  }
  const bind = Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, t.dims]));
  const [types, others] = [infer(a, { bind }), infer(b, { bind })];
  const shared = comparableValues(a, b, (name) => dimsText(types, a, name) === dimsText(others, b, name));
  const first = await bisect(runner, { reference: a, candidate: b, feeds, tolerance, among: shared.names });
  return { against: "a", tolerance, ...counts(shared), first: first && withConstants(first, a, b) };
}

/** How far the constants that the node reads are apart: often they are the answer. */
function withConstants(first: FirstDifference, a: Model, b: Model): FirstDifference {
  const [mine, theirs] = [a, b].map((m) => m.graph.value(first.value)?.producer);
  if (!mine || mine.qualifiedType !== theirs?.qualifiedType) return first;
  const errorOf = (name: string): number | undefined => {
    const at = mine.inputs.findIndex((v) => v?.name === name);
    const [want, got] = [mine.inputs[at]?.constant, theirs.inputs[at]?.constant];
    if (!want || !got || !isFloat(want.dtype) || want.dtype !== got.dtype) return undefined;
    return String(want.dims) === String(got.dims) ? difference(got, want).maxRel : Number.POSITIVE_INFINITY;
  };
  return { ...first, inputs: first.inputs.map((i) => (i.constant ? { ...i, maxRel: errorOf(i.value) } : i)) };
}

interface Shared {
  readonly names: ReadonlySet<string>;
  readonly values: number;
}

function counts({ names, values }: Shared): Pick<BisectFigures, "comparable" | "values"> {
  return { comparable: names.size, values };
}

/** Values that nodes of `a` compute, and those of them that `b` has too. */
function comparableValues(a: Model, b: Model, isSame: (name: string) => boolean): Shared {
  const types = infer(a);
  const names = new Set<string>();
  let values = 0;
  for (const v of a.graph.nodes.flatMap((n) => n.outputs)) {
    const type = v && types.type(v);
    if (!v || v.constant || type?.kind !== "tensor" || !(isFloat(type.dtype) || v.isOutput) || types.content(v)) continue;
    values++;
    const other = b.graph.value(v.name);
    if (other && !other.constant && isSame(v.name)) names.add(v.name);
  }
  return { names, values };
}

function dimsText(types: Types, model: Model, name: string): string {
  const value = model.graph.value(name);
  return String((value && types.shape(value)) ?? "?");
}
