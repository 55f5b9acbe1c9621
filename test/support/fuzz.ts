/** One seed of the fuzz test: a random graph, a random removal, and what came of it. */
import { BudgetError } from "../../src/errors.js";
import { Kept } from "../../src/graph/coupling/choices.js";
import { type Coupling, findGroups } from "../../src/graph/coupling/groups.js";
import { makePlan } from "../../src/score/budget.js";
import { resolvePlan } from "../../src/score/plan.js";
import { random } from "../../src/score/random.js";
import { maskedOf } from "../../src/verify/masked.js";
import { prove, randomRemoval, relative } from "./oracle.js";
import { extentOf, modelOfRecipe, type Recipe, shrink, textOf } from "./recipe.js";
import { run } from "./run.js";

/** Relative error allowed: the graphs run in float32 and sum the same terms in other orders. */
const TOLERANCE = 1e-5;
/** Where the graph amplifies a rounding of its inputs, its sums may differ by as much, some dozens of times over. */
const AMPLIFIED = 50;
/** Outputs beyond this are left out: float32 has no digits to compare. */
const LARGEST = 1e8;
export type Outcome = { readonly kind: "equal" | "unchanged" | "overflow" } | Failure;

/** A failure: of pruning ("wrong", "crash") or of the generator ("unrunnable"). */
export interface Failure {
  readonly kind: "wrong" | "crash" | "unrunnable";
  readonly why: string;
}

/** Prunes the graph of a recipe at random, and compares with both oracles. */
export async function tryRecipe(recipe: Recipe, seed: number): Promise<Outcome> {
  try {
    const model = modelOfRecipe(recipe);
    const refused = await run(model, { seed, extent: extentOf }).then(
      () => undefined,
      (error: Error) => error.message,
    );
    // A mistake of the generator, not of what it tests.
    if (refused !== undefined) return { kind: "unrunnable", why: refused };
    const coupling = findGroups(model);
    const removed = removalOf(coupling, seed);
    if (removed.size === 0) return { kind: "unchanged" };
    const options = { seed, batch: recipe.dynamicBatch ? 3 : 2, extent: extentOf };
    const { maxRel, noise, scale, oracle } = await prove(coupling, removed, options);
    if (!(scale <= LARGEST)) return { kind: "overflow" };
    const allowed = Math.max(TOLERANCE, AMPLIFIED * noise);
    if (!(maxRel <= allowed)) return { kind: "wrong", why: `relative error ${maxRel}, where rounding of inputs makes ${noise}` };
    const kept = new Kept(coupling.typing.system, coupling.choices, removed);
    const masked = maskedOf(coupling.typing, kept, seed % 2 === 0 ? "first" : "last");
    const apart = masked ? relative(await run(masked, options), await run(oracle, options)) : 0;
    return apart <= allowed ? { kind: "equal" } : { kind: "wrong", why: `the oracles differ by ${apart}: an op that sums does not` };
  } catch (error) {
    return { kind: "crash", why: (error as Error).stack ?? String(error) };
  }
}

/** One seed in three goes through the planner, the others remove at random. */
function removalOf(coupling: Coupling, seed: number): Set<number> {
  if (seed % 3 !== 0) return randomRemoval(coupling, seed, seed % 2 === 0 ? 0.5 : undefined);
  try {
    const { plan } = makePlan(coupling.typing.model, {
      criterion: random,
      options: {},
      target: { ratio: 0.5 },
      scope: seed % 2 === 0 ? "local" : "global",
      align: 1,
      seed,
      measure: () => 1,
      note: () => undefined,
    });
    const kept = resolvePlan(plan, coupling, undefined);
    return new Set(Array.from({ length: coupling.choices.count }, (_, c) => c).filter((c) => kept.isRemoved(c)));
  } catch (error) {
    if (error instanceof BudgetError && error.code === "BUDGET_NOTHING_TO_PRUNE") return new Set();
    // So small a graph may not come near a half, or not at all.
    if (error instanceof BudgetError) return randomRemoval(coupling, seed);
    throw error;
  }
}

/** A failure as text: the smallest graph found that still fails alike. */
export async function report(recipe: Recipe, seed: number, outcome: Failure): Promise<string> {
  const headOf = (why: string) =>
    why
      .split("\n")[0]
      ?.replace(/[0-9.e+-]+/g, "#")
      .slice(0, 60);
  const small = await shrink(recipe, async (r) => {
    const o = await tryRecipe(r, seed);
    return o.kind === outcome.kind && (o.kind !== "crash" || headOf(o.why) === headOf(outcome.why));
  });
  const again = await tryRecipe(small, seed);
  return `seed ${seed}: ${again.kind}: ${"why" in again ? again.why : ""}\n${textOf(small)}`;
}
