/** Cases of the op contract test: one node with inputs, run as it stands in ONNX Runtime and by our rules (../ops.test.ts). */
import type { Attribute } from "../../src/graph/attribute.js";
import type { DType } from "../../src/graph/dtype.js";
import { Tensor } from "../../src/graph/tensor.js";

export interface OpCase {
  readonly op: string;
  readonly domain?: string;
  /** Version, or versions, of the default domain to run the case at. */
  readonly opset: number | readonly number[];
  /** What is special about the case: "ceil_mode with dilations". */
  readonly name: string;
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** Undefined is an absent optional input. */
  readonly inputs: readonly (Tensor | undefined)[];
  /** Outputs to ask for. Default 1. */
  readonly outputs?: number;
  /**
   * Inputs whose elements inference is not shown, because extents depend on them. With this (even empty) extents may be
   * fresh symbols; those that are known must still be right. Default: all elements are shown, all extents must be known.
   */
  readonly hidden?: readonly number[];
  /** False where `evaluate` refuses, or is free to. Default: it must give ONNX Runtime's values if the spec has one. */
  readonly evaluates?: boolean;
  /** False where rules assume something of symbols that this case's extents break. */
  readonly symbolic?: false;
  /** Absolute error allowed to floats besides 1e-6 of the value, for functions that the runtime approximates or that cancel in float32. Default 0. */
  readonly absolute?: number;
  /** Multiply-accumulates by hand. */
  readonly macs?: number;
}

/** A float32 tensor of reproducible values in (-1, 1), different for every shape and seed. */
export function x(dims: readonly number[], seed = 1): Tensor {
  return Tensor.floats(
    dims,
    Float32Array.from(uniform(dims, seed), (u) => 2 * u - 1),
  );
}

/** Like `x`, in (low, high). */
export function between(low: number, high: number, dims: readonly number[], seed = 1): Tensor {
  return Tensor.floats(
    dims,
    Float32Array.from(uniform(dims, seed), (u) => low + (high - low) * u),
  );
}

/** A tensor of any numeric type from a list; a vector unless `dims` are given. */
export function of(dtype: DType, values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
  return Tensor.fromNumbers(dtype, dims, values);
}

/** An int64 vector, as shapes and axes are. */
export const i64 = (...values: number[]): Tensor => Tensor.ints(values);
/** An int64 scalar. */
export const scalar = (value: number): Tensor => Tensor.ints([value], []);
/** A float32 vector. */
export const f32 = (...values: number[]): Tensor => Tensor.floats([values.length], values);
/** A float32 scalar. */
export const f0 = (value: number): Tensor => Tensor.floats([], [value]);

/** Mulberry32. */
function uniform(dims: readonly number[], seed: number): number[] {
  let state = dims.reduce((h, d) => (Math.imul(h, 31) + d) | 0, seed * 7919);
  return Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  });
}

/** Bytes of all values, in an order that repeats late. */
export const bytes = (dims: readonly number[]): Tensor =>
  of(
    "uint8",
    Array.from({ length: dims.reduce((a, b) => a * b) }, (_, i) => (i * 11) % 256),
    dims,
  );
