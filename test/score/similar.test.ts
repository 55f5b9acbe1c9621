import { describe, expect, test } from "vitest";
import type { Model } from "../../src/graph/graph.js";
import { normal, random } from "../../src/graph/random.js";
import { applyMerges } from "../../src/score/merge.js";
import { similar } from "../../src/score/similar.js";
import { distance, matrixOf } from "../../src/score/similar-distance.js";
import { type PairRule, PairSearch } from "../../src/score/similar-pairs.js";
import { modelOf, randomFloats } from "../support/build.js";
import { difference, run } from "../support/run.js";
import { edited, type Scored, score, without } from "./scoring.js";

const C = 6;
const bn = (p: string) => `float[${C}] g${p} = {...}, float[${C}] b${p} = {...}, float[${C}] m${p} = {...}, float[${C}] v${p} = {...}`;

/** Conv 3→6, an activation, Conv 6→4 with zero padding, a Gemm. */
const plain = (act = "Relu") =>
  modelOf(`g (float[2, 3, 6, 6] x) => (float[] y)
  <float[${C}, 3, 3, 3] w = {...}, float[${C}] b = {...}, float[4, ${C}, 3, 3] u = {...}, float[64, 5] f = {...}> {
    c = Conv (x, w, b) r = ${act} (c) d = Conv <pads = [1, 1, 1, 1]> (r, u) q = Relu (d) z = Flatten (q) y = Gemm (z, f) }`);

/** Makes channel `to` of an initializer `scale` times channel `from`. */
function planted(model: Model, name: string, axis: 0 | 1, from: number, to: number, scale = 1): Model {
  const dims = model.graph.value(name)?.constant?.dims as readonly number[];
  const n = dims[axis] as number;
  const inner = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  return edited(model, name, (d) => {
    for (let o = 0; o < d.length / (n * inner); o++) {
      for (let i = 0; i < inner; i++) d[(o * n + to) * inner + i] = scale * (d[(o * n + from) * inner + i] as number);
    }
  });
}
const duplicated = (model: Model, scale = 1) => planted(planted(model, "w", 0, 1, 4, scale), "b", 0, 1, 4, scale);

/** The first step of a ranking. */
function first(r: Scored) {
  const from = r.order?.[0] as number;
  return { from, score: r.scores[from] as number, merge: r.merges?.[0] };
}

/** The model after the first step of `r`: merged, and without the channel. */
function afterFirst(model: Model, r: Scored): Model {
  const { from, merge } = first(r);
  const merged = merge ? applyMerges(model, [{ group: r.group.name, ...merge }], r.coupling) : model;
  return without(merged, r.group.name, [from]);
}

const pair = (merge: { from: number; into: number } | undefined) => [merge?.from, merge?.into].sort();

describe("a planted duplicate filter", () => {
  test("is first under srinivas-babu, whatever reads it, and its removal after merging changes nothing", async () => {
    const model = duplicated(plain());
    const r = score(similar, model, { rule: "srinivas-babu" });
    expect(first(r).score).toBe(0);
    expect(pair(first(r).merge)).toEqual([1, 4]);
    expect(first(r).merge?.scale).toBe(1);
    // float32, sums of 54 terms in another order.
    expect(difference(await run(model), await run(afterFirst(model, r)))).toBeLessThan(1e-6);
  });

  test("with equal readers is first under pair-distance, and its removal after merging changes nothing", async () => {
    const model = planted(duplicated(plain()), "u", 1, 1, 4);
    const r = score(similar, model);
    expect(first(r).score).toBe(0);
    expect(pair(first(r).merge)).toEqual([1, 4]);
    expect(difference(await run(model), await run(afterFirst(model, r)))).toBeLessThan(1e-6);
  });

  test("with other readers is found by the target layer alone, and is lossless too", async () => {
    const model = duplicated(plain("Sigmoid"));
    expect(first(score(similar, model)).score).toBeGreaterThan(0);
    const r = score(similar, model, { next: "none" });
    expect(first(r).score).toBe(0);
    expect(difference(await run(model), await run(afterFirst(model, r)))).toBeLessThan(1e-6);
  });

  test("is not lossless without merging", async () => {
    const model = duplicated(plain());
    const r = score(similar, model, { rule: "srinivas-babu", merge: false });
    expect(first(r).score).toBe(0);
    expect(r.merges?.every((m) => m === undefined)).toBe(true);
    expect(difference(await run(model), await run(afterFirst(model, r)))).toBeGreaterThan(1e-3);
  });
});

