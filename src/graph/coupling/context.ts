/** What an op's axis rule may say: the vocabulary of equations. */
import type { Dim } from "../dim.js";
import type { OpContext } from "../op.js";
import type { Axis } from "./axis.js";

/** Axis `axis` of input `input`. */
export interface Slot {
  readonly input: number;
  readonly axis: number;
  /**
   * The part of the axis the sum really runs over, where that is not the whole of it: a grouped convolution sums over
   * the channels of one group, not over the groups.
   */
  readonly over?: Axis;
  /** The sum runs inside a recurrence, where no Gather fits: the oracle sets the removed positions of this constant to 0. */
  readonly zero?: boolean;
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
  pick(a: Axis, indices: readonly number[]): Axis;
  /** The dependent axis of a grouped weight: member b goes with block b of `rows`, the weight's axis 0. */
  family(parts: readonly Axis[], rows: Axis): Axis;

  /**
   * The sum this node computes runs over these axes (one label of an einsum). Removing an index drops its terms: the
   * oracle gathers here, and weights on these axes are consumers.
   */
  contract(...slots: readonly Slot[]): void;
  /** `parts` must keep equally many indices; `why` names the constraint. */
  balance(parts: readonly Axis[], why: string): void;
  /** Freezes every axis of every input and output. */
  barrier(why: string): void;
}
