/** The checks every run makes on its result: interface, loading at all optimisation levels, a second opinion. */
import { VerificationError } from "../errors.js";
import { check, interfaceOf } from "../graph/check.js";
import type { Model } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";
import type { Equality, RunReport } from "../report.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { differenceText } from "./bisect.js";
import { preActivation, relative } from "./equality.js";
import { runAll } from "./pieces.js";

const LEVELS = ["disabled", "basic", "extended", "all"] as const;

/** ONNX Runtime's own rewriting may reorder sums: what it may change relative to the plain run. */
const OPTIMISER_TOLERANCE = 1e-3;

/** How much more of that than in the original counts as the same. */
const OPTIMISER_FACTOR = 2;

/**
 * Loads and runs `model` at every optimisation level; a large one in pieces, so that the optimiser sees one at a time.
 *
 * Some rewriting of ONNX Runtime changes results by design: it computes products with 4-bit weights on activations that it
 * quantises on the way. So a level passes too when it changes the original about as much.
 * @throws what Runner.load throws when ONNX Runtime refuses the model: then the file is not fit to be written.
 */
export async function checkLoads(runner: Runner, model: Model, feeds: Feeds, original: Model): Promise<RunReport["loads"]> {
  const out: RunReport["loads"][number][] = [];
  const plain = await runAt(runner, model, feeds, LEVELS[0]);
  let plainOriginal: Outputs | undefined;
  for (const level of LEVELS) {
    const maxRel = level === LEVELS[0] ? 0 : difference(model, await runAt(runner, model, feeds, level), plain);
    let allowed = OPTIMISER_TOLERANCE;
    if (!(maxRel <= allowed)) {
      plainOriginal ??= await runAt(runner, original, feeds, LEVELS[0]);
      const same = difference(original, await runAt(runner, original, feeds, level), plainOriginal);
      allowed = Math.max(allowed, OPTIMISER_FACTOR * same);
    }
    out.push({ level, ok: maxRel <= allowed, maxRel });
  }
  return out;
}

type Outputs = Readonly<Record<string, Tensor>>;

async function runAt(runner: Runner, model: Model, feeds: Feeds, level: (typeof LEVELS)[number]): Promise<Outputs> {
  const [run] = await runAll(runner, model, [feeds], { optimization: level, constant: true });
  return run as Outputs;
}

/** The largest relative difference of any output. */
function difference(model: Model, run: Outputs, plain: Outputs): number {
  return Math.max(0, ...Object.entries(run).map(([name, t]) => relative(t, plain[name] as Tensor, scaleOf(model, name))));
}

/** Saturating outputs are judged on the scale of 1, as in equality.ts. */
function scaleOf(model: Model, output: string): number {
  const value = model.graph.value(output);
  return value && preActivation(value) ? 1 : 0;
}

/** @throws VerificationError (exit 4) when an optimisation level computes something else. */
export function requireLoads(loads: RunReport["loads"]): void {
  const bad = loads.find((l) => !l.ok);
  if (!bad) return;
  throw new VerificationError(
    "VERIFY_OPTIMISED",
    `At optimisation level "${bad.level}" the result differs from its plain run by ${bad.maxRel.toExponential(1)}, more than ${OPTIMISER_TOLERANCE.toExponential(0)} and more than ${OPTIMISER_FACTOR} times as much as the original.`,
    {
      hint: "Nothing was written. ONNX Runtime's optimiser changes this graph, and not the original: please report it with the model and the command line.",
    },
  );
}

/** @throws VerificationError when names, types or dims of inputs or outputs changed, or the graph breaks an invariant. */
export function checkInterface(before: Model, after: Model): void {
  const violations = check(after, { interface: interfaceOf(before) });
  const first = violations[0];
  if (first)
    throw new VerificationError("VERIFY_INTERFACE", `The result is not a valid replacement of the input: ${first}`, {
      hint: "This is a bug in onnx-prune; nothing was written. Please report it.",
    });
}

/** @throws VerificationError (exit 4) when any comparison failed, naming the first value that differs. */
export function requireEquality(results: readonly Equality[]): void {
  const bad = results.find((r) => !r.ok);
  if (!bad) return;
  const where = bad.firstDifference ? ` ${differenceText(bad.firstDifference)}` : "";
  throw new VerificationError(
    "VERIFY_NOT_EQUAL",
    `${bad.what}: relative error ${bad.maxRel.toExponential(1)} is above ${bad.tolerance.toExponential(0)} on ${bad.on}.${where}`,
    {
      hint: "Nothing was written. This is a bug in onnx-prune: please report it with the model and the command line.",
      ...(bad.firstDifference ? { at: { node: bad.firstDifference.node, value: bad.firstDifference.value } } : {}),
      details: results,
    },
  );
}
