import { expect, test } from "vitest";
import { PlanError } from "../../src/errors.js";
import { print } from "../../src/graph/print.js";
import { mergeChannels } from "../../src/passes/merge-channels.js";
import { runPass } from "../../src/passes/run-pass.js";
import { modelOf } from "../support/build.js";

const model = modelOf(`g (float[N, 2] x) => (float[N, 1] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}, float[3, 1] u = {10, 20, 30}> {
  c = MatMul (x, w)
  r = Relu (c)
  y = MatMul (r, u)
}`);

test("the consumers take over, the producers stay; scale is 1 unless given", () => {
  const { model: next, changed } = runPass(mergeChannels, model, { merges: [{ group: "w:1", from: 2, into: 0 }] });
  expect(changed).toBe(true);
  expect(print(next)).toMatchInlineSnapshot(`
    "<ir_version: 8, opset_import: ["" : 13]>
    g (float[N,2] x) => (float[N,1] y) <
      float[2,3] w = {1, 2, 3, 4, 5, 6},
      float[3,1] u = {40, 20, 30}
    > {
      c = MatMul (x, w)
      r = Relu (c)
      y = MatMul (r, u)
    }
    "
  `);
});

test("no merges change nothing", () => {
  expect(runPass(mergeChannels, model).model).toBe(model);
});

test("a group that does not exist is a PlanError", () => {
  expect(() => runPass(mergeChannels, model, { merges: [{ group: "v:1", from: 2, into: 0 }] })).toThrow(PlanError);
});
