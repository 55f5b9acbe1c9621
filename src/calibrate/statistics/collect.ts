/** Runs a model over samples and gathers statistics of its activations. */
import { ConfigError, DataError } from "../../errors.js";
import type { Model } from "../../graph/graph.js";
import { infer } from "../../graph/infer.js";
import type { Runner, Session } from "../../runtime/runner.js";
import { sourceOf } from "../../runtime/source.js";
import type { Samples } from "../samples.js";
import { type Accumulator, accumulatorOf, type Frame, type Sums } from "./accumulators.js";
import { framesOf } from "./frames.js";
import { batchOf, type Instrumented, instrument } from "./instrument.js";
import type { Reduction, Tapped } from "./reductions.js";
import { keyOf, type StatisticRequest } from "./request.js";
import { seenOf } from "./seen.js";
import { forestOf, type Gathered, type Identity, type Summary } from "./summary.js";

export interface CollectOptions {
  /** Samples per run; default 8 (more costs memory and gains nothing). A model exported for a fixed batch keeps its own. */
  readonly batch?: number;
  /** Only chunks of part `index` (from 0) of `of`. */
  readonly shard?: { readonly index: number; readonly of: number };
  /** Sums held at a time, in bytes (default 1 GiB): statistics that need more are gathered in several runs over the data. */
  readonly memory?: number;
  /** Sums of an earlier, interrupted run with the same model, data and options: its chunks are not run again. */
  readonly resume?: Summary;
  /** Called after a chunk when `every` milliseconds (default 10,000) have passed: what to resume from. */
  readonly checkpoint?: { readonly every?: number; save(summary: Summary): Promise<void> };
  /** Sha-256 of the file the model came from, where `model` was prepared from it. */
  readonly sha256?: string | undefined;
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Samples seen of all that are to be seen. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Most chunks the data are cut into: enough for shards, few enough to hold. */
const MOST_CHUNKS = 128;
const MEMORY = 2 ** 30;

/**
 * Gathers `requests` over `samples`, or over a shard of them.
 *
 * One pass of an instrumented copy of the model (several where `memory` asks for it). Reductions happen in the graph, per
 * sample; sums are float64 in an order that neither threads, shards nor merging change (forest.ts): the same requests on the
 * same data in batches of the same size give the same bytes.
 *
 * @throws UnsupportedError for values that cannot be measured; DataError for samples that cannot be used; what the runner throws.
 */
export async function collect(
  runner: Runner,
  model: Model,
  requests: readonly StatisticRequest[],
  samples: Samples,
  options: CollectOptions = {},
): Promise<Summary> {
  const wanted = [...new Map(requests.map((r) => [keyOf(r), r])).values()].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const axis0 = batchOf(model);
  const types = infer(model, options.inputShapes ? { bind: withBatch(options.inputShapes, axis0) } : {});
  const identity = identityOf(model, samples, axis0, options);
  const frames = await framesOf(runner, model, types, wanted, samples, identity, axis0);
  const start = wanted.map((request): Gathered => ({ request, frame: frames.get(request) as Frame, trees: [] }));
  const gathered = resumed(start, identity, options.resume);
  const [from, to] = chunksOfShard(identity.chunks, options.shard);
  const parts = partition(gathered, options.memory ?? MEMORY);
  const perChunk = identity.chunk * identity.batch;
  /** Samples of chunks [a, b). */
  const between = (a: number, b: number) => Math.min(b * perChunk, identity.samples) - a * perChunk;
  const perPart = to > from ? between(from, to) : 0;
  const finished: Gathered[] = [];
  let saved = performance.now();
  for (const [p, part] of parts.entries()) {
    const forests = part.map(forestOf);
    const current = () => part.map((g, i): Gathered => ({ ...g, trees: (forests[i] as ReturnType<typeof forestOf>).trees() }));
    let run: ChunkRunner | undefined;
    try {
      for (let chunk = from; chunk < to; chunk++) {
        options.signal?.throwIfAborted();
        if (!forests.every((f) => f.has(chunk))) {
          run ??= await ChunkRunner.open(runner, model, part, samples, identity);
          const sums = await run.chunk(chunk, options.signal);
          forests.forEach((f, i) => {
            if (!f.has(chunk)) f.add({ level: 0, index: chunk, sum: sums[i] as Sums });
          });
        }
        options.onProgress?.(p * perPart + between(from, chunk + 1), parts.length * perPart);
        if (options.checkpoint && performance.now() - saved >= (options.checkpoint.every ?? 10_000) && chunk + 1 < to) {
          await options.checkpoint.save({ identity, gathered: [...finished, ...current(), ...parts.slice(p + 1).flat()] });
          saved = performance.now();
        }
      }
    } finally {
      await run?.close();
    }
    finished.push(...current());
  }
  return { identity, gathered: finished };
}

/** One instrumented session, and what its outputs are added to. */
class ChunkRunner {
  readonly #session: Session;
  readonly #samples: Samples;
  readonly #identity: Identity;
  readonly #taps: readonly TapPlan[];
  readonly #names: Instrumented["outputs"];

  private constructor(session: Session, samples: Samples, identity: Identity, taps: readonly TapPlan[], names: Instrumented["outputs"]) {
    this.#session = session;
    this.#samples = samples;
    this.#identity = identity;
    this.#taps = taps;
    this.#names = names;
  }

  static async open(runner: Runner, model: Model, part: readonly Gathered[], samples: Samples, identity: Identity): Promise<ChunkRunner> {
    const taps = plansOf(part);
    const instrumented = instrument(
      model,
      taps.map(({ tap, accumulators }) => ({ tap, reductions: accumulators.flatMap((a) => a.made.reductions) })),
    );
    return new ChunkRunner(await runner.load(sourceOf(instrumented.model)), samples, identity, taps, instrumented.outputs);
  }

