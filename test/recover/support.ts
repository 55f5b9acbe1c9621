/** Recovery in tests: samples made of normal numbers, a pruned model by plan, distances of outputs. */
import { modelInputs } from "../../src/calibrate/model-inputs.js";
import { openSamples, type Samples } from "../../src/calibrate/samples.js";
import type { Model } from "../../src/graph/graph.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { removeDead } from "../../src/passes/remove-dead.js";
import { applyPlan, type Removal } from "../../src/passes/remove-filters.js";
import { runPass } from "../../src/passes/run-pass.js";
import { pairingOf } from "../../src/recover/pairing.js";
import { type Recovered, type RecoverOptions, recover } from "../../src/recover/recover.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { planSchema } from "../../src/score/plan.js";

export const normalSamples = (model: Model, count: number, seed = 0): Promise<Samples> =>
  openSamples(`random:${count}`, { ...modelInputs(model), seed });

/** `model` without the channels that `remove` names ("value:axis" → indices). */
export function prunedBy(model: Model, remove: Readonly<Record<string, readonly number[]>>): { removal: Removal; pruned: Model } {
  model.sha256 = "0".repeat(64);
  const removal = applyPlan(model, planSchema.parse({ format: 1, model: model.sha256, remove }));
  return { removal, pruned: runPass(removeDead, removal.result).model };
}

export async function recovered(
  runner: Runner,
  original: Model,
  pruned: Model,
  samples: Samples,
  options: RecoverOptions = { method: "least-squares" },
  removal?: Removal,
): Promise<Recovered> {
  return recover(runner, pruned, pairingOf(original, pruned, removal), samples, options);
}

/** max|a − b| / max|a| over the first output, on other samples than those of `normalSamples`' default seed. */
export async function distance(runner: Runner, a: Model, b: Model, count = 16): Promise<number> {
  const samples = await normalSamples(a, count, 99);
  const rows = async (m: Model) => {
    const session = await runner.load(sourceOf(m), { optimization: "disabled" });
    const outputs = await session.run(await samples.batch(0, count));
    await session.release();
    return (Object.values(outputs)[0] as Tensor).numbers();
  };
  const [x, y] = [await rows(a), await rows(b)];
  let [difference, largest] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    if (!Number.isFinite(y[i] as number)) return Number.POSITIVE_INFINITY;
    difference = Math.max(difference, Math.abs((x[i] as number) - (y[i] as number)));
    largest = Math.max(largest, Math.abs(x[i] as number));
  }
  return difference / largest;
}