test("filters are compared with batch normalisation folded in: equal ones under different normalisations are not similar", async () => {
  const text = `g (float[2, 3, 6, 6] x) => (float[] y) <float[${C}, 3, 3, 3] w = {...}, ${bn("")}, float[4, ${C}, 1, 1] u = {...}> {
    c = Conv (x, w) n = BatchNormalization (c, g, b, m, v) r = Relu (n) y = Conv (r, u) }`;
  const half = planted(modelOf(text, 15), "w", 0, 1, 4);
  expect(first(score(similar, half, { next: "none" })).score).toBeGreaterThan(0.01);
  const whole = ["g", "b", "m", "v"].reduce((m, name) => planted(m, name, 0, 1, 4), half);
  const r = score(similar, whole, { next: "none" });
  expect(first(r).score).toBe(0);
  expect(difference(await run(whole), await run(afterFirst(whole, r)))).toBeLessThan(1e-6);
});

describe("between Conv and Gemm lie H·W columns per channel", () => {
  const text = `g (float[2, 3, 6, 6] x) => (float[] y) <float[${C}, 3, 3, 3] w = {...}, float[${C}] b = {...}, float[5, ${C * 16}] u = {...}> {
    c = Conv (x, w, b) r = Relu (c) f = Flatten (r) y = Gemm <transB = 1> (f, u) }`;

  test("each is merged with its own twin", async () => {
    const model = duplicated(modelOf(text));
    const r = score(similar, model, { rule: "srinivas-babu" });
    expect(pair(first(r).merge)).toEqual([1, 4]);
    const small = afterFirst(model, r);
    expect(small.graph.value("u")?.constant?.dims).toEqual([5, (C - 1) * 16]);
    expect(difference(await run(model), await run(small))).toBeLessThan(1e-6);
  });
});

describe("several producers", () => {
  const text = `g (float[2, 3, 6, 6] x) => (float[] y)
    <float[${C}, 3, 3, 3] w = {...}, float[${C}] b = {...}, float[${C}, 3, 1, 1] w2 = {...}, float[${C}, 1, 3, 3] dw = {...}, float[4, ${C}, 1, 1] u = {...}> {
      c = Conv <pads = [1, 1, 1, 1]> (x, w, b) d = Conv (x, w2) s = Add (c, d) r = Relu (s)
      k = Conv <group = ${C}> (r, dw) y = Conv (k, u) }`;

  test("all of them, depthwise filters too, must agree for two channels to be the same", async () => {
    const model = duplicated(modelOf(text));
    expect(first(score(similar, model, { next: "none" })).score).toBeGreaterThan(0.01);
    const two = planted(model, "w2", 0, 1, 4);
    expect(first(score(similar, two, { next: "none" })).score).toBeGreaterThan(0.01);
    const all = planted(two, "dw", 0, 1, 4);
    const r = score(similar, all, { next: "none" });
    expect(first(r).score).toBe(0);
    expect(difference(await run(all), await run(afterFirst(all, r)))).toBeLessThan(1e-6);
  });
});

test("channels of different blocks of a grouped convolution never pair, equal filters or not", () => {
  // Filters of block 0 (channels 0, 1) and of block 1 (channels 2, 3) read different inputs.
  const model =
    modelOf(`g (float[1, 4, 4, 4] x) => (float[] y) <float[4, 2, 1, 1] w = {1, 2, 1, 2, 1, 2, 5, 6}, float[3, 4, 1, 1] u = {...}> {
    c = Conv <group = 2> (x, w) r = Relu (c) y = Conv (r, u) }`);
  const r = score(similar, model, { rule: "srinivas-babu" });
  for (const m of r.merges ?? []) if (m) expect(Math.floor(m.from / 2)).toBe(Math.floor(m.into / 2));
  expect(r.merges?.filter((m) => m)).toHaveLength(2);
});

test("channels that an activation product sums over are not merged, and that is told", () => {
  const r = score(
    similar,
    modelOf(`g (float[N, 7, 3] x) => (float[] y) <float[3, 4] wq = {...}, float[3, 4] wk = {...}, float[7, 2] u = {...}> {
    q = MatMul (x, wq) k = MatMul (x, wk) t = Transpose <perm = [0, 2, 1]> (k) s = MatMul (q, t) y = MatMul (s, u) }`),
  );
  expect(r.merges?.every((m) => m === undefined)).toBe(true);
  expect(r.notes.map((n) => n.code)).toEqual(["MERGE_OFF"]);
});

