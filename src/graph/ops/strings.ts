/** Operators on strings and files (onnx/docs/Operators.md#StringNormalizer): they come before anything that could be pruned. Not evaluated. */
import type { Dim } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { broadcast, noMacs, tensorOf } from "./shape-rules.js";

const STRINGS = "strings come before anything that could be pruned";

const concat = defineOp({
  type: "StringConcat",
  since: [20],
  inputs: ["X", "Y"],
  outputs: ["Z"],
  barrier: STRINGS,
  infer: (op) => [tensorOf("string", broadcast(op.node, [op.shape(0), op.shape(1)]))],
  macs: noMacs,
});

const fullMatch = defineOp({
  type: "RegexFullMatch",
  since: [20],
  inputs: ["X"],
  outputs: ["Y"],
  barrier: STRINGS,
  infer: (op) => [tensorOf("bool", op.shape(0))],
  macs: noMacs,
});

const split = defineOp({
  type: "StringSplit",
  since: [20],
  inputs: ["X"],
  outputs: ["Y", "Z"],
  barrier: STRINGS,
  infer(op) {
    const X = op.shape(0);
    return [tensorOf("string", X && [...X, op.fresh(0, X.length)]), tensorOf("int64", X)];
  },
  macs: noMacs,
});

const normalizer = defineOp({
  type: "StringNormalizer",
  since: [10],
  inputs: ["X"],
  outputs: ["Y"],
  barrier: STRINGS,
  infer(op) {
    const X = op.shape(0);
    // Stop words leave.
    const left = (a: number): Dim => (op.node.attributes.has("stopwords") ? op.fresh(0, a) : (X?.[a] as Dim));
    return [
      tensorOf(
        "string",
        X?.map((d, a) => (a === X.length - 1 ? left(a) : d)),
      ),
    ];
  },
  macs: noMacs,
});

const tfIdf = defineOp({
  type: "TfIdfVectorizer",
  since: [9],
  inputs: ["X"],
  outputs: ["Y"],
  barrier: "its n-grams are numbered by its attributes",
  infer(op) {
    const X = op.shape(0);
    const width = Math.max(-1, ...op.node.ints("ngram_indexes", [])) + 1;
    return [tensorOf("float32", X && [...X.slice(0, -1), width])];
  },
  macs: noMacs,
});

const imageDecoder = defineOp({
  type: "ImageDecoder",
  since: [20],
  inputs: ["encoded_stream"],
  outputs: ["image"],
  remark: "ONNX Runtime 1.30 has no kernel for it.",
  barrier: "a file is decoded before anything that could be pruned",
  infer(op) {
    const channels = op.node.string("pixel_format", "RGB") === "Grayscale" ? 1 : 3;
    return [tensorOf("uint8", [op.fresh(0, 0), op.fresh(0, 1), channels])];
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [concat, fullMatch, split, normalizer, tfIdf, imageDecoder];
