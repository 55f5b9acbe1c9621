/** What an op may do when axes around it shrank: adjust attributes and the operands that state sizes. */
import type { Attribute } from "../attribute.js";
import type { Dim } from "../dim.js";
import type { Node } from "../graph.js";
import type { OpContext } from "../op.js";
import type { Tensor } from "../tensor.js";

/**
 * Shapes, types, contents and constants are those of the *original* node; `target` is the node of the new graph.
 * A rule is only called when an axis of an input or output really lost an index.
 */
export interface ResizeContext extends OpContext {
  readonly target: Node;
  /** Kept positions of an axis, ascending; undefined when all are kept. */
  keptIn(input: number, axis: number): readonly number[] | undefined;
  keptOut(output: number, axis: number): readonly number[] | undefined;
  /** New extents. */
  sizeIn(input: number, axis: number): Dim;
  sizeOut(output: number, axis: number): Dim;
  outShape(output: number): readonly Dim[];
  /** undefined removes the attribute. */
  setAttribute(name: string, attribute: Attribute | undefined): void;
  /** Makes a size operand evaluate to `content`: shape arithmetic that already follows is left alone. */
  setOperand(input: number, content: readonly Dim[]): void;
  /** Replaces an operand by a constant. */
  setTensor(input: number, tensor: Tensor): void;
  /** Puts a Gather of constant `indices` before input `input`. */
  gatherInput(input: number, axis: number, indices: readonly number[]): void;
}