describe("scaleAware", () => {
  const options = { rule: "srinivas-babu", scaleAware: true };

  test("finds a filter that is three times another, and merging it three times over is lossless behind a ReLU", async () => {
    const model = duplicated(plain(), 3);
    const r = score(similar, model, options);
    expect(pair(first(r).merge)).toEqual([1, 4]);
    expect(first(r).merge?.scale).toBeCloseTo(first(r).from === 4 ? 3 : 1 / 3, 5);
    expect(r.notes).toEqual([]);
    expect(difference(await run(model), await run(afterFirst(model, r)))).toBeLessThan(1e-6);
    // float32 weights are three times each other to 6e-8; squared, against whatever pair is cheapest without scaling.
    expect(first(r).score).toBeLessThan(1e-9 * first(score(similar, model, { rule: "srinivas-babu" })).score);
  });

  test("under pair-distance, with readers a third as large, too", async () => {
    const model = planted(duplicated(plain(), 3), "u", 1, 1, 4, 1 / 3);
    const r = score(similar, model, { scaleAware: true });
    expect(first(r).score).toBeLessThan(1e-6);
    expect(pair(first(r).merge)).toEqual([1, 4]);
    expect(difference(await run(model), await run(afterFirst(model, r)))).toBeLessThan(1e-6);
  });

  test.each(["Sigmoid", "Tanh"])("is refused behind %s, with a note", (act) => {
    const r = score(similar, duplicated(plain(act), 3), options);
    expect(r.notes.map((n) => n.code)).toEqual(["SCALE_REFUSED"]);
    expect(r.notes[0]?.why).toContain(act);
    expect(r.merges?.every((m) => m === undefined || m.scale === 1)).toBe(true);
  });

  test("takes no negative multiple for a twin", () => {
    const r = score(similar, duplicated(plain(), -1), options);
    expect(first(r).score).toBeGreaterThan(1e-6);
    for (const m of r.merges ?? []) if (m) expect(m.scale).toBeGreaterThan(0);
  });
});

describe("the ranking", () => {
  const rules = [
    {},
    { rule: "srinivas-babu" },
    { next: "none" },
    { combine: "product" },
    { normalise: "layerMax" },
    { scaleAware: true },
    { merge: false },
  ] as const;

  test.each(rules.map((r) => [JSON.stringify(r), r] as const))(
    "with %s ascends along the order, and merges only into channels that are still there",
    (_, options) => {
      const { scores, order = [], merges = [] } = score(similar, plain(), options);
      const along = order.map((k) => scores[k] as number);
      expect(along).toEqual([...along].sort((a, b) => a - b));
      expect(Math.max(...along)).toBe(along[C - 1]);
      merges.forEach((m, i) => {
        if (m) expect(order.indexOf(m.into)).toBeGreaterThan(i);
      });
      expect(merges[C - 1]).toBeUndefined();
    },
  );

  test.each(rules.map((r) => [JSON.stringify(r), r] as const))("with %s follows a permutation of the channels", (_, options) => {
    const perm = [3, 5, 0, 1, 4, 2];
    const shuffle = (model: Model, name: string, axis: 0 | 1) => {
      const dims = model.graph.value(name)?.constant?.dims as readonly number[];
      const inner = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
      return edited(model, name, (d) => {
        const old = d.slice();
        for (let o = 0; o < d.length / (C * inner); o++) {
          perm.forEach((p, k) => {
            d.set(old.subarray((o * C + p) * inner, (o * C + p + 1) * inner), (o * C + k) * inner);
          });
        }
      });
    };
    const model = plain();
    const permuted = shuffle(shuffle(shuffle(model, "w", 0), "b", 0), "u", 1);
    const [a, b] = [score(similar, model, options), score(similar, permuted, options)];
    expect(b.order?.slice(0, -1).map((k) => perm[k])).toEqual(a.order?.slice(0, -1));
    perm.forEach((p, k) => {
      expect(b.scores[k]).toBeCloseTo(a.scores[p] as number, 6);
    });
  });

  test("merging changes what comes later", () => {
    const model = plain();
    expect(score(similar, model).scores).not.toEqual(score(similar, model, { merge: false }).scores);
  });
});

const rule: PairRule = {
  rule: "pair-distance",
  target: "l1",
  next: "l1",
  combine: "sum",
  normalise: "mean",
  merge: true,
  scaleAware: false,
};
const randomMatrix = (seed: string, count: number, length: number) => ({
  rows: Float64Array.from(randomFloats(seed, count * length)),
  length,
});

