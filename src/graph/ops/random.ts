/** Random ops (onnx/docs/Operators.md#RandomNormal): types only; they are never folded, with a seed or without. */
import { type DType, dtypeOfWire } from "../dtype.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { noMacs, tensorOf } from "./shape-rules.js";

const FLOAT = 1;
const INT32 = 6;

const RANDOM = "its values are random: what removal leaves could not be compared with the original";

/** Draws a tensor of the attribute `shape`. */
const ofShape = (type: string): OpSpec =>
  defineOp({
    type,
    since: [1, 22],
    inputs: [],
    outputs: ["output"],
    nondeterministic: true,
    barrier: RANDOM,
    infer({ node }) {
      const dtype = dtypeOfWire(node.int("dtype", FLOAT));
      return [dtype && tensorOf(dtype, node.ints("shape"))];
    },
    macs: noMacs,
  });

/** Draws a tensor of the shape of the input. */
const likeShape = (type: string, since: readonly number[]): OpSpec =>
  defineOp({
    type,
    since,
    inputs: ["input"],
    outputs: ["output"],
    nondeterministic: true,
    barrier: RANDOM,
    infer(op) {
      const dtype = dtypeOf(op);
      return [dtype && tensorOf(dtype, op.shape(0))];
    },
    macs: noMacs,
  });

function dtypeOf(op: OpContext): DType | undefined {
  const wire = op.node.int("dtype");
  return wire === undefined ? op.type(0)?.dtype : dtypeOfWire(wire);
}

const multinomial = defineOp({
  type: "Multinomial",
  since: [7, 22],
  inputs: ["input"],
  outputs: ["output"],
  nondeterministic: true,
  barrier: RANDOM,

  infer(op) {
    const dtype = dtypeOfWire(op.node.int("dtype", INT32));
    const batch = op.shape(0)?.[0] ?? op.fresh(0, 0);
    return [dtype && tensorOf(dtype, [batch, op.node.int("sample_size", 1)])];
  },

  macs: noMacs,
});

export const specs: readonly OpSpec[] = [
  ofShape("RandomNormal"),
  ofShape("RandomUniform"),
  likeShape("RandomNormalLike", [1, 22]),
  likeShape("RandomUniformLike", [1, 22]),
  likeShape("Bernoulli", [15, 22]),
  multinomial,
];
