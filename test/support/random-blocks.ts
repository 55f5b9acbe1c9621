/** Moves of several nodes: what architectures and exporters are made of. */
import type { Builder } from "./random-graph.js";
import { type Move, replaced, someAxis } from "./random-move.js";

/** Layer normalisation as exporters decompose it, over the last axis. */
const decomposedNorm: Move = (b, v) => {
  const s = b.shape(v);
  const one = replaced(s, s.length - 1, 1);
  const mean = b.sized("ReduceMean", 18, v, "axes", [-1], one);
  const centred = b.op("Sub", [v, mean], s);
  const variance = b.sized("ReduceMean", 18, b.op("Mul", [centred, centred], s), "axes", [-1], one);
  const y = b.op("Div", [centred, b.op("Sqrt", [b.op("Add", [variance, b.numbers([], [0.01])], one)], one)], s);
  return [b.op("Add", [b.op("Mul", [y, b.constant([s.at(-1) as number])], s), b.constant([s.at(-1) as number])], s)];
};

/** Reshape to groups, InstanceNormalization, back: how GroupNorm is exported. */
const groupNorm: Move = (b, v) => {
  const s = b.shape(v);
  const [n, c, ...space] = s as [number, number, ...number[]];
  const g = b.divisor(c);
  if (space.length !== 2 || !g) return undefined;
  const rest = (c / g) * space.reduce((x, y) => x * y, 1);
  const flat = b.reshape(v, [n, g, rest]);
  const y = b.reshape(b.op("InstanceNormalization", [flat, b.constant([g]), b.constant([g])], b.shape(flat)), s);
  return [b.op("Add", [b.op("Mul", [y, b.constant([c, 1, 1])], s), b.constant([c, 1, 1])], s)];
};

/** The last k first: a roll, as two slices and a Concat. */
const roll: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  if (n < 2) return undefined;
  const k = b.int(1, n - 1);
  const at = [b.ints([axis])];
  const tail = b.op("Slice", [v, b.ints([n - k]), b.ints([n]), ...at], replaced(s, axis, k));
  const head = b.op("Slice", [v, b.ints([0]), b.ints([n - k]), ...at], replaced(s, axis, n - k));
  return [b.op("Concat", [tail, head], s, `axis = ${axis}`)];
};

/** repeat_interleave: Unsqueeze, Expand, Reshape. */
const repeatInterleave: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  if ((s[axis] as number) > 12 || s.length > 4) return undefined;
  const one = [...s.slice(0, axis + 1), 1, ...s.slice(axis + 1)];
  const wide = replaced(one, axis + 1, 2);
  const u = b.sized("Unsqueeze", 13, v, "axes", [axis + 1], one);
  const ones = wide.map((d, a) => (a === axis + 1 ? d : 1));
  return [b.reshape(b.op("Expand", [u, b.ints(ones)], wide), replaced(s, axis, (s[axis] as number) * 2))];
};

/** Reshape, Transpose, Reshape: channel shuffles, window partitions, pixel shuffles by hand. */
const shuffle: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  const g = b.divisor(n);
  if (!g || s.length > 4) return undefined;
  const apart = [...s.slice(0, axis), g, n / g, ...s.slice(axis + 1)];
  const perm = apart.map((_, a) => a);
  [perm[axis], perm[axis + 1]] = [axis + 1, axis];
  const t = b.op(
    "Transpose",
    [b.reshape(v, apart)],
    perm.map((a) => apart[a] as number),
    `perm = [${perm.join(", ")}]`,
  );
  return [b.reshape(t, s)];
};

/** Several values of one shape stacked on a new axis and summed. */
const stack: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length > 4) return undefined;
  const fits = b.live.filter((w) => b.shape(w).join() === s.join());
  const parts = [v, b.of(fits)].map((w) => b.sized("Unsqueeze", 13, w, "axes", [1], [s[0] as number, 1, ...s.slice(1)]));
  const all = b.op("Concat", parts, [s[0] as number, 2, ...s.slice(1)], "axis = 1");
  return b.chance(0.5) ? [all] : [b.sized("ReduceSum", 13, all, "axes", [1], s, "keepdims = 0")];
};

const squeezeExcite: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4) return undefined;
  const [n, c] = s as [number, number];
  const m = b.of([2, 3, 4]);
  const p = b.op("GlobalAveragePool", [v], [n, c, 1, 1]);
  const r = b.op("Relu", [b.op("Conv", [p, b.constant([m, c, 1, 1]), b.constant([m])], [n, m, 1, 1])], [n, m, 1, 1]);
  const gate = b.op("Sigmoid", [b.op("Conv", [r, b.constant([c, m, 1, 1])], [n, c, 1, 1])], [n, c, 1, 1]);
  return [b.op("Mul", b.chance(0.5) ? [v, gate] : [gate, v], s)];
};

