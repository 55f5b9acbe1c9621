/** Range (onnx/docs/Operators.md#Range). Symbolic bounds are taken to lie in the direction of the step. */
import { add, ceilDiv, type Dim, isKnown, sub } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { elements } from "./content-algebra.js";
import { store } from "./numeric.js";
import { noMacs, tensorOf } from "./shape-rules.js";

/** Longest range whose elements are followed one by one. */
const LONGEST = 64;

const range = defineOp({
  type: "Range",
  since: [11],
  inputs: ["start", "limit", "delta"],
  outputs: ["output"],

  infer(op) {
    const type = op.type(0) ?? op.type(1) ?? op.type(2);
    if (!type) return [undefined];
    const constants = [0, 1, 2].map((i) => op.constant(i)?.numbers()[0]);
    if (constants.every((c) => c !== undefined)) {
      const [start, limit, delta] = constants as [number, number, number];
      const count = countOf(start, limit, delta);
      const isSmall = count <= LONGEST && constants.every(Number.isInteger);
      return [tensorOf(type.dtype, [count], isSmall ? Array.from({ length: count }, (_, k) => start + k * delta) : undefined)];
    }
    const [start, limit, delta] = [0, 1, 2].map((i) => elements(op, i)?.[0]) as [Dim?, Dim?, Dim?];
    if (start === undefined || limit === undefined || delta === undefined || !isKnown(delta) || delta === 0) {
      return [tensorOf(type.dtype, [op.fresh(0, 0)])];
    }
    const count = delta > 0 ? ceilDiv(sub(limit, start), delta) : ceilDiv(sub(start, limit), -delta);
    if (!isKnown(count)) return [tensorOf(type.dtype, [count])];
    const length = Math.max(0, count);
    return [tensorOf(type.dtype, [length], length <= LONGEST ? Array.from({ length }, (_, k) => add(start, k * delta)) : undefined)];
  },

  evaluate(op, inputs) {
    const dtype = inputs[0]?.dtype;
    const [start, limit, delta] = inputs.map((t) => t?.numbers()[0]);
    if (dtype === undefined || start === undefined || limit === undefined || !delta) return undefined;
    const count = countOf(start, limit, delta);
    // A float runtime adds delta again and again, which rounds differently.
    if (!op.type(0)?.dtype.startsWith("int") && ![start, delta].every(Number.isInteger)) return undefined;
    const out = store(
      dtype,
      [count],
      Float64Array.from({ length: count }, (_, k) => start + k * delta),
    );
    return out && [out];
  },

  barrier: "Range counts from scalars: nothing of it is stored",
  macs: noMacs,
});

function countOf(start: number, limit: number, delta: number): number {
  return Math.max(0, Math.ceil((limit - start) / delta));
}

export const specs: readonly OpSpec[] = [range];
