/**
 * What ONNX Runtime's own tools make of a CNN and an encoder layer (bench/fixtures/make.py): quantised statically, dynamically and to
 * 4 bits, fused, in float16, optimised offline. As many channels are free as in the nets they came from, and every removal is proven.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decode } from "../../../src/graph/codec.js";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { findPools } from "../../../src/score/pools.js";
import { expectProven, groupNames } from "../../support/proven.js";

const load = (name: string) => decode(readFileSync(new URL(`../../fixtures/written-by-ort/${name}.onnx`, import.meta.url)));

function free(name: string): number {
  return findPools(findGroups(load(name))).pools.reduce((n, p) => n + p.cells.reduce((m, c) => m + c.choices.length, 0), 0);
}

/** The residual block has 8 channels, the convolution behind the pool 12. */
const CNN = 8 + 12;
/** 8 dims of Q and K and 8 of V in each of 2 heads, the heads, and 32 inner features. */
const ENCODER = 2 * 8 + 2 * 8 + 2 + 32;

describe("a model written by ONNX Runtime's tools:", () => {
  test.each([
    // Sums of integers: equal to the last bit, up to the float head.
    ["cnn-qdq", CNN, 1e-6],
    ["cnn-qoperator", CNN, 0],
    ["cnn-channels-last", CNN, 0],
    ["cnn-float16", CNN, 5e-3],
    ["encoder-attention", ENCODER, 1e-5],
    ["encoder-multi-head", ENCODER, 1e-5],
    ["encoder-float16", ENCODER, 5e-3],
  ])("%s prunes to what the oracle computes", async (name, channels, tolerance) => {
    expect(free(name)).toBe(channels);
    await expectProven(load(name), { groups: groupNames(findGroups(load(name))), tolerance, batch: 2 });
  });

  // Blocks of 16 along what a product sums over leave whole: 16 dims of V are one block of the two heads, 32 inner features two.
  test.each([
    ["encoder-n-bits", 2 * 8 + 2],
    ["encoder-int4-blocks", 2 * 8 + 2],
  ])("%s prunes by whole blocks where blocks share a scale", async (name, channels) => {
    expect(free(name)).toBe(channels);
    await expectProven(load(name), { groups: groupNames(findGroups(load(name))), batch: 2 });
  });

  test.each(["cnn-dynamic", "encoder-dynamic"])("%s is kept whole: every scale comes from a whole tensor", (name) => {
    expect(free(name)).toBe(0);
    const { typing } = findGroups(load(name));
    const reasons = new Set([...typing.allAxes()].map((a) => typing.system.reason(a)?.text));
    expect(reasons).toContain("its scale comes from the least and the largest element of the whole tensor");
  });
});
