import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { VerificationError } from "../../src/errors.js";
import { Kept } from "../../src/graph/coupling/choices.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import { oracleOf } from "../../src/graph/coupling/oracle.js";
import { removeSlices } from "../../src/graph/coupling/slice.js";
import type { Model, Value } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { checkEquality, toleranceOf } from "../../src/verify/equality.js";
import { randomFeeds } from "../../src/verify/feeds.js";
import { checkInterface, checkLoads, requireEquality, requireLoads } from "../../src/verify/verify.js";
import { modelOf } from "../support/build.js";
import { fusedModel } from "../support/proven.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

const chain = (last = "Identity") =>
  modelOf(`chain (float["N", 3, 8, 8] x) => (float["N", 4, 6, 6] y)
    <float[8, 3, 3, 3] w1 = {...}, float[8] b1 = {...}, float[4, 8, 1, 1] w2 = {...}>
    {
      a = Conv (x, w1, b1)
      r = Relu (a)
      c = Conv (r, w2)
      y = ${last} (c)
    }`);

function halved(model: Model) {
  const coupling = findGroups(model);
  const kept = new Kept(coupling.typing.system, coupling.choices, (coupling.groups[0]?.choices ?? []).slice(0, 4));
  return { coupling, kept, result: removeSlices(coupling.typing, kept), oracle: oracleOf(coupling.typing, kept) };
}

describe("checkEquality", () => {
  it("passes a right removal and tells how much there was to see", async () => {
    const model = chain();
    const { result, oracle, coupling, kept } = halved(model);
    const request = {
      what: "test",
      reference: oracle,
      candidate: result,
      original: model,
      feeds: [randomFeeds(model, 1)],
      removal: { coupling, kept },
    };
    const found = await checkEquality(runner, request);
    expect(found).toMatchObject({ ok: true, runs: 1, tolerance: 1e-5 });
    expect(found.drift).toBeGreaterThan(0.05);
  });

  it("names the first value that differs when the removal is wrong", async () => {
    const model = chain();
    const { result, oracle, coupling, kept } = halved(model);
    // A forgotten bias: the four that stay are those of the channels that left.
    const bias = result.graph.value("b1") as Value;
    result.graph.setConstant(bias, ((model.graph.value("b1") as Value).constant as Tensor).take(0, [0, 1, 2, 3]));
    const found = await checkEquality(runner, {
      what: "test",
      reference: oracle,
      candidate: result,
      feeds: [randomFeeds(model, 1)],
      removal: { coupling, kept },
    });
    expect(found.ok).toBe(false);
    expect(found.firstDifference?.value).toBe("a");
    expect(() => requireEquality([found])).toThrow(VerificationError);
    expect(() => requireEquality([found])).toThrow(/first value that differs is "a"/);
  });

  it("judges a saturated sigmoid by its pre-activation, not by its noise", async () => {
    const far = chain("Sigmoid");
    // Pre-activations near -40: the outputs are at the edge of float32.
    far.graph.setConstant(far.graph.value("w2") as Value, Tensor.floats([4, 8, 1, 1], new Float32Array(32).fill(-40)));
    const { result, oracle, coupling, kept } = halved(far);
    const feeds = [randomFeeds(far, 1)];
    expect(
      (await checkEquality(runner, { what: "right", reference: oracle, candidate: result, feeds, removal: { coupling, kept } })).ok,
    ).toBe(true);
    const w2 = result.graph.value("w2") as Value;
    result.graph.setConstant(w2, Tensor.floats([4, 4, 1, 1], new Float32Array(16).fill(-41)));
    expect(
      (await checkEquality(runner, { what: "wrong", reference: oracle, candidate: result, feeds, removal: { coupling, kept } })).ok,
    ).toBe(false);
  });

  it("refuses to call NaN equal to NaN", async () => {
    // Log of a negative number everywhere: any two graphs would agree.
    const model = modelOf(
      "g (float[N,3] x) => (float[N,2] y) < float[3,4] a = {...}, float[4,2] b = {...}, float shift = {-100.0} > { h = MatMul (x, a)  u = MatMul (h, b)  v = Add (u, shift)  y = Log (v) }",
    );
    const { result, oracle } = halved(model);
    const request = { what: "test", reference: oracle, candidate: result, feeds: [randomFeeds(model, 1), randomFeeds(model, 2)] };
    await expect(checkEquality(runner, request)).rejects.toMatchObject({ code: "VERIFY_NOT_FINITE", at: { value: "y" } });
  });

  it("allows half floats their rounding, and float32 only its own", () => {
    expect(toleranceOf(chain())).toBe(1e-5);
    const half = chain();
    half.graph.addInitializer("h", Tensor.fromNumbers("float16", [1], [1]));
    expect(toleranceOf(half)).toBe(5e-3);
  });
});

describe("the other checks", () => {
  it("refuses a changed interface", () => {
    const before = chain();
    const after = chain();
    (after.graph.outputs[0] as Value).type = { kind: "tensor", dtype: "float32", shape: ["N", 5, 6, 6] };
    expect(() => checkInterface(before, before)).not.toThrow();
    expect(() => checkInterface(before, after)).toThrow(/VERIFY_INTERFACE|valid replacement/);
  });

  it("refuses a result that an optimisation level changes", () => {
    const good = { level: "basic", ok: true, maxRel: 1e-7 };
    expect(() => requireLoads([good])).not.toThrow();
    expect(() => requireLoads([good, { level: "all", ok: false, maxRel: 0.5 }])).toThrow(/"all"/);
  });
});

describe("checkLoads", () => {
  // ONNX Runtime fuses the product with a 4-bit weight, and then quantises h on the way.
  const approximated =
    fusedModel(`g (float[4, 8] x) => (float[4, 3] y) <float[8, 32] a = {...}, int4[32, 3] q = {...}, float[2, 3] s = {...}> {
    h = MatMul (x, a) w = DequantizeLinear <axis = 0, block_size = 16> (q, s) y = MatMul (h, w) }`);
  const plain = fusedModel(`g (float[4, 8] x) => (float[4, 3] y) <float[8, 3] a = {...}> { y = MatMul (x, a) }`);

  it("lets ONNX Runtime's optimiser change the result as much as it changes the original", async () => {
    const loads = await checkLoads(runner, approximated, randomFeeds(approximated, 1), approximated);
    expect(loads.map((l) => l.level)).toEqual(["disabled", "basic", "extended", "all"]);
    expect(loads.every((l) => l.ok)).toBe(true);
    expect(Math.max(...loads.map((l) => l.maxRel))).toBeGreaterThan(1e-3);
  });

  it("does not where the original stays as it is", async () => {
    const loads = await checkLoads(runner, approximated, randomFeeds(approximated, 1), plain);
    expect(loads.map((l) => l.ok)).toEqual([true, true, false, false]);
    expect(() => requireLoads(loads)).toThrow(/times as much as the original/);
  });
});
