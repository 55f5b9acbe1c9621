/** How much the outputs change when residual blocks are bypassed: a score for each block, from samples without labels. */
import { ConfigError, DataError, UnsupportedError } from "../errors.js";
import type { Block } from "../graph/blocks/find.js";
import { gateBlocks } from "../graph/blocks/oracle.js";
import { cloneModel } from "../graph/clone.js";
import type { Model, Value } from "../graph/graph.js";
import { Tensor } from "../graph/tensor.js";
import type { Feeds, Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import { type BypassMetric, type Metric, metricOf } from "./output-change.js";
import type { Samples } from "./samples.js";

export type { BypassMetric } from "./output-change.js";

export interface BypassOptions {
  /** Default "cosine". */
  readonly metric?: BypassMetric;
  /** Samples per run; default 8. A model exported for a fixed batch keeps its own. */
  readonly batch?: number;
  /** In runs of the model. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * The change of the outputs when each block alone is bypassed, averaged over `samples`: one number per block, in [0, ∞); 0 where the
 * block gives nothing, Infinity where the bypass makes numbers that are not finite. Summed in double precision in the order of the
 * samples: the same samples in batches of the same size give the same numbers on one machine.
 *
 * One session runs them all: each branch is multiplied by an input of its own (gateBlocks), so that original and bypassed model run
 * the same kernels, and nothing is loaded per block. Runs the model (1 + number of blocks) times on each batch.
 *
 * @throws ConfigError BYPASS_METRIC when "kl" is asked of a model without class scores; UnsupportedError BYPASS_OPSET before opset 7;
 *   DataError BYPASS_ROWS when an output has no row per sample and the batch is more than one.
 */
export async function measureBypass(
  runner: Runner,
  model: Model,
  blocks: readonly Block[],
  samples: Samples,
  options: BypassOptions = {},
): Promise<Float64Array> {
  if (blocks.length === 0) return new Float64Array(0);
  return withGates(runner, model, blocks, samples, options, (gated) => {
    const progress = (done: number, total: number) => options.onProgress?.(done, total);
    return gated.changes(
      blocks.map((b) => new Set([b])),
      progress,
    );
  });
}

/** A block, and the change of the outputs without it and all those before it. */
export interface BypassStep {
  readonly block: Block;
  readonly change: number;
}

/**
 * An order in which to remove `count` blocks (default: all): each time the one without which the outputs are nearest to the original's, the
 * earlier in `blocks` of equals, measured anew after each. Blocks in the branch of one that went are no longer there. Costs up to
 * count·(blocks + 1) runs on each batch; throws as measureBypass.
 */
export async function bypassOrder(
  runner: Runner,
  model: Model,
  blocks: readonly Block[],
  samples: Samples,
  options: BypassOptions & { readonly count?: number } = {},
): Promise<BypassStep[]> {
  if (blocks.length === 0) return [];
  const count = Math.min(options.count ?? blocks.length, blocks.length);
  return withGates(runner, model, blocks, samples, options, async (gated) => {
    const gone = new Set<Block>();
    const steps: BypassStep[] = [];
    while (steps.length < count) {
      const left = blocks.filter((b) => !gone.has(b) && !liesWithin(b, gone, blocks));
      if (left.length === 0) break;
      const changes = await gated.changes(
        left.map((b) => new Set([...gone, b])),
        (done, total) => options.onProgress?.(steps.length * total + done, count * total),
      );
      const best = changes.indexOf(Math.min(...changes));
      const block = left[best] as Block;
      gone.add(block);
      steps.push({ block, change: changes[best] as number });
    }
    return steps;
  });
}

function liesWithin(block: Block, gone: ReadonlySet<Block>, all: readonly Block[]): boolean {
  const names = new Set([...gone].map((b) => b.name));
  for (let name = block.within; name !== undefined; name = all.find((b) => b.name === name)?.within) if (names.has(name)) return true;
  return false;
}

async function withGates<T>(
  runner: Runner,
  model: Model,
  blocks: readonly Block[],
  samples: Samples,
  options: BypassOptions,
  work: (gated: GatedSession) => Promise<T>,
): Promise<T> {
  if (model.opset < 7) {
    throw new UnsupportedError("BYPASS_OPSET", `Bypassing blocks is measured from opset 7 on; this model has opset ${model.opset}.`, {
      hint: "Convert it first (onnx.version_converter), or name the blocks: --pass 'remove-blocks={\"blocks\": [...]}'.",
    });
  }
  const { model: gated, gates } = gateBlocks(model, blocks);
  const metric = metricOf(model, options.metric ?? "cosine");
  const session = await runner.load(sourceOf(fetching(gated, metric.outputs)));
  try {
    return await work(
      new GatedSession(session, new Map(blocks.map((b, i) => [b, gates[i] as string])), metric, batchOf(model, options), samples, options),
    );
  } finally {
    await session.release();
  }
}

class GatedSession {
  readonly #session: Session;
  readonly #gates: ReadonlyMap<Block, string>;
  readonly #metric: Metric;
  readonly #batch: { readonly size: number; readonly fixed: boolean };
  readonly #samples: Samples;
  readonly #signal: AbortSignal | undefined;

  constructor(
    session: Session,
    gates: ReadonlyMap<Block, string>,
    metric: Metric,
    batch: { readonly size: number; readonly fixed: boolean },
    samples: Samples,
    { signal }: BypassOptions,
  ) {
    this.#session = session;
    this.#gates = gates;
    this.#metric = metric;
    this.#batch = batch;
    this.#samples = samples;
    this.#signal = signal;
  }

  /** The mean change for each set of closed gates. */
  async changes(closed: readonly ReadonlySet<Block>[], progress: (done: number, total: number) => void): Promise<Float64Array> {
    const { count } = this.#samples;
    const { size } = this.#batch;
    const sums = new Float64Array(closed.length);
    const total = Math.ceil(count / size) * (closed.length + 1);
    let done = 0;
    for (let from = 0; from < count; from += size) {
      const n = Math.min(size, count - from);
      const feeds = this.#padded(await this.#samples.batch(from, from + n), n);
      const before = await this.#rows(feeds, new Set(), n);
      progress(++done, total);
      for (const [k, blocks] of closed.entries()) {
        this.#signal?.throwIfAborted();
        const after = await this.#rows(feeds, blocks, n);
        for (const [name, rows] of before) {
          rows.forEach((row, i) => {
            const change = this.#metric.change(row, (after.get(name) as Float64Array[])[i] as Float64Array, name);
            sums[k] = (sums[k] as number) + (Number.isNaN(change) ? Number.POSITIVE_INFINITY : change) / before.size;
          });
        }
        progress(++done, total);
      }
    }
    return sums.map((s) => s / count);
  }

  /** A model with a fixed batch gets the last sample again where the samples end. */
  #padded(feeds: Feeds, n: number): Feeds {
    const { size, fixed } = this.#batch;
    if (!fixed || n === size) return feeds;
    const indices = Array.from({ length: size }, (_, i) => Math.min(i, n - 1));
    return Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, t.dims[0] === n ? t.take(0, indices) : t]));
  }

  async #rows(feeds: Feeds, closed: ReadonlySet<Block>, n: number): Promise<Map<string, Float64Array[]>> {
    const gates = [...this.#gates].map(([block, gate]) => [gate, Tensor.fromNumbers(block.type.dtype, [], [closed.has(block) ? 0 : 1])]);
    const outputs = await this.#session.run({ ...feeds, ...Object.fromEntries(gates) }, this.#metric.outputs);
    return new Map(
      this.#metric.outputs.map((name) => [name, rowsOf(name, outputs[name] as Tensor, n, this.#batch.fixed ? this.#batch.size : n)]),
    );
  }
}

