/**
 * Made-up data for a smoke run: standard normal floats, uniform bytes, and 0 or 1 for wider integers and booleans,
 * which may be indices into a table of unknown length.
 */
import { ConfigError, UnsupportedError } from "../../errors.js";
import { type Dim, evaluate } from "../../graph/dim.js";
import { isFloat } from "../../graph/dtype.js";
import { normal, random } from "../../graph/random.js";
import { Tensor } from "../../graph/tensor.js";
import { digest } from "../fingerprint.js";
import type { InputShape, TensorSource } from "../source.js";

/**
 * `count` samples for `inputs`. Symbolic extents come from `symbols`, else 224 for height and width of an image, 3 for its
 * channels and 16 elsewhere; the leading axis is 1. Sample i depends on the seed and i alone, not on the order of reading.
 * @throws ConfigError when `countText` is no count.
 */
export function openRandom(
  countText: string,
  inputs: readonly InputShape[],
  options: { readonly seed: number; readonly symbols: Readonly<Record<string, number>> },
): TensorSource {
  const count = Number(countText);
  if (!/^\d+$/.test(countText) || !Number.isSafeInteger(count) || count < 1) {
    throw new ConfigError("DATA_RANDOM", `random: needs a count of samples, got "random:${countText}".`, {
      hint: "For example random:64.",
    });
  }
  const dims = concreteShapes(inputs, options.symbols);
  return {
    kind: "tensors",
    format: "random",
    count,
    labels: undefined,
    beside: [],
    nameOf: (i) => `random sample ${i}`,
    fileOf: () => undefined,
    fingerprint: async (indices) => digest([JSON.stringify({ seed: options.seed, dims }), indices.join()]),
    read: async (i) =>
      Object.fromEntries(
        inputs.map((input, k) => [input.name, made(input, dims[k] as number[], random(`${options.seed}/${i}/${input.name}`))]),
      ),
  };
}

function made(input: InputShape, dims: readonly number[], uniform: () => number): Tensor {
  const { dtype } = input;
  const size = dims.reduce((a, b) => a * b, 1);
  const values = new Float64Array(size);
  if (isFloat(dtype)) for (let i = 0; i < size; i++) values[i] = normal(uniform);
  else if (dtype === "uint8") for (let i = 0; i < size; i++) values[i] = Math.floor(uniform() * 256);
  else if (dtype === "int8") for (let i = 0; i < size; i++) values[i] = Math.floor(uniform() * 256) - 128;
  else for (let i = 0; i < size; i++) values[i] = uniform() < 0.5 ? 0 : 1;
  if (dtype === "string" || dtype.startsWith("complex") || dtype.startsWith("float8") || dtype === "float4e2m1" || dtype === "undefined") {
    throw new UnsupportedError("DATA_DTYPE", `No random data can be made for input "${input.name}" of ${dtype}.`, {
      at: { value: input.name },
      hint: "Give real data.",
    });
  }
  return Tensor.fromNumbers(dtype, dims, values);
}

/** Shapes with the leading axis 1 and every symbol bound, the same symbol to the same number in all inputs. */
function concreteShapes(inputs: readonly InputShape[], given: Readonly<Record<string, number>>): number[][] {
  const symbols = new Map(Object.entries(given));
  return inputs.map(({ shape }) =>
    shape.map((d, axis) => {
      if (axis === 0) return 1;
      const known = evaluate(d, symbols);
      if (known !== undefined) return known;
      const value = likely(shape, axis);
      symbols.set(String(d), value);
      return value;
    }),
  );
}

function likely(shape: readonly Dim[], axis: number): number {
  if (shape.length !== 4) return 16;
  const last = shape[3];
  const channelsLast = (last === 1 || last === 3 || last === 4) && typeof shape[1] !== "number";
  return axis === (channelsLast ? 3 : 1) ? 3 : 224;
}