  /** Sums of each statistic of the part over one chunk. The next batch is decoded while this one runs. */
  async chunk(index: number, signal: AbortSignal | undefined): Promise<Sums[]> {
    const { batch, chunk, samples } = this.#identity;
    const first = index * chunk * batch;
    const last = Math.min(samples, first + chunk * batch);
    const sums: Sums[] = [];
    for (const { accumulators } of this.#taps) for (const { place, made } of accumulators) sums[place] = made.zero();
    const read = (at: number) => this.#samples.batch(at, Math.min(last, at + batch));
    let next = read(first);
    for (let at = first; at < last; at += batch) {
      signal?.throwIfAborted();
      const feeds = await next;
      const n = Math.min(last, at + batch) - at;
      const running = this.#session.run(feeds);
      if (at + batch < last) {
        next = read(at + batch);
        // Awaited in the next round; a failure before that must not count as unhandled.
        next.catch(() => undefined);
      }
      const out = await running;
      this.#taps.forEach(({ tap, channels, accumulators }, t) => {
        const seen = seenOf(out, this.#names[t] as ReadonlyMap<Reduction, string>, tap, channels, at, n, this.#samples.labels);
        for (const { place, made } of accumulators) made.add(sums[place] as Sums, seen);
      });
    }
    return sums;
  }

  close(): Promise<void> {
    return this.#session.release();
  }
}

interface TapPlan {
  readonly tap: Tapped;
  readonly channels: number;
  readonly accumulators: readonly { readonly place: number; readonly made: Accumulator }[];
}

/** The statistics of a part by tap. */
function plansOf(part: readonly Gathered[]): TapPlan[] {
  const byTap = new Map<string, { tap: Tapped; channels: number; accumulators: { place: number; made: Accumulator }[] }>();
  part.forEach(({ request, frame }, place) => {
    const key = `${request.axis} ${request.value}`;
    const plan = byTap.get(key) ?? { tap: frame.tap, channels: frame.channels, accumulators: [] };
    byTap.set(key, plan);
    plan.accumulators.push({ place, made: accumulatorOf(request, frame) });
  });
  return [...byTap.values()];
}

function identityOf(model: Model, samples: Samples, axis0: string | number, options: CollectOptions): Identity {
  const asked = options.batch ?? 8;
  if (!Number.isInteger(asked) || asked < 1)
    throw new ConfigError("STATISTICS_BATCH", `The batch must be a positive integer, got ${asked}.`);
  const fixed = typeof axis0 === "number";
  const batch = fixed ? axis0 : Math.min(asked, samples.count);
  const count = fixed ? samples.count - (samples.count % batch) : samples.count;
  if (count === 0) {
    throw new DataError("STATISTICS_FEW_SAMPLES", `The model takes ${batch} samples at a time, but there are only ${samples.count}.`, {
      hint: "Give more samples, or export the model with a dynamic batch.",
    });
  }
  const batches = Math.ceil(count / batch);
  const chunk = 2 ** Math.max(0, Math.ceil(Math.log2(batches / MOST_CHUNKS)));
  return {
    model: options.sha256 ?? model.sha256 ?? "",
    data: samples.fingerprint,
    samples: count,
    classes: samples.labels ? samples.labels.subarray(0, count).reduce((a, b) => Math.max(a, b), -1) + 1 : 0,
    batch,
    chunk,
    chunks: Math.ceil(batches / chunk),
  };
}

/** Sums of an interrupted run that are of the same model, data and batch; everything else is thrown away. */
function resumed(start: readonly Gathered[], identity: Identity, before: Summary | undefined): readonly Gathered[] {
  if (!before || JSON.stringify(before.identity) !== JSON.stringify(identity)) return start;
  const have = new Map(before.gathered.map((g) => [keyOf(g.request), g]));
  return start.map((g) => ({ ...g, trees: have.get(keyOf(g.request))?.trees ?? [] }));
}

/** Chunks [from, to) of a shard. */
function chunksOfShard(chunks: number, shard: CollectOptions["shard"]): readonly [number, number] {
  if (!shard) return [0, chunks];
  const { index, of } = shard;
  if (!Number.isInteger(index) || !Number.isInteger(of) || index < 0 || index >= of) {
    throw new ConfigError("STATISTICS_SHARD", `A shard is one of several, but part ${index + 1} of ${of} was asked for.`, {
      hint: "Count from 1: --shard 1/4 to --shard 4/4.",
    });
  }
  return [Math.floor((index * chunks) / of), Math.floor(((index + 1) * chunks) / of)];
}

/** Statistics in parts whose sums fit into `memory` together; one that does not fit by itself is a part of its own. */
function partition(gathered: readonly Gathered[], memory: number): Gathered[][] {
  const parts: Gathered[][] = [];
  let room = 0;
  for (const g of gathered) {
    // A chunk's sums, those being added, and some subtrees.
    const bytes =
      6 *
      accumulatorOf(g.request, g.frame)
        .zero()
        .reduce((n, a) => n + a.byteLength, 0);
    if (parts.length === 0 || bytes > room) {
      parts.push([]);
      room = memory;
    }
    (parts.at(-1) as Gathered[]).push(g);
    room -= bytes;
  }
  return parts;
}

/** The shapes callers gave, with axis 0 left to count samples. */
function withBatch(shapes: Readonly<Record<string, readonly number[]>>, axis0: string | number): Record<string, readonly number[]> {
  return typeof axis0 === "number" ? { ...shapes } : {};
}
