/** What may leave in one move so that every balance holds, and which widths that allows. */
import { describe, expect, test } from "vitest";
import { Kept } from "../../src/graph/coupling/choices.js";
import { type Coupling, findGroups } from "../../src/graph/coupling/groups.js";
import { brokenBalances, findPools, takenOf } from "../../src/score/pools.js";
import { widthsOf } from "../../src/score/widths.js";
import { modelOf } from "../support/build.js";
import { movesText } from "../support/groups-text.js";

/** Convolutions 1×1, each of [filters, input channels, groups], between a first of 3 and a last of 3 channels. */
function chain(width: number, ...layers: readonly (readonly [number, number])[]): Coupling {
  const weights = [`float[${width},3,1,1] w0 = {...}`];
  const nodes = ["h0 = Conv (x, w0)"];
  let channels = width;
  layers.forEach(([filters, group], i) => {
    weights.push(`float[${filters},${channels / group},1,1] w${i + 1} = {...}`);
    nodes.push(`h${i + 1} = Conv <group = ${group}> (h${i}, w${i + 1})`);
    channels = filters;
  });
  weights.push(`float[3,${channels},1,1] last = {...}`);
  return findGroups(
    modelOf(
      `g (float[N,3,4,4] x) => (float[N,3,4,4] y) < ${weights.join(", ")} > { ${nodes.join("  ")}  y = Conv (h${layers.length}, last) }`,
    ),
  );
}

const text = (c: Coupling) =>
  findPools(c).pools.map(
    (p) => `${p.groups.map((g) => g.name).join("+")} ${p.cells.map((x) => movesText(x).replace(" of ", "/")).join(" ")}`,
  );

/** Takes `moves` moves of every pool. */
function taken(c: Coupling, moves: number): Kept {
  const removed = findPools(c).pools.flatMap((p) => p.cells.flatMap((x) => x.choices.slice(0, takenOf(x, moves))));
  return new Kept(c.typing.system, c.choices, removed);
}

describe("pools", () => {
  test("of ordinary layers are their groups, one channel a move", () => {
    expect(text(chain(8, [6, 1]))).toEqual(["w0:0 1/8", "w1:0 1/6"]);
  });

  test("of a grouped convolution take one channel of every block", () => {
    expect(text(chain(8, [12, 2]))).toEqual(["w0:0 1/4 1/4", "w0:0/2 1/2", "w1:0 1/6 1/6"]);
  });

  test("of a depthwise convolution are one group with its channels", () => {
    expect(text(chain(8, [8, 8]))).toEqual(["w0:0 1/8"]);
  });

  test("between groups of 3 and of 2 keep both balances, however many moves are taken", () => {
    const c = chain(12, [12, 3], [12, 2]);
    expect(text(c)).toEqual(["w0:0 1/4 1/4 1/4", "w1:0 2/4 1/2 1/2 2/4", "w2:0 1/6 1/6"]);
    expect(brokenBalances(c, taken(c, 1))).toEqual([]);
  });

  test("say which balance a removal of other channels breaks", () => {
    const c = chain(8, [6, 2]);
    const kept = new Kept(c.typing.system, c.choices, [c.groups[0]?.choices[0] as number]);
    expect(brokenBalances(c, kept)).toMatchInlineSnapshot(`
      [
        "the 2 groups of a convolution read equally many channels, but they would keep 3, 4 (node "h1")",
      ]
    `);
  });

  test("whose parts have no common share lose rounded ones", () => {
    // 15 channels in blocks of 3 for one reader and of 5 for the other: cells of 3, 2, 1, 3, 1, 2, 3.
    const c = chain(15, [15, 5], [15, 3]);
    expect(text(c)).toMatchInlineSnapshot(`
      [
        "w0:0 1/3 1/3 1/3 1/3 1/3",
        "w2:0 1/5 1/5 1/5",
      ]
    `);
    // One of each of the 5 blocks, and 5/3 of each of the 3, is no whole number: only all 3 moves together would do.
    expect(findPools(c).declined.map((d) => [d.group.name, d.why])).toMatchInlineSnapshot(`
      [
        [
          "w0:0/2",
          "it has one channel, which must stay",
        ],
        [
          "w1:0",
          "its 7 balanced parts of 3, 2, 1, 3, 1, 2, 3 channels cannot lose some of them and stay balanced",
        ],
      ]
    `);
    const even = chain(24, [24, 6], [24, 4]);
    expect(text(even)).toMatchInlineSnapshot(`
      [
        "w0:0 1/4 1/4 1/4 1/4 1/4 1/4",
        "w0:0/2 1/2",
        "w1:0 2/4 1/2 1/2 2/4 2/4 1/2 1/2 2/4",
        "w2:0 1/6 1/6 1/6 1/6",
      ]
    `);
    const { moves = 0 } = findPools(even).pools.find((p) => p.groups[0]?.name === "w1:0") ?? {};
    expect(moves).toBeGreaterThan(1);
    for (let m = 1; m < moves; m++) expect(brokenBalances(even, taken(even, m))).toEqual([]);
  });

  test("with a frozen part are declined with the reason", () => {
    const c = findGroups(
      modelOf(`g (float[N,4,4,4] x) => (float[N,3,4,4] y) <
        float[4,4,1,1] a = {...}, float[6,4,1,1] w = {...}, float[3,6,1,1] b = {...} > {
        h = Conv (x, a)
        u = Concat <axis = 1> (x, h)
        v = Conv <group = 2> (u, w)
        y = Conv (v, b)
      }`),
    );
    const { declined, pools } = findPools(c);
    expect(pools.map((p) => p.groups[0]?.name)).toEqual(["w:0"]);
    expect(declined.map((d) => [d.group.name, d.why])).toMatchInlineSnapshot(`
      [
        [
          "a:0",
          "the 2 groups of a convolution read equally many channels (node "v"), and some of them are frozen",
        ],
        [
          "a:0/2",
          "it has one channel, which must stay",
        ],
      ]
    `);
  });
});

