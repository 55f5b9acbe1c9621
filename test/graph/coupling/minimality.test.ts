/** Minimality (src/verify/minimality.ts) of every group of every topology: nothing that leaves could have stayed. */
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decode } from "../../../src/graph/codec.js";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { openRunner } from "../../../src/runtime/provider.js";
import type { Runner } from "../../../src/runtime/runner.js";
import { findPools, type Pool } from "../../../src/score/pools.js";
import { randomFeeds } from "../../../src/verify/feeds.js";
import { checkMinimality } from "../../../src/verify/minimality.js";
import { modelOf } from "../../support/build.js";

const folder = new URL("../../fixtures/topologies/", import.meta.url);

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

describe("no slot could have stayed", () => {
  const names = readdirSync(folder).flatMap((f) => (f.endsWith(".onnx") ? [f.slice(0, -".onnx".length)] : []));
  it.each(names)("%s", async (name) => {
    const model = decode(readFileSync(new URL(`${name}.onnx`, folder)));
    const coupling = findGroups(model);
    for (const pool of findPools(coupling).pools)
      expect((await checkMinimality(runner, coupling, pool, randomFeeds(model, 1))).spare).toEqual([]);
  });
});

it("layers that are tied for no reason would be noticed", async () => {
  const model = modelOf(`g (float[N,3] x) => (float[N,2] y) <
      float[3,6] a = {...}, float[6] k = {...}, float[6,6] b = {...}, float[6,2] c = {...} > {
      h = MatMul (x, a)
      u = Add (h, k)
      v = MatMul (u, b)
      y = MatMul (v, c)
    }`);
  const coupling = findGroups(model);
  const [first, second] = findPools(coupling).pools as [Pool, Pool];
  const tied: Pool = { groups: [...first.groups, ...second.groups], cells: [...first.cells, ...second.cells], moves: first.moves };
  const { spare, tried, of } = await checkMinimality(runner, coupling, tied, randomFeeds(model, 1));
  expect(spare).toEqual([
    ["a:1", "k:0", "b:0"],
    ["b:1", "c:0"],
  ]);
  expect(tried).toBe(of);
  expect((await checkMinimality(runner, coupling, tied, randomFeeds(model, 1), 3)).tried).toBe(3);
});