const gated: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  if (n % 2 !== 0) return undefined;
  const half = replaced(s, axis, n / 2);
  const [x, g] =
    b.opset < 18
      ? b.ops("Split", [v], [half, half], `axis = ${axis}`)
      : b.ops("Split", [v, b.ints([n / 2, n / 2])], [half, half], `axis = ${axis}`);
  return [b.op("Mul", [x as string, b.op("Sigmoid", [g as string], half)], half)];
};

/** Fresh channels made in parts, so that parts of different places meet: as many as axis `axis` of `s` has. */
function madeInParts(b: Builder, v: string, axis: number): string {
  const s = b.shape(v);
  const n = s[axis] as number;
  const cuts = [...new Set(Array.from({ length: b.int(1, 2) }, () => b.int(1, n - 1)))].sort((x, y) => x - y);
  const sizes = [...cuts, n].map((c, i) => c - (i === 0 ? 0 : (cuts[i - 1] as number)));
  const last = axis === s.length - 1;
  const parts = sizes.map((d) =>
    last
      ? b.op("MatMul", [v, b.constant([n, d])], replaced(s, axis, d))
      : b.op("Conv", [v, b.constant([d, n, ...s.slice(2).map(() => 1)])], replaced(s, axis, d)),
  );
  return b.op("Concat", parts, s, `axis = ${axis}`);
}

/** Two concatenations cut at different places, added; or one added to a view of groups. */
const partsMeet: Move = (b, v) => {
  const s = b.shape(v);
  const axis = s.length === 4 ? 1 : s.length - 1;
  const n = s[axis] as number;
  if (s.length < 3 || n < 3) return undefined;
  const one = madeInParts(b, v, axis);
  const g = b.divisor(n);
  if (!g || b.chance(0.5)) return [b.op("Add", [one, madeInParts(b, v, axis)], s)];
  // Every second group scaled: a constant [g, 1] over a view [g, n / g].
  const apart = [...s.slice(0, axis), g, n / g, ...s.slice(axis + 1)];
  const t = b.op("Mul", [b.reshape(one, apart), b.constant([g, 1, ...s.slice(axis + 1).map(() => 1)])], apart);
  return [b.op("Add", [b.reshape(t, s), b.chance(0.5) ? v : madeInParts(b, v, axis)], s)];
};

/** Images to tokens and back. */
const tokens: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length === 4) {
    const [n, c, h, w] = s as [number, number, number, number];
    const flat = b.reshape(v, [n, c, h * w]);
    return [b.op("Transpose", [flat], [n, h * w, c], "perm = [0, 2, 1]")];
  }
  if (s.length !== 3) return undefined;
  const [n, l, d] = s as [number, number, number];
  const h = b.divisor(l);
  if (!h) return undefined;
  const t = b.op("Transpose", [v], [n, d, l], "perm = [0, 2, 1]");
  return [b.reshape(t, [n, d, h, l / h])];
};

/** 1/√extent of axis `axis` of `v`, as a constant or computed from its shape. */
function rootOfExtent(b: Builder, v: string, axis: number): string {
  if (b.chance(0.5)) return b.numbers([], [0.5]);
  const d = b.op("Gather", [b.op("Shape", [v]), b.ints([axis], [])]);
  return b.op("Reciprocal", [b.op("Sqrt", [b.op("Cast", [d], undefined, "to = 1")])]);
}

