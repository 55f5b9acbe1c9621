/** Channel shuffles and detours: in every spelling, each channel leaves on its own, and the proof holds. */
import { describe, expect, test } from "vitest";
import { Kept } from "../../../src/graph/coupling/choices.js";
import { type Coupling, findGroups } from "../../../src/graph/coupling/groups.js";
import { brokenBalances, findPools } from "../../../src/score/pools.js";
import { modelOf } from "../../support/build.js";
import { prove, randomRemoval } from "../../support/oracle.js";

const free = (c: Coupling) => findPools(c).pools.reduce((n, p) => n + p.cells.reduce((m, cell) => m + cell.choices.length, 0), 0);

async function expectEqual(c: Coupling): Promise<void> {
  for (const [seed, ratio] of [
    [1, 0.5],
    [2, 0.75],
    [3, 0.4],
  ] as const) {
    const removed = randomRemoval(c, seed, ratio);
    expect(brokenBalances(c, new Kept(c.typing.system, c.choices, removed))).toEqual([]);
    const { maxRel, drift } = await prove(c, removed, { seed });
    // float32 sums of the same terms in another order.
    expect(maxRel).toBeLessThanOrEqual(1e-5);
    if (removed.size > 0) expect(drift).toBeGreaterThan(0);
  }
}

/** conv → `body` from h to s → conv, over 12 channels of 4×4. */
function between(body: string, constants = ""): Coupling {
  return findGroups(
    modelOf(`g (float[N,3,4,4] x) => (float[N,2,4,4] y) < float[12,3,1,1] a = {...}, float[2,12,1,1] b = {...} ${constants} > {
      h = Conv (x, a)
      ${body}
      y = Conv (s, b)
    }`),
  );
}

describe("a channel shuffle leaves every channel its own", () => {
  const spellings: Record<string, [string, string?]> = {
    "in five dims": [
      "r = Reshape (h, k) t = Transpose <perm = [0, 2, 1, 3, 4]> (r) s = Reshape (t, o)",
      ", int64[5] k = {0, 3, 4, 4, 4}, int64[4] o = {0, -1, 4, 4}",
    ],
    "with space flattened": [
      "r = Reshape (h, k) t = Transpose <perm = [0, 2, 1, 3]> (r) s = Reshape (t, o)",
      ", int64[4] k = {0, 3, 4, 16}, int64[4] o = {0, 12, 4, 4}",
    ],
    "through two transpositions and a flattening": [
      "w = Transpose <perm = [0, 2, 3, 1]> (h) r = Reshape (w, k) t = Transpose <perm = [0, 1, 3, 2]> (r) f = Reshape (t, o) s = Transpose <perm = [0, 3, 1, 2]> (f)",
      ", int64[4] k = {0, 16, 4, 3}, int64[4] o = {0, 4, 4, 12}",
    ],
    "of three factors": [
      "r = Reshape (h, k) t = Transpose <perm = [0, 3, 1, 2, 4, 5]> (r) s = Reshape (t, o)",
      ", int64[6] k = {0, 2, 3, 2, 4, 4}, int64[4] o = {0, 12, 4, 4}",
    ],
    "that comes back": ["r = Reshape (h, k) q = Reshape (r, o) s = Relu (q)", ", int64[3] k = {0, 12, 16}, int64[4] o = {0, 12, 4, 4}"],
    "added to what it shuffles": [
      "r = Reshape (h, k) t = Transpose <perm = [0, 2, 1, 3, 4]> (r) q = Reshape (t, o) s = Add (h, q)",
      ", int64[5] k = {0, 3, 4, 4, 4}, int64[4] o = {0, 12, 4, 4}",
    ],
  };
  test.each(Object.entries(spellings))("%s", async (name, [body, constants]) => {
    const c = between(body, constants);
    expect(c.typing.chains).toHaveLength(1);
    // x + shuffle(x): channels of one cycle of the permutation are one.
    expect(free(c)).toBe(name.startsWith("added") ? 4 : 12);
    await expectEqual(c);
  });

  test("when a detour is read in between, it is typed node by node", async () => {
    const c = between(
      "r = Reshape (h, k) q = Reshape (r, o) m = ReduceSum <keepdims = 1> (r) s = Mul (q, m)",
      ", int64[3] k = {0, 12, 16}, int64[4] o = {0, 12, 4, 4}",
    );
    expect(c.typing.chains).toHaveLength(0);
    await expectEqual(c);
  });
});

describe("balance across a shuffle", () => {
  const shuffled = (channels: number, first: number, second: number, rows: number) =>
    findGroups(
      modelOf(`g (float[N,3,2,2] x) => (float[N,2,2,2] y) <
        float[${channels},3,1,1] a = {...}, float[${channels},${channels / first},1,1] p = {...},
        float[${channels},${channels / second},1,1] q = {...}, float[2,${channels},1,1] b = {...},
        int64[5] k = {0, ${rows}, ${channels / rows}, 2, 2}, int64[4] o = {0, ${channels}, 2, 2} > {
        h = Conv (x, a)
        u = Conv <group = ${first}> (h, p)
        r = Reshape (u, k)
        t = Transpose <perm = [0, 2, 1, 3, 4]> (r)
        s = Reshape (t, o)
        v = Conv <group = ${second}> (s, q)
        y = Conv (v, b)
      }`),
    );

  test.each([
    [16, 4, 4, 4],
    [12, 3, 3, 3],
    [24, 2, 4, 3],
    [24, 3, 2, 4],
    [30, 5, 3, 5],
    [36, 4, 6, 3],
  ])("%i channels in %i and %i groups, %i rows", async (channels, first, second, rows) => {
    const c = shuffled(channels, first, second, rows);
    const { declined } = findPools(c);
    expect(
      declined.filter((d) => d.group.slots.some((s) => s.value.name === "p" && s.axis === 0) && d.group.choices.length === channels),
    ).toEqual([]);
    await expectEqual(c);
  });
});
