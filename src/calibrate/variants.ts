/** How far the outputs of changed copies of a model are from its own, on samples without labels. */
import { DataError } from "../errors.js";
import { cloneModel } from "../graph/clone.js";
import type { Model, Value } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";
import type { Feeds, Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import { type BypassMetric, type Metric, metricOf } from "./output-change.js";
import type { Samples } from "./samples.js";

export interface VariantOptions {
  readonly metric: BypassMetric;
  /** Samples to run on, spread evenly over the data. */
  readonly samples: number;
  /** Samples per run; default 32. A model exported for a fixed batch keeps its own. */
  readonly batch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Models done of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A changed copy, made when its turn comes and forgotten after it: one of them is held at a time. */
export type Variant = () => Model;

/**
 * The mean change of the outputs of each variant, in [0, ∞]; Infinity where it gives what is no number. One session per variant, so that
 * each is as fast as what is left of it; the original runs once.
 *
 * @throws ConfigError BYPASS_METRIC (see metricOf); DataError VARIANT_ROWS when an output has no row per sample and the batch is more than one.
 */
export async function measureVariants(
  runner: Runner,
  model: Model,
  variants: readonly Variant[],
  samples: Samples,
  options: VariantOptions,
): Promise<Float64Array> {
  const metric = metricOf(model, options.metric);
  const batches = await batchesOf(model, samples, options);
  const total = variants.length + 1;
  const before = await rowsOf(runner, model, metric, batches);
  options.onProgress?.(1, total);
  const changes = new Float64Array(variants.length);
  for (const [i, variant] of variants.entries()) {
    options.signal?.throwIfAborted();
    const after = await rowsOf(runner, variant(), metric, batches);
    let [sum, count] = [0, 0];
    for (const [name, rows] of before) {
      for (const [r, row] of rows.entries()) {
        const change = metric.change(row, after.get(name)?.[r] as Float64Array, name);
        sum += Number.isNaN(change) ? Number.POSITIVE_INFINITY : change;
        count++;
      }
    }
    changes[i] = count > 0 ? sum / count : 0;
    options.onProgress?.(i + 2, total);
  }
  return changes;
}

interface Batch {
  readonly feeds: Feeds;
  /** Rows that count: a fixed batch may be filled up with the last sample again. */
  readonly rows: number;
  readonly size: number;
}

async function batchesOf(model: Model, samples: Samples, options: VariantOptions): Promise<Batch[]> {
  const declared = model.graph.inputs.find((v) => !v.constant && !v.initializer)?.shape?.[0];
  const fixed = typeof declared === "number" && declared > 0 ? declared : undefined;
  const size = fixed ?? options.batch ?? 32;
  const count = Math.min(options.samples, samples.count);
  const out: Batch[] = [];
  // Runs of neighbours, spread evenly: what is read at once lies together.
  for (let done = 0; done < count; done += size) {
    const rows = Math.min(size, count - done);
    const from = Math.floor((done * samples.count) / count);
    const feeds = await samples.batch(from, from + rows);
    out.push({ feeds: fixed && rows < fixed ? filled(feeds, rows, fixed) : feeds, rows, size: fixed ?? rows });
  }
  return out;
}

function filled(feeds: Feeds, rows: number, size: number): Feeds {
  const indices = Array.from({ length: size }, (_, i) => Math.min(i, rows - 1));
  return Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, t.dims[0] === rows ? t.take(0, indices) : t]));
}

/** By output, one array per sample. */
async function rowsOf(runner: Runner, model: Model, metric: Metric, batches: readonly Batch[]): Promise<Map<string, Float64Array[]>> {
  const copy = cloneModel(model);
  copy.graph.setOutputs(metric.outputs.map((name) => copy.graph.value(name) as Value));
  const session = await runner.load(sourceOf(copy));
  try {
    const out = new Map<string, Float64Array[]>(metric.outputs.map((name) => [name, []]));
    for (const batch of batches) await runBatch(session, metric, batch, out);
    return out;
  } finally {
    await session.release();
  }
}

async function runBatch(session: Session, { outputs }: Metric, { feeds, rows, size }: Batch, out: Map<string, Float64Array[]>) {
  const results = await session.run(feeds, outputs);
  for (const name of outputs) {
    const t = results[name] as Tensor;
    const numbers = Float64Array.from(t.numbers());
    if (size === 1) out.get(name)?.push(numbers);
    else if (t.dims[0] === size) {
      const width = numbers.length / size;
      for (let i = 0; i < rows; i++) out.get(name)?.push(numbers.subarray(i * width, (i + 1) * width));
    } else {
      throw new DataError("VARIANT_ROWS", `Output "${name}" is [${t.dims.join(", ")}] for ${size} samples: it has no row for each.`, {
        hint: "Measure with a batch of 1, where all of it belongs to the one sample: --batch 1.",
        at: { value: name },
      });
    }
  }
}
