/** Thresholds held against figures: checks, each with its sentence, and the verdict they add up to. */
import type { GraphDifference } from "./graph-difference.js";
import type { AccuracyComparison } from "./paired-accuracy.js";
import type { Check, CompareReport, LatencyAB, OutputDifference, Verdict } from "./report.js";

/** What must hold. A bound that is given always holds; figures without one are reported. */
export interface Thresholds {
  /** Highest loss of top-1 accuracy in percentage points; past it exit code 3. */
  readonly maxDrop?: number | undefined;
  /** Hold the upper end of the drop's 95 % interval against `maxDrop`, not the estimate. Default false. */
  readonly confident?: boolean | undefined;
  /**
   * Highest error of any output: max|a - b| / max|a|. Default: 1e-5 (float16 5e-3, bfloat16 4e-2) where neither `maxDrop` nor another
   * bound on outputs is given, for graphs that are meant to be equal; else "none".
   */
  readonly tolerance?: number | "none" | undefined;
  /** Least cosine of every float output. */
  readonly minCosine?: number | undefined;
  /** Least share of samples with the same best class, of every output of class scores. */
  readonly minAgreement?: number | undefined;
  /** Highest mean KL(p_a ‖ p_b) in nats, of every output of class scores. */
  readonly maxKl?: number | undefined;
  /** Highest median of time of b / time of a. */
  readonly maxLatencyRatio?: number | undefined;
  /** Highest fraction of what a has; past it exit code 3. */
  readonly maxMacs?: number | undefined;
  readonly maxParams?: number | undefined;
  readonly maxBytes?: number | undefined;
}

/** Whether the graphs are meant to compute the same: nothing said that they may differ. */
export function areMeantEqual(t: Thresholds): boolean {
  const isBounded = [t.maxDrop, t.minCosine, t.minAgreement, t.maxKl].some((x) => x !== undefined);
  return t.tolerance === undefined ? !isBounded : t.tolerance !== "none";
}

type Found = Pick<CompareReport, "graph" | "runs" | "outputs" | "loads" | "accuracy" | "latency">;

/** All checks in the order of a report. `tolerance` is undefined where outputs may differ. */
export function checksOf(found: Found, thresholds: Thresholds, tolerance: number | undefined): Check[] {
  return [
    interfaceCheck(found.graph),
    loadsCheck(found.loads),
    ...found.outputs.map((o) => outputCheck(o, thresholds, tolerance)),
    ...(found.accuracy || thresholds.maxDrop !== undefined ? [accuracyCheck(found.accuracy, thresholds)] : []),
    ...(found.latency || thresholds.maxLatencyRatio !== undefined
      ? [latencyCheck(found.latency, found.runs !== undefined, thresholds)]
      : []),
    ...sizeChecks(found.graph, thresholds),
  ];
}

/** The first failure with the highest exit code decides; where all is well, what was held against a bound. */
export function verdictOf(checks: readonly Check[]): Verdict {
  const failures = checks.filter((c) => c.status === "failed").sort((x, y) => (y.exitCode ?? 0) - (x.exitCode ?? 0));
  const [first] = failures;
  if (first) {
    const others = failures.length - 1;
    const more = others === 0 ? "" : ` ${others === 1 ? "One more check" : `${others} more checks`} failed.`;
    return { ok: false, exitCode: first.exitCode ?? 4, reason: `${first.message}${more}` };
  }
  const [skipped] = checks.filter((c) => c.status === "skipped");
  const but = skipped ? ` ${skipped.message}` : "";
  const held = checks.filter((c) => c.status === "ok" && c.kind !== "interface" && c.kind !== "loads");
  // Accuracy is what people look for first.
  const order = (c: Check) => ["accuracy", "output", "latency", "size"].indexOf(c.kind);
  const [main, ...rest] = [...held].sort((x, y) => order(x) - order(y));
  if (!main) return { ok: true, exitCode: 0, reason: `The interface is the same and b runs; nothing else was held against a bound.${but}` };
  const more = rest.length === 0 ? "" : ` ${rest.length === 1 ? "One more bound holds" : `${rest.length} more bounds hold`}.`;
  return { ok: true, exitCode: 0, reason: `${main.message}${more}${but}` };
}

