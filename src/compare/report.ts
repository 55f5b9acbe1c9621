/** What a comparison found, as plain data. Figures that JSON has no number for (Infinity, NaN) are written as strings by --json. */
import type { Note } from "../graph/note.js";
import type { FirstDifference, RunReport } from "../report.js";
import type { GraphDifference } from "./graph-difference.js";
import type { NumericDifference, ScoreDifference } from "./output-difference.js";
import type { AccuracyComparison } from "./paired-accuracy.js";

export type { Both, GraphDifference, LayerDifference, NodeName, PortDifference } from "./graph-difference.js";
export type { Match } from "./match-layers.js";
export type { NumericDifference, ScoreDifference } from "./output-difference.js";
export type { AccuracyComparison, ClassAccuracy, PairedAccuracy } from "./paired-accuracy.js";
export type { Estimate, McNemar, PairCounts } from "./statistics.js";

/** One output of both graphs. */
export interface OutputDifference {
  readonly name: string;
  /** Dims of the last run; undefined where the graph has no such output. */
  readonly dims: { readonly a: readonly number[] | undefined; readonly b: readonly number[] | undefined };
  /** Why there are no numbers. */
  readonly notCompared: string | undefined;
  readonly numbers: NumericDifference | undefined;
  readonly scores: ScoreDifference | undefined;
  /** Where the output saturates (Sigmoid, Softmax, Tanh) and graphs should be equal: what the activation is applied to, compared too. */
  readonly before: { readonly value: string; readonly maxRel: number } | undefined;
  /**
   * What is held against the tolerance: maxRel; for an output that saturates the larger of max|a - b| and `before.maxRel`.
   * Undefined where nothing was compared.
   */
  readonly error: number | undefined;
}

/** How outputs were compared. */
export interface RunsFigures {
  /** The samples as opened, or "random inputs (16 samples)". */
  readonly data: string;
  /** Of the samples (calibrate/samples.ts): equal for equal samples on any machine. */
  readonly fingerprint: string | undefined;
  readonly samples: number;
  /** Execution provider and optimisation level. */
  readonly on: string;
}

export interface LatencyAB {
  readonly provider: string;
  /** undefined: ONNX Runtime's choice. */
  readonly threads: number | undefined;
  readonly batch: number;
  readonly rounds: number;
  /** Median milliseconds per run, and the 95 % interval of the median. */
  readonly a: { readonly median: number; readonly low: number; readonly high: number };
  readonly b: { readonly median: number; readonly low: number; readonly high: number };
  /** Time of b / time of a within each round: below 1 is faster. */
  readonly ratio: { readonly median: number; readonly low: number; readonly high: number };
}

/** Where the graphs part, of what can be compared: values of the same name and dims. */
export interface BisectFigures {
  /** What b was compared with: "a", or a with the removed slices of the plan made ineffective. */
  readonly against: string;
  readonly tolerance: number;
  /** Values that were comparable, of those that nodes of a compute. */
  readonly comparable: number;
  readonly values: number;
  readonly first: FirstDifference | undefined;
}

/** One thing that was looked at. */
export interface Check {
  readonly kind: "interface" | "loads" | "output" | "accuracy" | "latency" | "size";
  /** Unique among the checks, e.g. `output "logits"`. */
  readonly name: string;
  /** "reported": there was no threshold to hold it against. */
  readonly status: "ok" | "failed" | "reported" | "skipped";
  /** What was found, and what was allowed, in one sentence. */
  readonly message: string;
  /** For a failure: 3 accuracy or budget not met, 4 different outputs. */
  readonly exitCode?: 3 | 4;
}

export interface Verdict {
  readonly ok: boolean;
  /** 4 before 3: where outputs differ by contract, how good they are is the lesser question. */
  readonly exitCode: 0 | 3 | 4;
  /** What decided, in plain words. */
  readonly reason: string;
}

export interface CompareReport {
  readonly format: 1;
  readonly kind: "compare";
  readonly tool: { readonly name: "onnx-prune"; readonly version: string };
  readonly a: { readonly path?: string; readonly sha256?: string };
  readonly b: { readonly path?: string; readonly sha256?: string };
  readonly provider: { readonly name: string; readonly runtime: string; readonly notes: readonly string[] };
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  readonly graph: GraphDifference;
  /** undefined where the inputs differ: then nothing can be run on both. */
  readonly runs: RunsFigures | undefined;
  readonly outputs: readonly OutputDifference[];
  readonly loads: RunReport["loads"];
  readonly accuracy: AccuracyComparison | undefined;
  readonly latency: LatencyAB | undefined;
  readonly bisect: BisectFigures | undefined;
  readonly notes: readonly Note[];
  readonly milliseconds: number;
}
