import { type Attribute, int, ints, string } from "../../src/graph/attribute.js";
import { Tensor } from "../../src/graph/tensor.js";
import { i64, type OpCase } from "./case.js";

const text = (dims: readonly number[], ...words: string[]) =>
  Tensor.ofStrings(
    dims,
    words.map((w) => new TextEncoder().encode(w)),
  );
const strings = (...value: string[]): Attribute => ({ kind: "strings", value });
const bigrams = {
  mode: string("TF"),
  min_gram_length: int(1),
  max_gram_length: int(1),
  max_skip_count: int(0),
  ngram_counts: ints([0]),
  ngram_indexes: ints([0, 2, 1]),
  pool_int64s: ints([7, 8, 9]),
};

export const cases: readonly OpCase[] = [
  { op: "StringConcat", opset: 20, name: "broadcast", inputs: [text([2, 1], "a", "b"), text([2], "x", "yy")], macs: 0 },
  { op: "RegexFullMatch", opset: 20, name: "of a vector", attributes: { pattern: string("a+") }, inputs: [text([2], "aa", "ab")], macs: 0 },
  {
    op: "StringSplit",
    opset: 20,
    name: "as many parts as the longest has",
    attributes: { delimiter: string(",") },
    inputs: [text([2], "a,b,c", "d")],
    outputs: 2,
    hidden: [],
    macs: 0,
  },
  {
    op: "StringNormalizer",
    opset: 10,
    name: "to upper case",
    attributes: { locale: string("C"), case_change_action: string("UPPER") },
    inputs: [text([2], "a", "b")],
    macs: 0,
  },
  {
    op: "StringNormalizer",
    opset: 10,
    name: "stop words leave",
    attributes: { locale: string("C"), stopwords: strings("a") },
    inputs: [text([1, 2], "a", "b")],
    hidden: [],
  },
  { op: "TfIdfVectorizer", opset: 9, name: "counts of a vector", attributes: bigrams, inputs: [i64(7, 9, 9, 1)], macs: 0 },
];
