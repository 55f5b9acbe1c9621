/** What an op's axis rule may say: the vocabulary of equations. */
import type { Dim } from "../dim.js";
import type { Graph } from "../graph.js";
import type { OpContext } from "../op.js";
import type { Axis } from "./axis.js";

/** Axis `axis` of input `input`. */
export interface Slot {
  readonly input: number;
  readonly axis: number;
  /**
   * No Gather fits here: the sum runs inside a recurrence, or over the channels of one group of a convolution. The oracle
   * sets the removed positions of this input, a weight, to 0.
   */
  readonly zero?: boolean;
  /** What the sum runs over, where that is only a factor of the axis: the other factors make channels. For reports and scores. */
  readonly over?: Axis;
  /** Input with what stands for 0 in quantised weights: one number, or one per index of axis 0. Default: 0. */
  readonly zeroPoint?: number;
}

export interface AxisContext extends OpContext {
  /** Axes of input i, one per dimension. Only for inputs that are present (`has`). */
  in(i: number): readonly Axis[];
  has(i: number): boolean;
  /** Declares the axes of output i. Outputs a rule does not declare are frozen. */
  out(i: number, axes: readonly Axis[]): void;
  /** Inferred shape of output i. */
  outShape(i: number): readonly Dim[];

  /** A fresh axis. */
  atom(size: Dim): Axis;
  /** States that two axes are one. */
  same(a: Axis, b: Axis): void;
  /** Keeps an axis whole. */
  freeze(a: Axis, why: string): void;
  /** A fresh axis that is kept whole. */
  fixed(size: Dim, why: string): Axis;
  prod(parts: readonly Axis[]): Axis;
  sum(parts: readonly Axis[]): Axis;
  split(a: Axis, sizes: readonly Dim[]): Axis[];
  cut(a: Axis, offsets: readonly number[]): Axis[];
  /** The axis of these indices of `a`, in this order; `a` is uniform. */
  pick(a: Axis, indices: readonly number[]): Axis;
  /** An axis that depends on `rows`, another axis of the same tensor: in row b it is member b (axis.ts). */
  family(parts: readonly Axis[], rows: Axis): Axis;
  /** `size` fresh indices in each row of `rows`: as an axis beside the rows, and flattened with them. */
  dependent(rows: Axis, size: number): { readonly inner: Axis; readonly whole: Axis };
  /** Whether `a` depends on `rows`: it has other members in other rows. */
  dependsOn(a: Axis, rows: Axis): boolean;
  /** `a` in row `index` of `rows`, where it depends on them: for ops that pick rows. */
  inRow(a: Axis, rows: Axis, index: number): Axis;
  /** `a` with the same choices in every row of what it depends on: for ops that read it by position. */
  uniform(a: Axis): Axis;
  /** States that these axes are read together without the others of their tensor: what depends on one of those is uniform. */
  apart(axes: readonly Axis[]): void;
  /** States that `axis` runs over `rows` first, as many equal blocks as there are rows. */
  major(axis: Axis, rows: Axis): void;

  /**
   * The sum this node computes runs over these axes (one label of an einsum). Removing an index drops its terms: the
   * oracle gathers here, and weights on these axes are consumers.
   */
  contract(...slots: readonly Slot[]): void;
  /** The rows that stay keep equally many indices of what depends on them, and all `axes` as many as each other. `why` names the constraint. */
  balance(axes: readonly Axis[], why: string): void;
  /**
   * Types `graph`, a subgraph of the node, whose inputs have the axes of `inputs` (undefined: nothing is known of one).
   * Returns the axes of its outputs; undefined where a rank is unknown, and everywhere when the body contradicts itself.
   */
  body(graph: Graph, inputs: readonly (readonly Axis[] | undefined)[]): readonly (readonly Axis[] | undefined)[];
  /** Freezes every axis of every input and output, and of everything in the node's subgraphs. */
  barrier(why: string): void;
}
