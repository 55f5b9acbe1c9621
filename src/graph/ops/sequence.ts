/** Sequences (onnx/docs/Operators.md#SequenceConstruct). A sequence is carried, not looked into: what is taken out of one has the declared type. */

import type { DType } from "../dtype.js";
import { dtypeOfWire } from "../dtype.js";
import { defineOp, type Inferred, type OpSpec } from "../op.js";
import { typeName } from "../text-syntax.js";
import { noMacs, tensorOf } from "./shape-rules.js";

const remark = "Sequences are carried, not looked into.";

const CARRIED = "a sequence holds tensors of any shape, which are not looked into";

const construct = (type: string, since: readonly number[], inputs: readonly string[], dtypeInput: number): OpSpec =>
  defineOp({
    type,
    since,
    inputs,
    outputs: ["output_sequence"],
    remark,
    infer: (op) => [sequenceOf(op.type(dtypeInput)?.dtype)],
    barrier: CARRIED,
    macs: noMacs,
  });

const empty = defineOp({
  type: "SequenceEmpty",
  since: [11],
  inputs: [],
  outputs: ["output"],
  remark,
  barrier: CARRIED,
  infer: ({ node }) => [sequenceOf(dtypeOfWire(node.int("dtype", 1)))],
  macs: noMacs,
});

const length = defineOp({
  type: "SequenceLength",
  since: [11],
  inputs: ["input_sequence"],
  outputs: ["length"],
  remark,
  barrier: CARRIED,
  infer: () => [tensorOf("int64", [])],
  macs: noMacs,
});

/** Ops whose outputs have types that only value_info can tell. */
const opaque = (type: string, since: readonly number[], inputs: readonly string[], output: string): OpSpec =>
  defineOp({ type, since, inputs, outputs: [output], remark, barrier: CARRIED, macs: noMacs });

function sequenceOf(dtype: DType | undefined): Inferred | undefined {
  return dtype && { type: { kind: "other", text: `seq(${typeName(dtype)}[])` } };
}

const map = defineOp({
  type: "SequenceMap",
  since: [17],
  inputs: ["input_sequence", "additional_inputs..."],
  outputs: ["out_sequence..."],
  remark,
  barrier: "it has a subgraph, which is kept as it is",
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [
  construct("SequenceConstruct", [11], ["inputs..."], 0),
  construct("SequenceInsert", [11], ["input_sequence", "tensor", "position?"], 1),
  construct("SplitToSequence", [11, 24], ["input", "split?"], 0),
  empty,
  length,
  map,
  opaque("SequenceAt", [11], ["input_sequence", "position"], "tensor"),
  opaque("SequenceErase", [11], ["input_sequence", "position?"], "output_sequence"),
  opaque("ConcatFromSequence", [11], ["input_sequence"], "concat_result"),
];
