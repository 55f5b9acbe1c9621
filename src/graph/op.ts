/**
 * What an operator means: one OpSpec per op, in one file per op or family (ops/), read by the drivers
 * (infer.ts, coupling/, evaluate, cost.ts). A meaning that is missing has one defined consequence, never a guess:
 * no spec or no `infer`: types come from value_info; no `axes`: every axis the node touches is frozen with that reason (a
 * `barrier` says one of its own);
 * no `evaluate`: constants stay computed; no `macs`: counted as 0 and listed as not counted.
 */
import { internal } from "../errors.js";
import type { AxisContext } from "./coupling/context.js";
import type { ResizeContext } from "./coupling/resize.js";
import type { Dim } from "./dim.js";
import type { Graph, Node, TensorType, ValueType } from "./graph.js";
import type { Tensor } from "./tensor.js";

/** What inference knows about one output. `content`: the elements of a small integer tensor (rank 0 or 1), possibly symbolic. */
export interface Inferred {
  readonly type: ValueType;
  readonly content?: readonly Dim[] | undefined;
}

/** What an op's rules may ask about the node at hand. */
export interface OpContext {
  readonly node: Node;
  /** Version of the node's domain that the model imports. */
  readonly opset: number;
  /** Type of input i, when it is present and a tensor. */
  type(i: number): TensorType | undefined;
  /** Shape of input i; undefined when absent or of unknown rank. */
  shape(i: number): readonly Dim[] | undefined;
  /** The tensor of input i, when it is a constant. */
  constant(i: number): Tensor | undefined;
  /** Elements of input i, an integer tensor of rank 0 or 1, when known at least symbolically. */
  content(i: number): readonly Dim[] | undefined;
}

/** What `infer` may ask in addition. */
export interface InferContext extends OpContext {
  /** A symbol for an extent of output `output` along `axis` that only a run can tell; the same at every call. */
  fresh(output: number, axis: number): Dim;
  /** Infers the types inside `graph`, a subgraph of the node, from those of its inputs; returns the types of its outputs. */
  body(graph: Graph, inputs: readonly (ValueType | undefined)[]): readonly (ValueType | undefined)[];
}

export interface CostContext extends OpContext {
  /** Shape of output i. */
  outputShape(i: number): readonly Dim[] | undefined;
}

/** How many axes an input has: one number, or any from the first to the second. */
export type Rank = number | readonly [least: number, most: number];

/** One operator of one domain. */
export interface OpSpec {
  readonly type: string;
  /** Default: "" (ai.onnx). */
  readonly domain?: string;
  /** Opset versions at which the op's definition changed and which these rules have read, ascending. */
  readonly since: readonly number[];
  /** First version in which the operator is no longer valid (deprecated), where there is one. */
  readonly until?: number;
  /** Formal parameters as in the ONNX specification; "?" marks optional, "..." variadic. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Ranks of inputs, by position, that the other rules take for granted: no rule sees a node of which one is known to be another (operands.ts). */
  readonly ranks?: Readonly<Record<number, Rank>>;
  /** One line for docs/ops.md when something is deliberately left out or frozen. */
  readonly remark?: string;
  /** Types of the outputs. Return undefined for an output whose type cannot be told. @throws ModelError on contradictions. */
  infer?(op: InferContext): readonly (Inferred | undefined)[];
  /**
   * Inputs that state sizes, positions or indices rather than data. What the shape arithmetic of a model computes may
   * follow a pruned axis only into these; read as data (1/√d computed from a shape) it keeps its original value.
   */
  readonly sizeOperands?: readonly number[];
  /** Axis equations (coupling/context.ts). */
  axes?(op: AxisContext): void;
  /**
   * Instead of `axes`: why every axis the node touches is kept whole, as a sentence that users read. A decision, where a
   * missing rule would be a gap: nothing of such a node could be removed, or no removal of it could be proved.
   */
  readonly barrier?: string;
  /** Adjusts what in the node mentions a size (attributes, size operands) after axes shrank (coupling/resize.ts). */
  resize?(op: ResizeContext): void;
  /** Value of the outputs from constant inputs; undefined when this case is not handled. */
  evaluate?(op: OpContext, inputs: readonly (Tensor | undefined)[]): readonly Tensor[] | undefined;
  /**
   * Inputs whose elements the outputs only rearrange (zeros may be added): `evaluate` never looks at their values or
   * dtype, so symbolic contents move through the op without a rule of their own.
   */
  readonly moves?: "all" | readonly number[];
  /** Multiply-accumulates, batch included, as an extent (symbolic dims stay symbolic). */
  macs?(op: CostContext): Dim;
  /** True when outputs may differ between runs or calls (random ops): such nodes are never folded. */
  readonly nondeterministic?: boolean;
}

/** Gives the literal its type, and a barrier its axis rule. */
export function defineOp(spec: OpSpec): OpSpec {
  const { barrier, axes } = spec;
  if (barrier === undefined) return spec;
  if (axes) throw internal(`The spec of ${spec.type} has both an axis rule and a barrier.`);
  return { ...spec, axes: (op) => op.barrier(barrier) };
}
