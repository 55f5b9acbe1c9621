/** Attributes of a node, as a discriminated union over what ONNX allows. */
import type { Graph } from "./graph.js";
import type { Tensor } from "./tensor.js";

/** The kinds a function's attribute can have. */
export type AttributeKind = "int" | "ints" | "float" | "floats" | "string" | "strings" | "tensor" | "tensors" | "graph" | "graphs";

/**
 * `origin` is the AttributeProto it was decoded from: an attribute nobody replaced is written back as it came.
 * Integers beyond ±2^53 are saturated in `value` and exact in `origin`.
 */
export type Attribute = (
  | { readonly kind: "int"; readonly value: number }
  | { readonly kind: "ints"; readonly value: readonly number[] }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "floats"; readonly value: readonly number[] }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "strings"; readonly value: readonly string[] }
  | { readonly kind: "tensor"; readonly value: Tensor }
  | { readonly kind: "tensors"; readonly value: readonly Tensor[] }
  | { readonly kind: "graph"; readonly value: Graph }
  | { readonly kind: "graphs"; readonly value: readonly Graph[] }
  /** A reference to an attribute of the enclosing function (ref_attr_name), which is of kind `of` where that is known. */
  | { readonly kind: "reference"; readonly value: string; readonly of?: AttributeKind }
  /** Sparse tensors, type protos, and kinds newer than this code: carried by origin alone. */
  | { readonly kind: "opaque"; readonly value: string }
) & { readonly origin?: object | undefined };

export const int = (value: number): Attribute => ({ kind: "int", value });
export const ints = (value: readonly number[]): Attribute => ({ kind: "ints", value });
export const float = (value: number): Attribute => ({ kind: "float", value });
export const floats = (value: readonly number[]): Attribute => ({ kind: "floats", value });
export const string = (value: string): Attribute => ({ kind: "string", value });
export const tensor = (value: Tensor): Attribute => ({ kind: "tensor", value });
