/** The checks every run makes on its result: interface, loading at all optimisation levels, a second opinion. */
import { VerificationError } from "../errors.js";
import { check, interfaceOf } from "../graph/check.js";
import type { Model } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";
import type { Equality, RunReport } from "../report.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { differenceText } from "./bisect.js";
import { preActivation, relative } from "./equality.js";
import { sourceOf } from "./source.js";

const LEVELS = ["disabled", "basic", "extended", "all"] as const;

/** ONNX Runtime's own rewriting may reorder sums: what it may change relative to the plain run. */
const OPTIMISER_TOLERANCE = 1e-3;

/**
 * Loads and runs `model` at every optimisation level.
 * @throws what Runner.load throws when ONNX Runtime refuses the model: then the file is not fit to be written.
 */
export async function checkLoads(runner: Runner, model: Model, feeds: Feeds): Promise<RunReport["loads"]> {
  const out: RunReport["loads"][number][] = [];
  let plain: Record<string, Tensor> | undefined;
  for (const level of LEVELS) {
    const session = await runner.load(sourceOf(model), { optimization: level });
    try {
      const run = await session.run(feeds);
      plain ??= run;
      const maxRel = Math.max(0, ...Object.entries(run).map(([name, t]) => relative(t, plain?.[name] as Tensor, scaleOf(model, name))));
      out.push({ level, ok: maxRel <= OPTIMISER_TOLERANCE, maxRel });
    } finally {
      await session.release();
    }
  }
  return out;
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
    `At optimisation level "${bad.level}" the result differs from its plain run by ${bad.maxRel.toExponential(1)}, more than ${OPTIMISER_TOLERANCE.toExponential(0)}.`,
    {
      hint: "Nothing was written. ONNX Runtime's optimiser changes this graph: compare the original at both levels, and report it if that agrees.",
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
