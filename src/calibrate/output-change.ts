/** Distances between what a model gives and what a changed copy of it gives, sample by sample. */
import { ConfigError } from "../errors.js";
import { isFloat } from "../graph/dtype.js";
import type { Model, Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";

/**
 * cosine: 1 − cosine of each output's elements, averaged over the float outputs, in [0, 2]; relative: the L2 distance over the L2 norm of
 * the original, likewise averaged; kl: KL(p‖q) in nats of the class probabilities, of the first output that holds a row of scores per
 * sample: softmax of it, or the output itself where a Softmax makes it.
 */
export type BypassMetric = "cosine" | "kl" | "relative";

/** What is compared, and how. */
export interface Metric {
  readonly outputs: readonly string[];
  /** The change of one row of output `name`. */
  change(was: Float64Array, is: Float64Array, name: string): number;
}

/** @throws ConfigError BYPASS_METRIC when the model has no output of the kind that is compared. */
export function metricOf(model: Model, metric: BypassMetric): Metric {
  const types = infer(model);
  const floats = floatOutputs(model, types);
  if (metric !== "kl") {
    if (floats.length === 0) throw new ConfigError("BYPASS_METRIC", "The model has no float output whose change could be measured.");
    return { outputs: floats.map((v) => v.name), change: metric === "cosine" ? oneMinusCosine : relativeDistance };
  }
  const scores = floats.find((v) => isRowOfScores(types.shape(v)));
  if (!scores) {
    throw new ConfigError("BYPASS_METRIC", 'The metric "kl" compares class probabilities, but no output is a row of scores [N, classes].', {
      hint: 'Use "cosine" or "relative".',
    });
  }
  const logs = isSoftmax(scores) ? logOf : logSoftmax;
  return { outputs: [scores.name], change: (was, is) => divergence(logs(was), logs(is)) };
}

/** Whether the metric "kl" fits: an output is a row of class scores per sample. */
export function hasClassScores(model: Model): boolean {
  const types = infer(model);
  return floatOutputs(model, types).some((v) => isRowOfScores(types.shape(v)));
}

function floatOutputs(model: Model, types: Types): Value[] {
  return model.graph.outputs.filter((v) => {
    const type = types.type(v);
    return type?.kind === "tensor" && isFloat(type.dtype);
  });
}

/** [N, C], [N, C, 1, 1] or [N, 1, 1, C], with at least two classes. */
function isRowOfScores(shape: readonly unknown[] | undefined): boolean {
  const wide = shape?.slice(1).filter((d) => d !== 1) ?? [];
  return wide.length === 1;
}

const MOVES: ReadonlySet<string> = new Set(["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast"]);

function isSoftmax(output: Value): boolean {
  let node = output.producer;
  while (node?.isStandard && MOVES.has(node.opType)) node = node.inputs[0]?.producer;
  return node?.isStandard === true && node.opType === "Softmax";
}

function oneMinusCosine(was: Float64Array, is: Float64Array): number {
  let [dot, a, b] = [0, 0, 0];
  let same = true;
  for (let i = 0; i < was.length; i++) {
    const [x, y] = [was[i] as number, is[i] as number];
    dot += x * y;
    a += x * x;
    b += y * y;
    same &&= x === y;
  }
  // Of equal rows rounding must not make a change.
  if (same) return 0;
  return a === 0 || b === 0 ? 1 : Math.max(0, 1 - dot / Math.sqrt(a * b));
}

function relativeDistance(was: Float64Array, is: Float64Array): number {
  let [distance, norm] = [0, 0];
  for (let i = 0; i < was.length; i++) {
    const [x, y] = [was[i] as number, is[i] as number];
    distance += (x - y) ** 2;
    norm += x * x;
  }
  return distance === 0 ? 0 : Math.sqrt(distance / norm);
}

function logSoftmax(scores: Float64Array): Float64Array {
  const most = scores.reduce((m, x) => Math.max(m, x), Number.NEGATIVE_INFINITY);
  const log = Math.log(scores.reduce((s, x) => s + Math.exp(x - most), 0));
  return scores.map((x) => x - most - log);
}

/** Smallest normal float32: probabilities that a float32 softmax rounded to 0 are no certainty. */
const LEAST_PROBABILITY = 2 ** -126;

function logOf(probabilities: Float64Array): Float64Array {
  return probabilities.map((p) => Math.log(Math.max(p, LEAST_PROBABILITY)));
}

/** Σ p·(ln p − ln q) in nats, which rounding may not make negative. */
function divergence(p: Float64Array, q: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += Math.exp(p[i] as number) * ((p[i] as number) - (q[i] as number));
  return Number.isNaN(sum) ? sum : Math.max(0, sum);
}
