/** How far a model's outputs are from the original's on held-out samples. */
import { hasClassScores, type Metric, metricOf } from "../calibrate/output-change.js";
import { cloneModel } from "../graph/clone.js";
import type { Model, Value } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";
import type { Runner } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import type { Batches } from "./batches.js";

/** The original's outputs on the held-out batches, and what others are measured by. */
export class Agreement {
  readonly metric: "kl" | "cosine";
  readonly #runner: Runner;
  readonly #batches: Batches;
  readonly #measure: Metric;
  readonly #rows: ReadonlyMap<number, ReadonlyMap<string, Float64Array[]>>;

  private constructor(
    runner: Runner,
    batches: Batches,
    metric: "kl" | "cosine",
    measure: Metric,
    rows: ReadonlyMap<number, ReadonlyMap<string, Float64Array[]>>,
  ) {
    this.#runner = runner;
    this.#batches = batches;
    this.metric = metric;
    this.#measure = measure;
    this.#rows = rows;
  }

  /** With classes: Kullback-Leibler divergence in nats; else 1 − cosine, averaged over the float outputs. */
  static async with(runner: Runner, original: Model, batches: Batches): Promise<Agreement> {
    const metric = hasClassScores(original) ? "kl" : "cosine";
    const measure = metricOf(original, metric);
    return new Agreement(runner, batches, metric, measure, await rowsOf(runner, original, batches, measure));
  }

  /** Mean distance of `model`'s outputs to the original's, in [0, ∞]; 0: the same. Infinity where they are not finite. */
  async distance(model: Model): Promise<number> {
    const rows = await rowsOf(this.#runner, model, this.#batches, this.#measure);
    let [sum, count] = [0, 0];
    for (const [batch, outputs] of this.#rows) {
      for (const [name, reference] of outputs) {
        const got = rows.get(batch)?.get(name) ?? [];
        for (const [i, row] of reference.entries()) {
          const change = this.#measure.change(row, got[i] as Float64Array, name);
          sum += Number.isNaN(change) ? Number.POSITIVE_INFINITY : change;
          count++;
        }
      }
    }
    return count === 0 ? 0 : sum / count;
  }
}

async function rowsOf(
  runner: Runner,
  model: Model,
  batches: Batches,
  { outputs }: Metric,
): Promise<Map<number, Map<string, Float64Array[]>>> {
  const copy = cloneModel(model);
  copy.graph.setOutputs(outputs.map((name) => copy.graph.value(name) as Value));
  const session = await runner.load(sourceOf(copy));
  const found = new Map<number, Map<string, Float64Array[]>>();
  try {
    for (let b = 0; b < batches.count; b++) {
      if (!batches.isHeldOut(b)) continue;
      const got = await session.run(await batches.feeds(b), outputs);
      found.set(b, new Map(outputs.map((name) => [name, samplesOf(got[name] as Tensor, batches.size(b))])));
    }
  } finally {
    await session.release();
  }
  return found;
}

/** One row per sample; an output that does not count samples is one row. */
function samplesOf(t: Tensor, samples: number): Float64Array[] {
  const numbers = Float64Array.from(t.numbers());
  if (t.dims[0] !== samples) return [numbers];
  const width = numbers.length / samples;
  return Array.from({ length: samples }, (_, i) => numbers.subarray(i * width, (i + 1) * width));
}