/** Multi-head attention over [N, L, D], with projections apart or packed. */
const attention: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 3 || (s[1] as number) > 16) return undefined;
  const [n, l, d] = s as [number, number, number];
  const [heads, dim] = [b.of([2, 3]), b.of([2, 3, 4])];
  const all = heads * dim;
  const apart = [n, heads, l, dim];
  let q: string;
  let k: string;
  let w: string;
  if (b.chance(0.5)) {
    [q, k, w] = Array.from({ length: 3 }, () => {
      const p = b.op("MatMul", [v, b.constant([d, all])], [n, l, all]);
      const biased = b.chance(0.5) ? b.op("Add", [p, b.constant([all])], [n, l, all]) : p;
      return b.op("Transpose", [b.reshape(biased, [n, l, heads, dim])], apart, "perm = [0, 2, 1, 3]");
    }) as [string, string, string];
  } else {
    const p = b.op("Add", [b.op("MatMul", [v, b.constant([d, 3 * all])], [n, l, 3 * all]), b.constant([3 * all])], [n, l, 3 * all]);
    const five = b.op("Transpose", [b.reshape(p, [n, l, 3, heads, dim])], [3, n, heads, l, dim], "perm = [2, 0, 3, 1, 4]");
    [q, k, w] = [0, 1, 2].map((i) => b.op("Gather", [five, b.ints([i], [])], apart, "axis = 0")) as [string, string, string];
  }
  const kt = b.op("Transpose", [k], [n, heads, dim, l], "perm = [0, 1, 3, 2]");
  const scaled = b.op("Mul", [b.op("MatMul", [q, kt], [n, heads, l, l]), rootOfExtent(b, q, 3)], [n, heads, l, l]);
  const weights = b.op("Softmax", [scaled], [n, heads, l, l], "axis = 3");
  const mixed = b.op("Transpose", [b.op("MatMul", [weights, w], apart)], [n, l, heads, dim], "perm = [0, 2, 1, 3]");
  const merged = b.reshape(mixed, [n, l, all]);
  return [b.op("MatMul", [merged, b.constant([all, d])], [n, l, d])];
};

const scaledByExtent: Move = (b, v) => [b.op("Mul", [v, rootOfExtent(b, v, someAxis(b, b.shape(v)))], b.shape(v))];

/** x·xᵀ over channels: an outer product of an axis with itself. */
const gram: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 3 || (s[1] as number) > 16) return undefined;
  const [n, c, l] = s as [number, number, number];
  const t = b.op("Transpose", [v], [n, l, c], "perm = [0, 2, 1]");
  const g = b.op("MatMul", [v, t], [n, c, c]);
  return [b.chance(0.5) ? g : b.reshape(g, [n, c * c])];
};

const recurrent: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 3) return undefined;
  const [n, l, d] = s as [number, number, number];
  const h = b.of([3, 4, 6]);
  const [op, gates] = b.of([
    ["LSTM", 4],
    ["GRU", 3],
  ] as const);
  const steps = b.op("Transpose", [v], [l, n, d], "perm = [1, 0, 2]");
  const y = b.op(
    op,
    [steps, b.constant([1, gates * h, d]), b.constant([1, gates * h, h]), ...(b.chance(0.5) ? [b.constant([1, 2 * gates * h])] : [])],
    [l, 1, n, h],
    `hidden_size = ${h}`,
  );
  return [b.op("Transpose", [b.sized("Squeeze", 13, y, "axes", [1], [l, n, h])], [n, l, h], "perm = [1, 0, 2]")];
};

const bidirectional: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 3) return undefined;
  const [n, l, d] = s as [number, number, number];
  const h = b.of([2, 3, 4]);
  const [op, gates] = b.of([
    ["LSTM", 4],
    ["GRU", 3],
    ["RNN", 1],
  ] as const);
  const steps = b.op("Transpose", [v], [l, n, d], "perm = [1, 0, 2]");
  const how = `hidden_size = ${h}, direction = "bidirectional"${op === "GRU" ? ", linear_before_reset = 1" : ""}`;
  const [y] = b.ops(
    op,
    [steps, b.constant([2, gates * h, d]), b.constant([2, gates * h, h]), b.constant([2, 2 * gates * h])],
    [
      [l, 2, n, h],
      [2, n, h],
    ],
    how,
  ) as [string];
  const t = b.op("Transpose", [y], [n, l, 2, h], "perm = [2, 0, 1, 3]");
  return [b.reshape(t, [n, l, 2 * h])];
};

/** Channels of a vector seen as an image: Gemm, then a view, as generators begin. */
const viewAsImage: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 2) return undefined;
  const c = b.of([2, 3, 4, 6]);
  const y = b.op("Gemm", [v, b.constant([s[1] as number, c * 4]), b.constant([c * 4])], [s[0] as number, c * 4]);
  return [b.reshape(y, [s[0] as number, c, 2, 2])];
};

/** Moves and how often each should be tried. */
export const blocks: readonly (readonly [Move, number])[] = [
  [decomposedNorm, 1],
  [groupNorm, 1],
  [roll, 1],
  [repeatInterleave, 1],
  [shuffle, 2],
  [stack, 1],
  [squeezeExcite, 1],
  [gated, 1],
  [partsMeet, 3],
  [tokens, 2],
  [attention, 2],
  [scaledByExtent, 1],
  [gram, 1],
  [recurrent, 1],
  [bidirectional, 1],
  [viewAsImage, 1],
];
