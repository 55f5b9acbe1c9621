/** Constant (onnx/docs/Operators.md#Constant). Sparse values are carried, not read: their type comes from value_info. */
import { defineOp, type OpSpec } from "../op.js";
import { Tensor } from "../tensor.js";
import { noMacs, tensorOf } from "./shape-rules.js";

const constant = defineOp({
  type: "Constant",
  since: [1, 9, 11, 12, 13, 19, 21, 23, 24, 25],
  inputs: [],
  outputs: ["output"],
  remark: "sparse_value is carried, not read: a barrier.",

  infer({ node }) {
    const tensor = node.constantTensor();
    // Contents of constants are found by inference itself.
    if (tensor) return [tensorOf(tensor.dtype, tensor.dims)];
    if (node.attributes.has("value_string")) return [tensorOf("string", [])];
    const strings = node.attributes.get("value_strings");
    return [strings?.kind === "strings" ? tensorOf("string", [strings.value.length]) : undefined];
  },

  evaluate({ node }) {
    const tensor = node.constantTensor();
    if (tensor) return [tensor];
    const utf8 = new TextEncoder();
    const one = node.string("value_string");
    if (one !== undefined) return [Tensor.ofStrings([], [utf8.encode(one)])];
    const many = node.attributes.get("value_strings");
    return many?.kind === "strings"
      ? [
          Tensor.ofStrings(
            [many.value.length],
            many.value.map((s) => utf8.encode(s)),
          ),
        ]
      : undefined;
  },

  barrier: "only constants of a dense value are read",
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [constant];
