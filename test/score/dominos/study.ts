/** Statistics of small models for tests of DOMINOS: measured on ONNX Runtime, or given by hand. */
import { modelInputs } from "../../../src/calibrate/model-inputs.js";
import { openSamples, type Samples } from "../../../src/calibrate/samples.js";
import { collect } from "../../../src/calibrate/statistics/collect.js";
import type { AnyResult, StatisticRequest, Statistics } from "../../../src/calibrate/statistics/request.js";
import { statisticsOf } from "../../../src/calibrate/statistics/statistics.js";
import { statisticsFrom } from "../../../src/calibrate/statistics/summary.js";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import type { Model } from "../../../src/graph/graph.js";
import type { Note } from "../../../src/graph/note.js";
import type { Runner } from "../../../src/runtime/runner.js";
import type { Ranking, ScoringContext } from "../../../src/score/criterion.js";
import { DominosScores, dominos, dominosOptions } from "../../../src/score/dominos/dominos.js";

export interface Studied {
  readonly context: ScoringContext & { readonly statistics: Statistics };
  readonly scores: DominosScores;
  readonly notes: readonly Note[];
  readonly samples: Samples;
  /** Ranking of the group with this name. */
  rank(name: string): Ranking;
}

export async function studied(runner: Runner, model: Model, options: unknown = {}, where = "random:64"): Promise<Studied> {
  const notes: Note[] = [];
  const parsed = dominosOptions.parse(options);
  const context = { model, coupling: findGroups(model), seed: 0, note: (n: Note) => notes.push(n) };
  const requests = dominos.statistics?.(parsed, context) ?? [];
  const samples = await openSamples(where, { inputs: modelInputs(model).inputs });
  const measured = { ...context, statistics: statisticsFrom(await collect(runner, model, requests, samples)) };
  const ran = await dominos.measure?.(parsed, measured)?.({ runner, samples });
  const scores = new DominosScores(parsed, { ...measured, measured: ran });
  return {
    context: measured,
    scores,
    notes,
    samples,
    rank: (name) => {
      const group = context.coupling.groups.find((g) => g.name === name);
      if (!group) throw new Error(`No group "${name}" among ${context.coupling.groups.map((g) => g.name).join(", ")}.`);
      return scores.rank(group);
    },
  };
}

/** Statistics in which every value has the given variances (1 where none are), and is active everywhere or to the given share. */
export function givenStatistics(
  requests: readonly StatisticRequest[],
  extentOf: (value: string) => number,
  { variance = {}, active = {} }: { variance?: Record<string, readonly number[]>; active?: Record<string, readonly number[]> } = {},
): Statistics {
  const full = (value: string, x: number) => new Float64Array(extentOf(value)).fill(x);
  const results = requests.map((request): readonly [StatisticRequest, AnyResult] => {
    const { value } = request;
    const of = variance[value] ? Float64Array.from(variance[value]) : full(value, 1);
    const mean = full(value, 0);
    switch (request.kind) {
      case "moments":
        return [request, { samples: 1, count: 1, mean, variance: of, classes: [] }];
      case "active":
        return [request, { positive: active[value] ? Float64Array.from(active[value]) : full(value, 1), zero: mean }];
      case "gram":
        return [
          request,
          {
            count: 1,
            mean,
            covariance: Float64Array.from({ length: of.length ** 2 }, (_, i) =>
              i % (of.length + 1) === 0 ? (of[i / (of.length + 1)] as number) : 0,
            ),
          },
        ];
      default:
        throw new Error(`${request.kind} is not given.`);
    }
  });
  return statisticsOf(results, { samples: 1, classes: 0 });
}

/** Attention with packed q, k and v: two heads of two dims; influence is known through v and the projection only. */
export const ATTENTION = `g (float[N, 3, 4] x) => (float[N, 3, 4] y)
  <float[4, 12] w = {...}, float[4, 4] p = {...}, int64[5] split = {0, 3, 3, 2, 2}, int64[3] join = {0, 3, 4},
   int64 zero = {0}, int64 one = {1}, int64 two = {2}> {
  qkv = MatMul (x, w) r = Reshape (qkv, split) t = Transpose <perm = [2, 0, 3, 1, 4]> (r)
  q = Gather <axis = 0> (t, zero) k = Gather <axis = 0> (t, one) v = Gather <axis = 0> (t, two)
  kt = Transpose <perm = [0, 1, 3, 2]> (k) s = MatMul (q, kt) a = Softmax <axis = -1> (s) m = MatMul (a, v)
  u = Transpose <perm = [0, 2, 1, 3]> (m) f = Reshape (u, join) y = MatMul (f, p) }`;
