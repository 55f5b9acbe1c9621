/** How far a net's outputs are from those of another, on samples that no fit has seen. */
import { hasClassScores, metricOf } from "../calibrate/output-change.js";
import type { Samples } from "../calibrate/samples.js";
import type { Model } from "../graph/graph.js";
import type { Runner } from "../runtime/runner.js";
import { withBoth } from "../runtime/source.js";
import { isHeld, type Looks } from "./looks.js";

/** The mean over samples of KL(teacher‖net) of class probabilities, or where outputs are none of the relative L2 distance. */
export async function distance(runner: Runner, [teacher, net]: readonly [Model, Model], samples: Samples, looks: Looks): Promise<number> {
  const metric = metricOf(teacher, hasClassScores(teacher) ? "kl" : "relative");
  return withBoth(runner, [teacher, net], async (a, b) => {
    let sum = 0;
    let rows = 0;
    for (const [r, from] of looks.starts.entries()) {
      if (!isHeld(looks, r)) continue;
      const feeds = await samples.batch(from, from + looks.size);
      const [was, is] = [await a.run(feeds, metric.outputs), await b.run(feeds, metric.outputs)];
      for (const name of metric.outputs) {
        const [p, q] = [was[name]?.numbers(), is[name]?.numbers()];
        if (!p || !q) continue;
        const width = p.length / looks.size;
        for (let n = 0; n < looks.size; n++) {
          sum += metric.change(
            Float64Array.from(p.slice(n * width, (n + 1) * width)),
            Float64Array.from(q.slice(n * width, (n + 1) * width)),
            name,
          );
          rows++;
        }
      }
    }
    return sum / rows;
  });
}
