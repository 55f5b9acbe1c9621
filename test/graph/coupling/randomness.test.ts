/** Random operators: what they draw depends on how many elements there are, so nothing may leave through them. */
import { expect, test } from "vitest";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { modelOf } from "../../support/build.js";

const groupsWith = (training: string, extra = "") =>
  findGroups(
    modelOf(`g (float[N,3] x${extra}) => (float[N,2] y) < float[3,6] a = {...}, float[6,2] b = {...}, float ratio = {0.5} > {
      ${training}
      h = MatMul (x, a)
      d = Dropout (h, ratio, training)
      y = MatMul (d, b)
    }`),
  ).groups.map((g) => g.name);

// Found with ONNX's test_training_dropout: with fewer elements, other ones were dropped.
test("Dropout in training keeps its input whole", () => {
  expect(groupsWith("training = Constant <value = bool {1}> ()")).toEqual([]);
});

test("Dropout that may be in training, as an input says, keeps its input whole", () => {
  expect(groupsWith("", ", bool training")).toEqual([]);
});

test("Dropout in inference couples nothing but its input and output", () => {
  expect(groupsWith("training = Constant <value = bool {0}> ()")).toEqual(["a:1"]);
});
