/** Random inputs that fit a model. */

import { UnsupportedError } from "../errors.js";
import { type Dim, isKnown } from "../graph/dim.js";
import { isFloat } from "../graph/dtype.js";
import type { Model, Value } from "../graph/graph.js";
import { normal, random } from "../graph/random.js";
import { Tensor } from "../graph/tensor.js";
import type { Feeds } from "../runtime/runner.js";

/** Extents taken for symbolic axes: a batch of 2 (1 would hide what depends on it), and a side that most strides divide. */
export const RANDOM_BATCH = 2;
export const RANDOM_EXTENT = 64;

/**
 * Inputs of `model`: normal floats, small non-negative integers, from `seed`. Symbolic extents come from `shapes` by
 * input name, else axis 0 is 2 and the others 64; one symbol has one extent everywhere.
 */
export function randomFeeds(model: Model, seed: number, shapes: Readonly<Record<string, readonly number[]>> = {}): Feeds {
  const symbols = new Map<string, number>();
  const inputs = model.graph.inputs.filter((v) => v.constant === undefined && v.initializer === undefined);
  for (const v of inputs) {
    v.shape?.forEach((d, a) => {
      const given = shapes[v.name]?.[a];
      if (!isKnown(d) && given !== undefined) symbols.set(d, given);
    });
  }
  return Object.fromEntries(inputs.map((v) => [v.name, randomInput(v, seed, symbols, shapes[v.name])]));
}

function randomInput(v: Value, seed: number, symbols: Map<string, number>, given: readonly number[] | undefined): Tensor {
  const { shape, dtype } = v;
  if (!shape || !dtype)
    throw new UnsupportedError("VERIFY_INPUT", `Input "${v.name}" is not a tensor of known rank: no random input can be made for it.`, {
      at: { value: v.name },
    });
  const extent = (d: Dim, a: number): number => {
    if (given) return given[a] as number;
    if (isKnown(d)) return d;
    const n = symbols.get(d) ?? (a === 0 ? RANDOM_BATCH : RANDOM_EXTENT);
    symbols.set(d, n);
    return n;
  };
  const dims = shape.map(extent);
  const size = dims.reduce((a, b) => a * b, 1);
  const uniform = random(`${seed}/${v.name}`);
  if (isFloat(dtype)) {
    return Tensor.fromNumbers(
      dtype,
      dims,
      Float64Array.from({ length: size }, () => normal(uniform)),
    );
  }
  // Token ids, lengths, masks: small numbers fit most tables.
  return Tensor.fromNumbers(
    dtype,
    dims,
    Float64Array.from({ length: size }, () => Math.floor(uniform() * (dtype === "bool" ? 2 : 8))),
  );
}