describe("pools of products", () => {
  test("are declined where a part leaves with another axis and its counterpart does not", () => {
    // 15 channels × 3 repeats in 3 blocks; channels 6 to 8 are free, all in the middle block: none can leave alone.
    const c = findGroups(
      modelOf(`g (float[N,6,4,4] x) => (float[N,3,4,4] y) <
        float[3,6,1,1] a = {...}, float[15,3,1,1] t = {...}, float[9,15,1,1] w = {...}, float[3,9,1,1] b = {...} > {
        h = Conv (x, a)
        u = Concat <axis = 1> (x, h, x)
        v = ConvTranspose <group = 15> (u, t)
        z = Conv <group = 3> (v, w)
        y = Conv (z, b)
      }`),
    );
    const { declined, pools } = findPools(c);
    expect(declined.map((d) => [d.group.name, d.why])).toMatchInlineSnapshot(`
      [
        [
          "a:0",
          "the 15 groups of a convolution read equally many channels (node "v"), and some have more that can leave than others",
        ],
      ]
    `);
    expect(pools.flatMap((p) => p.groups.map((g) => `${g.name} ${g.choices.length}`))).toMatchInlineSnapshot(`
      [
        "t:1 45",
        "w:0 9",
      ]
    `);
    for (let moves = 1; moves < 3; moves++) {
      const removed = pools.flatMap((p) => (moves < p.moves ? p.cells.flatMap((x) => x.choices.slice(0, takenOf(x, moves))) : []));
      expect(brokenBalances(c, new Kept(c.typing.system, c.choices, removed))).toEqual([]);
    }
  });

  test("may have frozen places, when all parts have equally many", () => {
    const c = findGroups(
      modelOf(`g (float[N,2,4,4] x) => (float[N,3,4,4] y) <
        float[4,2,1,1] a = {...}, float[6,3,1,1] w = {...}, float[3,6,1,1] b = {...} > {
        h = Conv (x, a)
        p, q = Split <axis = 1> (h)
        r, s = Split <axis = 1> (x)
        u = Concat <axis = 1> (p, r, s, q)
        v = Conv <group = 2> (u, w)
        y = Conv (v, b)
      }`),
    );
    expect(findPools(c).declined).toEqual([]);
    expect(text(c)).toEqual(["a:0 1/2 1/2", "w:0 1/3 1/3"]);
    expect(brokenBalances(c, taken(c, 1))).toEqual([]);
  });
});

describe("widths", () => {
  const pool = (c: Coupling) => findPools(c).pools[0] as ReturnType<typeof findPools>["pools"][number];
  const keeps = (c: Coupling, align: number | "auto") => widthsOf(pool(c), pool(c).moves, align).map((w) => w.keep);

  test("are all of them without alignment, never none", () => {
    expect(keeps(chain(6), 1)).toEqual([6, 5, 4, 3, 2, 1]);
  });

  test("are multiples of the alignment, the whole, and up to half a block", () => {
    expect(keeps(chain(21), 8)).toEqual([21, 16, 8, 4, 3, 2, 1]);
  });

  test("are multiples of 16 for convolutions and free for matrix products, when chosen automatically", () => {
    expect(keeps(chain(40), "auto").filter((k) => k >= 16)).toEqual([40, 32, 16]);
    const mlp = findGroups(
      modelOf(
        "g (float[N,3] x) => (float[N,3] y) < float[3,20] a = {...}, float[20,3] b = {...} > { h = MatMul (x, a)  y = MatMul (h, b) }",
      ),
    );
    expect(keeps(mlp, "auto")).toHaveLength(20);
  });
});
