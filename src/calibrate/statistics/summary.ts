/** What calibration has gathered so far: sums that add up across shards, whoever adds them in whatever order. */
import { DataError } from "../../errors.js";
import { accumulatorOf, type Frame, requireFinite, type Sums } from "./accumulators.js";
import { Forest, type Subtree } from "./forest.js";
import { type AnyResult, keyOf, type StatisticRequest, type Statistics } from "./request.js";
import { statisticsOf } from "./statistics.js";

/** What must be the same for sums to be of one kind. */
export interface Identity {
  /** Sha-256 of the model file; "" for a model that came from no file. */
  readonly model: string;
  /** Fingerprint of the samples (Samples.fingerprint). */
  readonly data: string;
  /** Samples of all shards together. */
  readonly samples: number;
  /** Number of classes; 0 without labels. */
  readonly classes: number;
  readonly batch: number;
  /** Batches of a chunk, the least that is added or resumed, and the number of chunks. */
  readonly chunk: number;
  readonly chunks: number;
}

/** A statistic that is being gathered. */
export interface Gathered {
  readonly request: StatisticRequest;
  readonly frame: Frame;
  readonly trees: readonly Subtree<Sums>[];
}

/** Sums of some chunks of the data, as plain values: immutable. */
export interface Summary {
  readonly identity: Identity;
  readonly gathered: readonly Gathered[];
}

/** Numbers of the chunks that every statistic of `summary` has. */
export function chunksOf(summary: Summary): number[] {
  const forests = summary.gathered.map(forestOf);
  return Array.from({ length: summary.identity.chunks }, (_, i) => i).filter((i) => forests.every((f) => f.has(i)));
}

export function forestOf({ request, frame, trees }: Gathered): Forest<Sums> {
  return new Forest(accumulatorOf(request, frame).combine, trees);
}

/**
 * The sums of two summaries of different chunks of the same data; `file` names the second in errors.
 *
 * @throws DataError STATISTICS_DIFFER when they are of another model, other data, batches or statistics; STATISTICS_OVERLAP when both
 *   have a chunk.
 */
export function mergeSummaries(a: Summary, b: Summary, file?: string): Summary {
  for (const name of Object.keys(a.identity) as (keyof Identity)[]) {
    if (a.identity[name] !== b.identity[name]) throw differ(name, a.identity[name], b.identity[name], file);
  }
  const others = new Map(b.gathered.map((g) => [keyOf(g.request), g]));
  const only = a.gathered.find((g) => !others.has(keyOf(g.request))) ?? (b.gathered.length > a.gathered.length ? b.gathered[0] : undefined);
  if (only)
    throw differ(
      "statistics",
      a.gathered.map((g) => keyOf(g.request)).join("; "),
      b.gathered.map((g) => keyOf(g.request)).join("; "),
      file,
    );
  const chunk = chunksOf(b).find((i) => a.gathered.some((g) => forestOf(g).has(i)));
  if (chunk !== undefined) {
    throw new DataError(
      "STATISTICS_OVERLAP",
      `${file === undefined ? "Both" : `"${file}" and those before it`} have chunk ${chunk} of ${a.identity.chunks}: its samples would count twice.`,
      {
        hint: "Give each shard once: --shard 1/n, 2/n … n/n.",
      },
    );
  }
  return {
    identity: a.identity,
    gathered: a.gathered.map((g) => {
      const other = others.get(keyOf(g.request)) as Gathered;
      const forest = forestOf(g);
      for (const tree of other.trees) forest.add(tree);
      return { ...g, trees: forest.trees() };
    }),
  };
}

function differ(what: string, mine: unknown, theirs: unknown, file: string | undefined): DataError {
  const other = file === undefined ? "the other" : `"${file}"`;
  return new DataError("STATISTICS_DIFFER", `The statistics do not add up: ${what} is ${mine} in one and ${theirs} in ${other}.`, {
    hint: "Shards are of one model, one data set, one selection of samples and one --batch; calibrate them with the same flags.",
  });
}

/**
 * The statistics of a whole data set.
 * @throws DataError STATISTICS_INCOMPLETE when chunks are missing; UnsupportedError when something is NaN or infinite.
 */
export function statisticsFrom(summary: Summary): Statistics {
  const { identity, gathered } = summary;
  const missing = identity.chunks - chunksOf(summary).length;
  if (missing > 0) {
    throw new DataError("STATISTICS_INCOMPLETE", `${missing} of ${identity.chunks} chunks of the data are missing.`, {
      hint: "Merge all shards first: onnx-prune merge all.npz part1.npz part2.npz …",
    });
  }
  const results = new Map<string, AnyResult>();
  for (const g of gathered) {
    const total = forestOf(g).total() as Sums;
    const result = accumulatorOf(g.request, g.frame).result(total);
    requireFinite(g.request, result);
    results.set(keyOf(g.request), result);
  }
  return statisticsOf(results, { samples: identity.samples, classes: identity.classes });
}