test.each([
  rule,
  { ...rule, target: "l2", next: "l2²" } as const,
  { ...rule, target: "cosine", next: "linf", combine: "product", normalise: "none" } as const,
  { ...rule, rule: "srinivas-babu" } as const,
  { ...rule, normalise: "layerMax", scaleAware: true } as const,
])("saliencies are symmetric with a zero diagonal: %o", (r) => {
  const search = new PairSearch(7, randomMatrix("t", 7, 11), randomMatrix("a", 7, 13), r);
  search.start(search.maxima());
  const s = search.saliencies;
  for (let i = 0; i < 7; i++) {
    expect(s[i * 7 + i]).toBe(0);
    for (let j = 0; j < 7; j++) expect(s[i * 7 + j]).toBe(s[j * 7 + i]);
  }
});

test("after each merge the saliencies are those of the merged slices, computed afresh", () => {
  const [count, t, a] = [8, randomMatrix("t", 8, 5), randomMatrix("a", 8, 9)];
  const search = new PairSearch(count, t, a, rule);
  search.start({ target: 1, next: 1 });
  const rows = Array.from({ length: count }, (_, k) => Array.from(a.rows.subarray(k * 9, k * 9 + 9)));
  const alive = new Set(rows.keys());
  for (let step = search.cheapest(); step; step = search.cheapest()) {
    const l1 = (x: ArrayLike<number>, y: ArrayLike<number>) => Array.from(x).reduce((s, v, i) => s + Math.abs(v - (y[i] as number)), 0);
    const live = [...alive];
    const all = live.flatMap((i) =>
      live.filter((j) => j > i).map((j) => distance("l1", t, i, j, 1) / 5 + l1(rows[i] as number[], rows[j] as number[]) / 9),
    );
    expect(step.saliency).toBeCloseTo(Math.min(...all), 10);
    const [to, from] = [rows[step.stays] as number[], rows[step.leaves] as number[]];
    from.forEach((x, i) => {
      to[i] = (to[i] as number) + x;
    });
    alive.delete(step.leaves);
    search.take(step);
  }
  expect(alive.size).toBe(1);
});

test("distances are what their names say, with one side scaled", () => {
  const m = matrixOf(2, (k) => [Float64Array.from(k === 0 ? [1, 2, 2] : [3, 6, 0])]);
  expect(["l1", "l2", "l2²", "linf"].map((d) => distance(d as "l1", m, 0, 1, 1))).toEqual([8, Math.sqrt(24), 24, 4]);
  expect(distance("l1", m, 0, 1, 3)).toBe(6);
  expect(distance("cosine", m, 0, 1, 1)).toBeCloseTo(1 - 15 / (3 * Math.sqrt(45)), 12);
});

test("the error of leaving is within the bounds that the saliencies stand for", () => {
  // h = relu(t·x): doubling a_i: ‖a_i‖₁‖t_i − t_j‖₁‖x‖∞ + ‖a_i − a_j‖₁|h_j|; merging: ‖a_j‖₁‖t_i − t_j‖₁‖x‖∞.
  const uniform = random(20231);
  const draw = (n: number) => Array.from({ length: n }, () => normal(uniform));
  const l1 = (v: readonly number[]) => v.reduce((s, x) => s + Math.abs(x), 0);
  const minus = (p: readonly number[], q: readonly number[]) => p.map((x, i) => x - (q[i] as number));
  const relu = (t: readonly number[], x: readonly number[]) =>
    Math.max(
      0,
      t.reduce((s, w, i) => s + w * (x[i] as number), 0),
    );
  let [doubled, merged] = [0, 0];
  for (let n = 0; n < 2000; n++) {
    const [ti, ai, x] = [draw(5), draw(4), Array.from({ length: 5 }, () => 2 * uniform() - 1)];
    const near = uniform();
    const [tj, aj] = [ti.map((w) => w + near * normal(uniform)), ai.map((w) => w + near * normal(uniform))];
    const [hi, hj] = [relu(ti, x), relu(tj, x)];
    const most = Math.max(...x.map(Math.abs));
    const error = l1(
      minus(
        ai.map((w) => w * hi),
        aj.map((w) => w * hj),
      ),
    );
    doubled = Math.max(doubled, error / (l1(ai) * l1(minus(ti, tj)) * most + l1(minus(ai, aj)) * Math.abs(hj)));
    merged = Math.max(merged, (l1(aj) * Math.abs(hi - hj)) / (l1(aj) * l1(minus(ti, tj)) * most));
  }
  expect(doubled).toBeLessThanOrEqual(1 + 1e-12);
  expect(merged).toBeLessThanOrEqual(1 + 1e-12);
});