function interfaceCheck({ interface: ports }: GraphDifference): Check {
  const bad = ports.filter((p) => !p.ok);
  const base = { kind: "interface", name: "interface" } as const;
  if (bad.length === 0)
    return { ...base, status: "ok", message: `Inputs and outputs are the same (${ports.map((p) => p.name).join(", ")}).` };
  const text = bad.map((p) =>
    p.b === undefined
      ? `${p.kind} "${p.name}" is missing in b`
      : p.a === undefined
        ? `${p.kind} "${p.name}" is only in b`
        : `${p.kind} "${p.name}" is ${p.a} in a and ${p.b} in b`,
  );
  return { ...base, status: "failed", exitCode: 4, message: `The interface differs: ${text.join("; ")}.` };
}

function loadsCheck(loads: CompareReport["loads"]): Check {
  const base = { kind: "loads", name: "b loads and runs" } as const;
  if (loads.length === 0) return { ...base, status: "skipped", message: "b was not run." };
  const levels = `optimisation ${loads.map((l) => l.level).join(", ")}`;
  const bad = loads.find((l) => !l.ok);
  if (!bad) return { ...base, status: "ok", message: `b loads and runs at ${levels}, with the same results.` };
  const message = `At optimisation ${bad.level}, b differs from its unoptimised run by ${figure(bad.maxRel)}, and more than a does.`;
  return { ...base, status: "failed", exitCode: 4, message };
}

function outputCheck(output: OutputDifference, thresholds: Thresholds, tolerance: number | undefined): Check {
  const base = { kind: "output", name: `output "${output.name}"` } as const;
  const { numbers, scores, error } = output;
  if (!numbers || error === undefined) {
    const isOther = output.dims.a !== undefined && output.dims.b !== undefined && String(output.dims.a) !== String(output.dims.b);
    const message = `Output "${output.name}" was not compared: ${output.notCompared}.`;
    return isOther ? { ...base, status: "failed", exitCode: 4, message } : { ...base, status: "skipped", message };
  }
  const failed = (message: string): Check => ({ ...base, status: "failed", exitCode: 4, message: `Output "${output.name}" ${message}` });
  const held: string[] = [];
  if (tolerance !== undefined) {
    const { equal } = numbers.nonFinite;
    if (numbers.elements > 0 && equal === numbers.elements) return failed("had no finite number in any run: there was nothing to compare.");
    if (!(error <= tolerance)) {
      return failed(`differs: ${errorText(output)}, where ${figure(tolerance)} is allowed.`);
    }
    held.push(`agrees within ${figure(tolerance)} (${errorText(output)})`);
  }
  const bounds: readonly (readonly [string, number | undefined, number | undefined, "least" | "most"])[] = [
    ["cosine", numbers.cosine, thresholds.minCosine, "least"],
    ["agreement", scores?.agreement, thresholds.minAgreement, "least"],
    ["mean KL", scores?.kl, thresholds.maxKl, "most"],
  ];
  for (const [what, value, bound, side] of bounds) {
    if (bound === undefined || value === undefined) continue;
    const text = `${what} ${figure(value)}, ${side === "least" ? "at least" : "at most"} ${figure(bound)} allowed`;
    if (!(side === "least" ? value >= bound : value <= bound)) return failed(`differs too much: ${text}.`);
    held.push(`has ${text}`);
  }
  if (held.length > 0) return { ...base, status: "ok", message: `Output "${output.name}" ${held.join("; ")}.` };
  return { ...base, status: "reported", message: `Output "${output.name}": ${errorText(output)}, cosine ${figure(numbers.cosine)}.` };
}