/** One array per sample. Of one sample, an output is one row whatever its shape. */
function rowsOf(name: string, t: Tensor, n: number, batch: number): Float64Array[] {
  const numbers = Float64Array.from(t.numbers());
  if (batch === 1) return [numbers];
  if (t.dims[0] !== batch) {
    throw new DataError("BYPASS_ROWS", `Output "${name}" is [${t.dims.join(", ")}] for ${batch} samples: it has no row for each.`, {
      hint: "Measure with a batch of 1, where all of it belongs to the one sample.",
      at: { value: name },
    });
  }
  const width = numbers.length / batch;
  return Array.from({ length: n }, (_, i) => numbers.subarray(i * width, (i + 1) * width));
}

function batchOf(model: Model, { batch = 8 }: BypassOptions): { readonly size: number; readonly fixed: boolean } {
  const fixed = model.graph.inputs.find((v) => !v.constant && !v.initializer)?.shape?.[0];
  if (typeof fixed === "number" && fixed > 0) return { size: fixed, fixed: true };
  if (!Number.isInteger(batch) || batch < 1) throw new ConfigError("BYPASS_BATCH", `The batch must be a positive integer, got ${batch}.`);
  return { size: batch, fixed: false };
}

/** `model` with these outputs alone. */
function fetching(model: Model, outputs: readonly string[]): Model {
  const copy = cloneModel(model);
  copy.graph.setOutputs(outputs.map((name) => copy.graph.value(name) as Value));
  return copy;
}
