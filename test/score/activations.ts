/** Statistics of activations that a test makes up, number by number, computed as they are defined: two passes in float64. */
import {
  type AnyResult,
  type ClassMoments,
  keyOf,
  type StatisticRequest,
  type Statistics,
  type Tap,
} from "../../src/calibrate/statistics/request.js";
import { statisticsOf } from "../../src/calibrate/statistics/statistics.js";
import type { Coupling } from "../../src/graph/coupling/groups.js";
import { normal, random } from "../../src/graph/random.js";

/** Position p of channel k (index of the tap's axis) in sample n. */
export type Activation = (tap: Tap, k: number, n: number, p: number) => number;

/** A standard normal number, the same for the same seed. */
export const gauss = (seed: string): number => normal(random(seed));

/** Measures made-up activations of `samples` samples and `positions` positions a map; sample n is of class n mod `classes` unless told. */
export function activations(samples: number, of: Activation, classes = 0, positions = 1, labelOf = (n: number) => n % classes) {
  const labels = classes > 0 ? Array.from({ length: samples }, (_, n) => labelOf(n)) : undefined;
  return (requests: readonly StatisticRequest[], coupling: Coupling): Statistics => {
    const results = requests.map((request): [string, AnyResult] => {
      const value = coupling.typing.model.graph.value(request.value);
      const channels = (value && coupling.typing.types.shape(value)?.[request.axis]) as number;
      return [keyOf(request), resultOf(request, channels, samples, of, labels, classes, positions)];
    });
    return statisticsOf(new Map(results), { samples, classes });
  };
}

function resultOf(
  request: StatisticRequest,
  channels: number,
  samples: number,
  of: Activation,
  labels: readonly number[] | undefined,
  classes: number,
  positions: number,
): AnyResult {
  /** values[k][n]: what stands for channel k in sample n. */
  const variables = (variable: "pixels" | "gap" | "gmp") =>
    Array.from({ length: channels }, (_, k) =>
      Array.from({ length: samples }, (_, n) => {
        const map = Array.from({ length: positions }, (_, p) => of(request, k, n, p));
        return variable === "pixels" ? map : variable === "gmp" ? [Math.max(...map)] : [map.reduce((a, b) => a + b, 0) / positions];
      }),
    );
  const byClass = <T>(isAsked: boolean, make: (has: (n: number) => boolean) => T): T[] =>
    isAsked ? Array.from({ length: classes }, (_, c) => make((n) => labels?.[n] === c)) : [];
  switch (request.kind) {
    case "absolute":
      return Float64Array.from(variables("pixels"), (maps) => mean(maps.flat().map(Math.abs)));
    case "moments": {
      const all = variables(request.variable);
      const moments = (has: (n: number) => boolean): ClassMoments => {
        const mine = all.map((maps) => maps.filter((_, n) => has(n)).flat());
        return {
          samples: Array.from({ length: samples }, (_, n) => n).filter(has).length,
          count: mine[0]?.length ?? 0,
          mean: Float64Array.from(mine, mean),
          variance: Float64Array.from(mine, (x) => mean(x.map((u) => (u - mean(x)) ** 2))),
        };
      };
      return { ...moments(() => true), classes: byClass(request.byClass, moments) };
    }
    case "samples": {
      const all = variables(request.variable);
      const values = Array.from({ length: samples }, (_, n) => Float32Array.from(all, (maps) => maps[n]?.[0] as number));
      return { ids: Float64Array.from(values.keys()), labels: labels && Int32Array.from(labels), values };
    }
    case "histogram": {
      const all = variables(request.variable);
      const low = Float64Array.from(all, (maps) => 1.5 * Math.min(...maps.flat()) - 0.5 * Math.max(...maps.flat()));
      const width = Float64Array.from(all, (maps, k) => ((4 / 3) * (Math.max(...maps.flat()) - (low[k] as number))) / request.bins || 1);
      const counts = (has: (n: number) => boolean) =>
        all.map((maps, k) => {
          const bins = new Float64Array(request.bins);
          for (const x of maps.filter((_, n) => has(n)).flat()) {
            const b = Math.max(0, Math.min(request.bins - 1, Math.floor((x - (low[k] as number)) / (width[k] as number))));
            bins[b] = (bins[b] as number) + 1;
          }
          return bins;
        });
      return { low, width, samples, counts: counts(() => true), byClass: byClass(request.byClass, counts) };
    }
    case "active": {
      const all = variables("pixels").map((maps) => maps.flat());
      const share = (is: (x: number) => boolean) => Float64Array.from(all, (x) => x.filter(is).length / x.length);
      return { positive: share((x) => x > 0), zero: share((x) => x === 0) };
    }
    case "gram":
    case "patches": {
      if (request.kind === "gram" && request.pool !== undefined && request.pool ** 2 < positions) throw new Error("No made-up pooling.");
      const taps = request.kind === "patches" ? request.window.kernel.reduce((a, b) => a * b, 1) : 1;
      const [from, to] = (request.kind === "patches" ? request.channels : undefined) ?? [0, channels];
      // Tap t of a window sees the position t further on; maps have no border.
      const all = variables("pixels")
        .slice(from, to)
        .flatMap((maps) =>
          Array.from({ length: taps }, (_, t) => maps.flatMap((map) => map.map((_x, p) => map[(p + t) % positions] as number))),
        );
      const means = all.map(mean);
      const covariance = all.flatMap((a, k) =>
        all.map((b, j) => mean(a.map((x, i) => (x - (means[k] as number)) * ((b[i] as number) - (means[j] as number))))),
      );
      return { count: all[0]?.length ?? 0, mean: Float64Array.from(means), covariance: Float64Array.from(covariance) };
    }
    default:
      throw new Error(`No made-up ${request.kind}.`);
  }
}

const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