function errorText({ before, error }: OutputDifference): string {
  return before && before.maxRel === error
    ? `relative error ${figure(before.maxRel)} of "${before.value}", before it saturates`
    : `relative error ${figure(error ?? Number.NaN)}`;
}

/** "fell by 1.20 points (95 % interval 0.31 to 2.09) on 2,000 samples" */
function dropText({ top1: { drop, a, b }, samples }: AccuracyComparison): string {
  const size = Math.abs(drop.value).toFixed(2);
  const moved = drop.value > 0 ? `fell by ${size} points` : drop.value < 0 ? `rose by ${size} points` : "did not change";
  const interval = `95 % interval of the drop ${drop.low.toFixed(2)} to ${drop.high.toFixed(2)}`;
  return `${moved}, from ${(100 * a.value).toFixed(2)} % to ${(100 * b.value).toFixed(2)} % (${interval}, ${samples} samples)`;
}

function accuracyCheck(accuracy: AccuracyComparison | undefined, { maxDrop, confident }: Thresholds): Check {
  const base = { kind: "accuracy", name: "top-1 accuracy" } as const;
  if (!accuracy) return { ...base, status: "skipped", message: "Accuracy was not measured: the graphs take or give something else." };
  const { drop } = accuracy.top1;
  if (maxDrop === undefined) return { ...base, status: "reported", message: `Top-1 accuracy ${dropText(accuracy)}.` };
  const judged = confident ? drop.high : drop.value;
  const allowed = confident ? `the interval must not pass ${maxDrop} points` : `at most ${maxDrop} points allowed`;
  const message = `Top-1 accuracy ${dropText(accuracy)}; ${allowed}.`;
  return judged <= maxDrop ? { ...base, status: "ok", message } : { ...base, status: "failed", exitCode: 3, message };
}

function latencyCheck(latency: LatencyAB | undefined, isRun: boolean, { maxLatencyRatio: most }: Thresholds): Check {
  const base = { kind: "latency", name: "latency" } as const;
  if (!latency) {
    if (!isRun) return { ...base, status: "skipped", message: "Latency was not measured: nothing was run." };
    const message = "Latency was not measured, so that its bound cannot hold: the weights of both graphs exceed the memory allowed.";
    return { ...base, status: "failed", exitCode: 3, message };
  }
  const { ratio } = latency;
  const interval = `95 % interval ${ratio.low.toFixed(3)} to ${ratio.high.toFixed(3)}`;
  const text = `b takes ${ratio.median.toFixed(3)} times as long as a (${interval})`;
  if (most === undefined) return { ...base, status: "reported", message: `${text}.` };
  const message = `${text}; at most ${most} allowed.`;
  return ratio.median <= most ? { ...base, status: "ok", message } : { ...base, status: "failed", exitCode: 3, message };
}

function sizeChecks({ cost }: GraphDifference, t: Thresholds): Check[] {
  const sizes = [
    ["MACs", cost.a.macs, cost.b.macs, t.maxMacs],
    ["parameters", cost.a.parameters, cost.b.parameters, t.maxParams],
    ["bytes", cost.a.bytes, cost.b.bytes, t.maxBytes],
  ] as const;
  return sizes.map(([name, a, b, most]): Check => {
    const base = { kind: "size", name } as const;
    const fraction = a === b ? 1 : b / a;
    const text = `b has ${fraction.toFixed(4)} of the ${name} of a (${b} of ${a})`;
    if (most === undefined) return { ...base, status: "reported", message: `${text}.` };
    const message = `${text}; at most ${most} allowed.`;
    return fraction <= most ? { ...base, status: "ok", message } : { ...base, status: "failed", exitCode: 3, message };
  });
}

/** Four significant digits; exponents where a fixed notation would be long. */
function figure(x: number): string {
  if (!Number.isFinite(x)) return String(x);
  return x !== 0 && Math.abs(x) < 1e-3 ? x.toExponential(1) : String(Number(x.toPrecision(4)));
}
