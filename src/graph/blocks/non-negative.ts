/** Values that have no negative element, whatever the input: what makes a Relu do nothing. */
import { isFloat } from "../dtype.js";
import type { Value } from "../graph.js";
import type { Types } from "../infer.js";

/** Results in [0, ∞) for every input. */
const ALWAYS: ReadonlySet<string> = new Set([
  "Relu",
  "Sigmoid",
  "HardSigmoid",
  "Softmax",
  "Softplus",
  "Abs",
  "Exp",
  "Sqrt",
  "ReduceL1",
  "ReduceL2",
  "ReduceSumSquare",
]);

/** Results in [0, ∞) when all float operands are. */
const WHEN_ALL_ARE: ReadonlySet<string> = new Set([
  "Add",
  "AveragePool",
  "Concat",
  "Dropout",
  "Expand",
  "Flatten",
  "Gather",
  "GlobalAveragePool",
  "GlobalMaxPool",
  "Identity",
  "Max",
  "MaxPool",
  "Mean",
  "Mul",
  "ReduceMax",
  "ReduceMean",
  "ReduceMin",
  "ReduceSum",
  "Reshape",
  "Slice",
  "Split",
  "Squeeze",
  "Sum",
  "Tile",
  "Transpose",
  "Unsqueeze",
]);

/** Activations that hand on what is not negative. */
const HANDS_ON: ReadonlySet<string> = new Set(["Relu", "LeakyRelu", "PRelu", "Elu", "Celu"]);

/** Constants are read up to this many elements. */
const LARGEST_READ = 65536;

/** Whether the activation changes nothing that is not negative. */
export function handsOnNonNegative(node: { readonly isStandard: boolean; readonly opType: string }): boolean {
  return node.isStandard && HANDS_ON.has(node.opType);
}

/** True when no element of `value` can be negative; NaN aside. */
export function isNonNegative(value: Value, types: Types, known: Map<Value, boolean> = new Map()): boolean {
  const before = known.get(value);
  if (before !== undefined) return before;
  const found = find(value, types, known);
  known.set(value, found);
  return found;
}

function find(value: Value, types: Types, known: Map<Value, boolean>): boolean {
  const { constant } = value;
  if (constant) return isFloat(constant.dtype) && constant.size <= LARGEST_READ && constant.numbers().every((x) => x >= 0);
  const node = value.producer;
  if (!node?.isStandard) return false;
  if (ALWAYS.has(node.opType)) return true;
  if (node.opType === "Clip") return clipsToNonNegative(value, types);
  const isMade = node.opType === "Split" || node.outputs[0] === value;
  if (!isMade || !WHEN_ALL_ARE.has(node.opType)) return false;
  // Integer operands are sizes, axes and indices.
  const floats = node.inputs.filter((v) => v !== undefined).filter((v) => !isInteger(v, types));
  return floats.length > 0 && floats.every((v) => isNonNegative(v, types, known));
}

function isInteger(value: Value, types: Types): boolean {
  const type = types.type(value);
  return type?.kind === "tensor" && !isFloat(type.dtype);
}

/** Both bounds count: where they cross, the upper one wins. */
function clipsToNonNegative({ producer }: Value, types: Types): boolean {
  if (!producer) return false;
  const op = types.context(producer);
  const bound = (i: number, name: string, otherwise: number): number => {
    if (op.opset < 11) return producer.float(name, otherwise);
    return producer.inputs[i] ? (op.constant(i)?.scalar() ?? Number.NaN) : otherwise;
  };
  return bound(1, "min", Number.NEGATIVE_INFINITY) >= 0 && bound(2, "max", Number.POSITIVE_INFINITY) >= 0;
}
