/** What a run found, as plain data: printed as a table, written as --json. */
import type { Note } from "./graph/note.js";
import type { Figures } from "./passes/pass.js";
import type { PruningPlan } from "./score/plan.js";
import type { Budget } from "./score/target.js";

/** Cost of one graph. MACs for batch 1; bytes of the file (external data included). */
export interface CostFigures {
  readonly macs: number;
  readonly parameters: number;
  readonly bytes: number;
  readonly activationBytes: number;
  readonly nodes: number;
}

/** Two graphs that must agree, and how far they do. */
export interface Equality {
  /** What was compared, e.g. "l1: pruned against the original with the removed slices made ineffective". */
  readonly what: string;
  /** Largest |difference| / largest |reference|, over all outputs and runs. */
  readonly maxRel: number;
  readonly tolerance: number;
  readonly runs: number;
  /** Execution provider and optimisation level. */
  readonly on: string;
  readonly ok: boolean;
  /** On failure: the first value, in graph order, that differs. */
  readonly firstDifference?: FirstDifference;
  /** How far the reference is from the unpruned graph: 0 would mean the check had nothing to see. */
  readonly drift?: number;
  /** The step changes the function on purpose, so that a drift of 0 would be a surprise. */
  readonly changes?: boolean;
}

/** Where two graphs part: the node whose output differs although what it reads agrees. */
export interface FirstDifference {
  readonly value: string;
  /** Label and operator of the node that makes it. */
  readonly node: string;
  readonly op: string;
  /** Largest |difference| / largest |reference| over the value, and the largest |difference| itself. */
  readonly maxRel: number;
  readonly maxAbs: number;
  /** Axes of the value: extent in the reference, and how many of its indices were compared. */
  readonly axes: readonly { readonly extent: number; readonly compared: number }[];
  /** Indices in the candidate's value of the largest difference, with both numbers; absent when the dims differ. */
  readonly worst?: { readonly at: readonly number[]; readonly got: number; readonly want: number };
  /** What the node reads. `maxRel` is undefined for what only one of the graphs has, or what holds no floats. */
  readonly inputs: readonly { readonly value: string; readonly constant: boolean; readonly maxRel: number | undefined }[];
  /** Values that could not be compared because only one of the graphs has them, between what agrees and what differs. */
  readonly skipped: readonly string[];
}

/** What a criterion saw of activations. */
export interface Calibration {
  readonly data: string;
  readonly samples: number;
  /** 0 without labels. */
  readonly classes: number;
  /** Number of statistics it asked for. */
  readonly statistics: number;
  /** Time it took to measure them; 0 where they were given. */
  readonly seconds: number;
}

/** What recovery did to a layer. Errors: mean squares on held-out samples, relative to the variance of the original's values. */
export interface RecoveredLayer {
  readonly node: string;
  readonly changed: boolean;
  readonly before: number;
  readonly after: number;
}

/** One kind of correction over the whole model, kept only if the outputs came nearer to the original's on held-out samples. */
export interface RecoveryStep {
  readonly method: string;
  /** Mean distance of the outputs from the original's. */
  readonly before: number;
  readonly after: number;
  readonly kept: boolean;
  readonly layers: readonly RecoveredLayer[];
}

/** Corrections of weights from unlabelled samples. */
export interface Recovery {
  readonly data: string;
  /** Samples that fitted, and samples that judged. */
  readonly fitted: number;
  readonly heldOut: number;
  /** kl: Kullback-Leibler divergence of class scores in nats; cosine: 1 − cosine of the outputs. */
  readonly metric: "kl" | "cosine";
  readonly before: number;
  readonly after: number;
  readonly steps: readonly RecoveryStep[];
  readonly left: readonly { readonly node: string; readonly why: string }[];
}

/** A gate that was kept, and by how much it lowers the loss of samples no fit has seen. */
export interface GateFigures {
  /** The map whose channels it multiplies. */
  readonly value: string;
  /** static: constant factors, folded into weights; diagonal and se stay in the graph. */
  readonly kinds: readonly ("static" | "diagonal" | "se")[];
  /** Samples that were looked at; a fifth of them judged. */
  readonly samples: number;
  /** Squared distance to the unpruned layers' results, as a share of these. */
  readonly heldOut: { readonly before: number; readonly after: number };
  /** What stays in the graph costs; counted in the totals. */
  readonly parameters: number;
  readonly macs: number;
}

export interface StepReport {
  readonly pass: string;
  readonly options: unknown;
  readonly changed: boolean;
  readonly milliseconds: number;
  readonly notes: readonly Note[];
  readonly budget?: Budget;
  /** Channels kept of each group, for removal steps. */
  readonly groups?: readonly { readonly name: string; readonly kept: number; readonly of: number }[];
  readonly calibration?: Calibration;
  /** What a pass did, layer by layer: titles are those of its own. */
  readonly figures?: readonly Figures[];
  /** Residual blocks that left, and how many nodes with each. */
  readonly blocks?: readonly { readonly name: string; readonly nodes: number }[];
  readonly recovery?: Recovery;
  readonly declined?: readonly { readonly group: string; readonly why: string }[];
  /** Gates kept (src/gates). */
  readonly gates?: readonly GateFigures[];
  /** With gates kept: distance of the outputs to the unpruned model's on held-out calibration samples, KL in nats or relative L2. */
  readonly outputs?: { readonly before: number; readonly after: number };
}

export interface AccuracyFigures {
  readonly samples: number;
  /** Fractions in [0, 1]; absent without labels. */
  readonly top1?: number;
  readonly top5?: number;
}

export interface AgreementFigures {
  /** Share of samples both graphs put in the same class. */
  readonly top1: number;
  /** Mean cosine between the two outputs. */
  readonly cosine: number;
  readonly maxRel: number;
}

export interface LatencyFigures {
  readonly provider: string;
  /** undefined: ONNX Runtime's choice. */
  readonly threads: number | undefined;
  readonly batch: number;
  readonly rounds: number;
  /** Median milliseconds per run, and the 95 % interval of the median. */
  readonly before: { readonly median: number; readonly low: number; readonly high: number };
  readonly after: { readonly median: number; readonly low: number; readonly high: number };
  /** before / after: above 1 is faster. */
  readonly speedup: { readonly median: number; readonly low: number; readonly high: number };
}

export interface RunReport {
  readonly format: 1;
  readonly tool: { readonly name: "onnx-prune"; readonly version: string };
  readonly input: { readonly path?: string; readonly sha256?: string };
  readonly output?: { readonly path: string; readonly sha256: string; readonly files: readonly string[] };
  readonly provider: { readonly name: string; readonly runtime: string; readonly notes: readonly string[] };
  readonly steps: readonly StepReport[];
  readonly cost: { readonly before: CostFigures; readonly after: CostFigures };
  readonly equality: readonly Equality[];
  /** Optimisation levels at which ONNX Runtime loaded and ran the result. */
  readonly loads: readonly { readonly level: string; readonly ok: boolean; readonly maxRel: number }[];
  readonly accuracy?: {
    readonly data: string;
    readonly before: AccuracyFigures;
    readonly after: AccuracyFigures;
    readonly agreement: AgreementFigures;
  };
  readonly latency?: LatencyFigures;
  readonly plans: readonly PruningPlan[];
  readonly notes: readonly Note[];
  readonly milliseconds: number;
}
