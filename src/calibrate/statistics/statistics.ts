/** Results of a calibration run, found by what was asked. */
import { internal } from "../../errors.js";
import { type AnyResult, keyOf, type ResultOf, type StatisticRequest, type Statistics } from "./request.js";

/** Statistics from results by key (request.ts); how tests make their own. */
export function statisticsOf(
  results: ReadonlyMap<string, AnyResult> | readonly (readonly [StatisticRequest, AnyResult])[],
  of: { readonly samples: number; readonly classes: number },
): Statistics {
  const found: ReadonlyMap<string, AnyResult> =
    results instanceof Map
      ? results
      : new Map((results as readonly (readonly [StatisticRequest, AnyResult])[]).map(([r, v]) => [keyOf(r), v]));
  return {
    ...of,
    has: (request) => found.has(keyOf(request)),
    of<R extends StatisticRequest>(request: R): ResultOf<R> {
      const result = found.get(keyOf(request));
      if (!result) throw internal(`The statistic "${keyOf(request)}" was read, but not requested.`);
      return result as ResultOf<R>;
    },
  };
}
