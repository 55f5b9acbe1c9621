/** The checks that do not trust one another: what each sees, and what it says where it sees nothing. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Kept } from "../../src/graph/coupling/choices.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import { oracleOf } from "../../src/graph/coupling/oracle.js";
import { removeSlices } from "../../src/graph/coupling/slice.js";
import type { Model, Value } from "../../src/graph/graph.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { CHECKS, checkRemoval } from "../../src/verify/checks.js";
import { randomFeeds } from "../../src/verify/feeds.js";
import { poison } from "../../src/verify/poison.js";
import { zeroRemoved } from "../../src/verify/zero.js";
import { modelOf } from "../support/build.js";
import { randomRemoval } from "../support/oracle.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

function halved(model: Model) {
  const coupling = findGroups(model);
  const kept = new Kept(coupling.typing.system, coupling.choices, randomRemoval(coupling, 1, 0.5));
  const removal = { source: model, coupling, kept, oracle: () => oracleOf(coupling.typing, kept) };
  return { removal, candidate: removeSlices(coupling.typing, kept), feeds: [randomFeeds(model, 1)] };
}

const reversed = (t: Tensor) => Array.from({ length: t.size }, (_, i) => t.size - 1 - i);

const net = () =>
  modelOf(`g (float[2,3,6,6] x) => (float[2,5] y) <float[8,3,1,1] w1 = {...}, float[8] b1 = {...}, float[8] s = {...}, float[8] o = {...},
    float[8] m = {...}, float[8] v = {1.0, 2.0, 1.0, 0.5, 1.0, 2.0, 1.0, 0.5}, float[6,4,1,1] w2 = {...}, float[5,6] w3 = {...}> {
    c = Conv (x, w1, b1) n = BatchNormalization (c, s, o, m, v) r = Sigmoid (n) d = Conv <group = 2> (r, w2)
    p = GlobalAveragePool (d) f = Flatten (p) y = Gemm <transB = 1> (f, w3) }`);

describe("checkRemoval", () => {
  it.each(CHECKS)("%s passes for a right removal", async (check) => {
    const { equality, skipped, count } = await checkRemoval(runner, check, halved(net()));
    expect(skipped).toBeUndefined();
    expect(equality).toMatchObject({ ok: true });
    if (check === "poison" || check === "zero") expect(count).toBeGreaterThan(50);
  });

  it.each(CHECKS)("%s fails when a weight that stays is not the one that should", async (check) => {
    const request = halved(net());
    const { graph } = request.candidate;
    const bias = graph.value("b1") as Value;
    graph.setConstant(bias, (bias.constant as Tensor).take(0, reversed(bias.constant as Tensor)));
    const { equality } = await checkRemoval(runner, check, request);
    expect(equality).toMatchObject({ ok: false, firstDifference: { value: "c", op: "Conv" } });
  });

  it("zero says nothing where a gate lifts silent channels before a sum of two activations", async () => {
    const request = halved(
      modelOf(`g (float[2,4,3] x) => (float[2,4,4] y) <float[3,6] q = {...}, float[3,6] k = {...}> {
        a = MatMul (x, q) s = Sigmoid (a) b = MatMul (x, k) t = Sigmoid (b) u = Transpose <perm = [0, 2, 1]> (t) y = MatMul (s, u) }`),
    );
    expect(await checkRemoval(runner, "zero", request)).toMatchObject({
      skipped: 'removed channels are not zero where MatMul "y" sums over them',
    });
    expect(await checkRemoval(runner, "masked", request)).toMatchObject({ equality: { ok: true } });
  });

  it("poison and zero say nothing of a model without float parameters on what leaves", async () => {
    const request = halved(
      modelOf(`g (float[2,3] x) => (float[2,2] y) <int8[3,6] a = {...}, int8[6,2] b = {...}, float s = {0.05}, int8 z = {0}> {
        p = DequantizeLinear (a, s, z) q = DequantizeLinear (b, s, z) h = MatMul (x, p) y = MatMul (h, q) }`),
    );
    for (const check of ["poison", "zero"] as const)
      expect(await checkRemoval(runner, check, request)).toEqual({ check, skipped: "no float parameter lies on a removed channel alone" });
    expect(await checkRemoval(runner, "oracle", request)).toMatchObject({ equality: { ok: true } });
  });

  it("zero leaves the variances of a batch normalisation, poison does not", () => {
    const { removal, candidate } = halved(net());
    const [zero, sick] = [zeroRemoved(removal.coupling, removal.kept).model, poison(removal.coupling, removal.kept).model];
    const leaves = net().graph.value("v")?.shape?.[0] as number;
    const variance = (m: Model) => Array.from((m.graph.value("v") as Value).constant?.numbers() ?? []);
    expect(variance(zero)).toEqual(variance(net()));
    expect(variance(sick).filter((x) => x === 1e6)).toHaveLength(leaves - (candidate.graph.value("v")?.shape?.[0] as number));
  });
});
