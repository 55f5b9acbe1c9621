/** The moves of the random generator: each reads a value (and sometimes others) and gives new values, or nothing where it does not fit. */
import type { Builder } from "./random-graph.js";

type Move = (b: Builder, v: string) => string[] | undefined;
type Dims = readonly number[];

const replaced = (s: Dims, axis: number, d: number): number[] => s.map((x, a) => (a === axis ? d : x));
/** Any axis but the batch. */
const someAxis = (b: Builder, s: Dims): number => b.int(1, s.length - 1);
const spelled = (b: Builder, axis: number, rank: number): number => (b.chance(0.3) ? axis - rank : axis);

const unary: Move = (b, v) => {
  const op = b.of(["Relu", "Sigmoid", "Tanh", "Abs", "Neg", "LeakyRelu", "Softplus", "Elu", "Identity", "Softsign", "Sin"]);
  return [b.op(op, [v], b.shape(v))];
};

const clip: Move = (b, v) => [b.op("Clip", [v, b.numbers([], [-1]), b.chance(0.5) ? "" : b.numbers([], [2])], b.shape(v))];

/** A weight of `dims`, sometimes behind ops on constants: a transposed, reshaped, scaled or quantised one. */
function weight(b: Builder, dims: Dims): string {
  const way = b.int(0, 15);
  if (way === 0) {
    const perm = b.permutation(dims.length);
    const from: number[] = [];
    perm.forEach((p, i) => {
      from[p] = dims[i] as number;
    });
    return b.op("Transpose", [b.constant(from)], undefined, `perm = [${perm.join(", ")}]`);
  }
  if (way === 1) return b.op("Mul", [b.constant(dims), b.constant([dims[0] as number, ...dims.slice(1).map(() => 1)])]);
  if (way === 2) return b.op("Reshape", [b.constant([dims.reduce((x, y) => x * y, 1)]), b.ints(dims)]);
  if (way === 3 && b.opset >= 13) {
    const n = dims[0] as number;
    return b.op("DequantizeLinear", [b.bytes(dims), b.numbers([n], Array.from({ length: n }, (_, i) => 0.02 + (i % 5) / 50)), b.bytes([n])], undefined, "axis = 0");
  }
  if (way === 5 && b.opset >= 13) {
    const n = dims[0] as number;
    const at = [b.numbers([n], Array.from({ length: n }, (_, i) => 0.01 + (i % 3) / 100)), b.bytes([n])];
    return b.op("DequantizeLinear", [b.op("QuantizeLinear", [b.constant(dims), ...at], undefined, "axis = 0"), ...at], undefined, "axis = 0");
  }
  if (way === 4 && dims.length > 1) return b.op("Reshape", [b.constant([dims[0] as number, dims.slice(1).reduce((x, y) => x * y, 1)]), b.ints(dims)]);
  return b.constant(dims);
}

const conv: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length < 3) return undefined;
  const c = s[1] as number;
  const space = s.slice(2);
  const kind = b.int(0, 5);
  const g = kind <= 2 ? 1 : kind === 3 ? c : (b.divisor(c) ?? 1);
  const n = g === 1 ? b.width() : g * b.int(1, kind === 3 ? 2 : 3);
  const wide = b.chance(0.4) && space.every((d) => d >= 3);
  const kernel = space.map(() => (wide ? 3 : 1));
  const pads = space.map(() => (wide ? 1 : 0));
  const w = weight(b, [n, c / g, ...kernel]);
  const bias = b.chance(0.6) ? [b.constant([n])] : [];
  return [b.op("Conv", [v, w, ...bias], [s[0] as number, n, ...space], `group = ${g}, pads = [${[...pads, ...pads].join(", ")}]`)];
};

const convTranspose: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4) return undefined;
  const c = s[1] as number;
  const g = b.of([1, 1, c, b.divisor(c) ?? 1]);
  const m = g === 1 ? b.width() : b.int(1, 3);
  const grow = b.chance(0.3);
  const k = grow ? 2 : 1;
  const w = weight(b, [c, m, k, k]);
  return [b.op("ConvTranspose", [v, w, ...(b.chance(0.5) ? [b.constant([m * g])] : [])], [s[0] as number, m * g, ...s.slice(2).map((d) => d * k)], `group = ${g}, strides = [${k}, ${k}]`)];
};

const matmul: Move = (b, v) => {
  const s = b.shape(v);
  const n = b.width();
  const last = s.at(-1) as number;
  const way = b.int(0, 4);
  if (way === 0 && s.length >= 3) return [b.op("MatMul", [v, b.constant([s.at(-3) === s[0] && s.length === 3 ? 1 : (s.at(-3) as number), last, n])], [...s.slice(0, -1), n])];
  if (way === 1 && s.length >= 3) return [b.op("MatMul", [b.constant([n, s.at(-2) as number]), v], [...s.slice(0, -2), n, last])];
  const y = b.op("MatMul", [v, weight(b, [last, n])], [...s.slice(0, -1), n]);
  return [b.chance(0.5) ? b.op("Add", b.chance(0.5) ? [y, b.constant([n])] : [b.constant([n]), y], b.shape(y)) : y];
};

const gemm: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 2) return undefined;
  const [m, k] = s as [number, number];
  const n = b.width();
  const transposed = b.chance(0.5);
  const w = weight(b, transposed ? [n, k] : [k, n]);
  const c = b.of([[], [b.constant([n])], [b.constant([1, n])], [b.constant([1])]]);
  return [b.op("Gemm", [v, w, ...c], [m, n], `transB = ${transposed ? 1 : 0}, alpha = 0.5, beta = 2.0`)];
};

const einsum: Move = (b, v) => {
  const s = b.shape(v);
  const n = b.width();
  if (b.opset < 12) return undefined;
  if (s.length === 3) {
    const [N, L, D] = s as [number, number, number];
    return b.chance(0.5)
      ? [b.op("Einsum", [v, b.constant([D, n])], [N, L, n], 'equation = "nld,de->nle"')]
      : [b.op("Einsum", [v, v], [N, L, L], 'equation = "nld,nmd->nlm"')];
  }
  if (s.length !== 4) return undefined;
  const [N, C, H, W] = s as [number, number, number, number];
  return [b.op("Einsum", [b.constant([n, C]), v], [N, n, H, W], 'equation = "kc,nchw->nkhw"')];
};

const norm: Move = (b, v) => {
  const s = b.shape(v);
  const c = s[1] as number;
  const vec = () => b.constant([c]);
  const way = b.int(0, 5);
  if (way <= 2) return [b.op("BatchNormalization", [v, vec(), vec(), vec(), vec()], s)];
  if (way === 3 && s.length >= 3) return [b.op("InstanceNormalization", [v, vec(), vec()], s)];
  if (way === 4 && b.opset >= 17) {
    const axis = someAxis(b, s);
    return [b.op("LayerNormalization", [v, b.constant(s.slice(axis)), b.constant(s.slice(axis))], s, `axis = ${axis}`)];
  }
  if (way === 5 && b.opset >= 21 && s.length >= 3) return [b.op("GroupNormalization", [v, vec(), vec()], s, `num_groups = ${b.divisor(c) ?? c}, epsilon = 0.001`)];
  if (s.length === 4) return [b.op("LRN", [v], s, "size = 3")];
  return undefined;
};

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

/** Arithmetic with a constant that broadcasts in some axes. */
const withConstant: Move = (b, v) => {
  const s = b.shape(v);
  const dims = s.slice(b.int(1, s.length)).map((d) => (b.chance(0.35) ? 1 : d));
  const op = b.of(["Add", "Mul", "Sub", "Max", "PRelu", "Where"]);
  if (op === "Where") return [b.op(op, [b.booleans(dims), v, b.constant(b.chance(0.5) ? [] : dims)], s)];
  const k = b.constant(dims);
  return [b.op(op, op === "PRelu" || b.chance(0.6) ? [v, k] : [k, v], s)];
};

/** Arithmetic with other live values that broadcast against this one. */
const withOther: Move = (b, v) => {
  const s = b.shape(v);
  const fits = b.live.filter((w) => {
    const t = b.shape(w);
    return t.length === s.length && t.every((d, a) => d === s[a] || (a > 0 && (d === 1 || s[a] === 1)));
  });
  const w = b.of(fits);
  const shape = s.map((d, a) => Math.max(d, b.shape(w)[a] as number));
  const op = b.of(["Add", "Add", "Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean"]);
  if (op === "Mul") return [b.op(op, [v, b.op("Sigmoid", [w], b.shape(w))], shape)];
  return [b.op(op, b.chance(0.5) ? [v, w] : [w, v], shape)];
};

const concat: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const fits = b.live.filter((w) => b.shape(w).length === s.length && b.shape(w).every((d, a) => a === axis || d === s[a]));
  const parts = [v, ...Array.from({ length: b.int(1, 2) }, () => b.of(fits))];
  if (b.chance(0.5)) parts.reverse();
  const total = parts.reduce((n, w) => n + (b.shape(w)[axis] as number), 0);
  return total > 48 ? undefined : [b.op("Concat", parts, replaced(s, axis, total), `axis = ${spelled(b, axis, s.length)}`)];
};

const split: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  if (n < 3) return undefined;
  const g = b.divisor(n);
  const sizes = g && g <= 4 && b.chance(0.6) ? Array.from({ length: g }, () => n / g) : ((k) => [k, n - k])(b.int(1, n - 1));
  const shapes = sizes.map((d) => replaced(s, axis, d));
  const at = `axis = ${spelled(b, axis, s.length)}`;
  const isEqual = new Set(sizes).size === 1;
  if (isEqual && b.opset >= 18 && b.chance(0.5)) return b.ops("Split", [v], shapes, `${at}, num_outputs = ${sizes.length}`);
  if (isEqual && b.opset < 18 && b.chance(0.5)) return b.ops("Split", [v], shapes, at);
  if (b.opset < 13) return b.ops("Split", [v], shapes, `${at}, split = [${sizes.join(", ")}]`);
  return b.ops("Split", [v, b.ints(sizes)], shapes, at);
};

const slice: Move = (b, v) => {
  const s = b.shape(v);
  const axes = s.length > 2 && b.chance(0.3) ? [1, s.length - 1] : [someAxis(b, s)];
  const cuts = axes.map((axis) => {
    const n = s[axis] as number;
    const step = b.of([1, 1, 1, 2, -1, 3, -2]);
    const picked = Array.from({ length: n }, (_, i) => i);
    if (step < 0) picked.reverse();
    const from = b.int(0, Math.min(2, n - 1));
    const taken = picked.slice(from, n - b.int(0, Math.min(2, n - 1 - from))).filter((_, i) => i % Math.abs(step) === 0);
    const first = taken[0] as number;
    const last = taken.at(-1) as number;
    const end = step > 0 ? (last === n - 1 && b.chance(0.5) ? 9223372036854 : last + 1) : last === 0 ? -9223372036854 : last - 1;
    return { axis, start: first !== n - 1 && b.chance(0.3) ? first - n : first === n - 1 && step < 0 && b.chance(0.5) ? -1 : first, end, step, count: taken.length };
  });
  const shape = s.map((d, a) => cuts.find((c) => c.axis === a)?.count ?? d);
  const steps = cuts.some((c) => c.step !== 1) || b.chance(0.5) ? [b.ints(cuts.map((c) => c.step))] : [];
  return [b.op("Slice", [v, b.ints(cuts.map((c) => c.start)), b.ints(cuts.map((c) => c.end)), b.ints(cuts.map((c) => spelled(b, c.axis, s.length))), ...steps], shape)];
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

const gather: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  const way = b.int(0, 6);
  const sign = (i: number) => (b.chance(0.2) ? i - n : i);
  const at = `axis = ${spelled(b, axis, s.length)}`;
  if (way === 0 && s.length > 2) return [b.op("Gather", [v, b.ints([b.int(0, n - 1)], [])], s.filter((_, a) => a !== axis), at)];
  if (way === 1 && s.length < 4) {
    const indices = Array.from({ length: 4 }, () => b.int(0, n - 1));
    return [b.op("Gather", [v, b.ints(indices, [2, 2])], [...s.slice(0, axis), 2, 2, ...s.slice(axis + 1)], at)];
  }
  const all = b.permutation(n);
  const g = b.divisor(n);
  const rows = g ? b.permutation(g).flatMap((r) => Array.from({ length: n / g }, (_, i) => (r * n) / g + i)) : all;
  const by = b.int(1, n);
  const inOrder = Array.from({ length: n }, (_, i) => i);
  const rolled = [...inOrder.slice(by), ...inOrder.slice(0, by)];
  const picks: number[][] = [rolled, all, all.slice(0, b.int(1, n)), rows, rows.slice(0, Math.ceil(n / 2)), Array.from({ length: b.int(1, n + 2) }, () => b.int(0, n - 1)), all.flatMap((i) => [i, i]).slice(0, 20)];
  const indices = b.of(picks).map(sign);
  return [b.op("Gather", [v, b.ints(indices)], replaced(s, axis, indices.length), at)];
};

const pad: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  const mode = b.of(["constant", "constant", "constant", "reflect", "edge"]);
  const [begin, end] = [b.int(mode === "constant" ? -1 : 0, 2), b.int(mode === "constant" ? -2 : 0, 2)];
  if (n + begin + end < 1 || n < 3) return undefined;
  const pads = [...s.map((_, a) => (a === axis ? begin : 0)), ...s.map((_, a) => (a === axis ? end : 0))];
  const value = mode === "constant" && b.chance(0.5) ? [b.numbers([], [0.5])] : [];
  return [b.op("Pad", [v, b.ints(pads), ...value], replaced(s, axis, n + begin + end), `mode = "${mode}"`)];
};

const tile: Move = (b, v) => {
  const s = b.shape(v);
  const times = s.map((d, a) => (a > 0 && d <= 12 && b.chance(0.4) ? b.int(2, 3) : 1));
  return [b.op("Tile", [v, b.ints(times)], s.map((d, a) => d * (times[a] as number)))];
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

const transpose: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length < 3) return undefined;
  const perm = [0, ...b.permutation(s.length - 1).map((a) => a + 1)];
  return [b.op("Transpose", [v], perm.map((a) => s[a] as number), `perm = [${perm.join(", ")}]`)];
};

/** Merges, splits, and both at once, of neighbouring axes. */
const regroup: Move = (b, v) => {
  const s = b.shape(v);
  const from = someAxis(b, s);
  const to = b.int(from, Math.min(s.length - 1, from + 2));
  let left = s.slice(from, to + 1).reduce((x, y) => x * y, 1);
  const made: number[] = [];
  for (let k = b.int(0, 2); k > 0; k--) {
    const d = b.divisor(left);
    if (!d) break;
    made.push(d);
    left /= d;
  }
  made.push(left);
  if (b.chance(0.1)) made.push(1);
  const target = [...s.slice(0, from), ...made, ...s.slice(to + 1)];
  return target.length > 5 ? undefined : [b.reshape(v, target)];
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
  const t = b.op("Transpose", [b.reshape(v, apart)], perm.map((a) => apart[a] as number), `perm = [${perm.join(", ")}]`);
  return [b.reshape(t, s)];
};

const flatten: Move = (b, v) => {
  const s = b.shape(v);
  const all = s.slice(1).reduce((x, y) => x * y, 1);
  if (s.length < 3 || all > 200) return undefined;
  return [b.chance(0.5) ? b.op("Flatten", [v], [s[0] as number, all], "axis = 1") : b.reshape(v, [s[0] as number, all])];
};

const reduce: Move = (b, v) => {
  const s = b.shape(v);
  const axes = s.map((_, a) => a).filter((a) => a > 0 && b.chance(0.45));
  if (axes.length === 0) axes.push(someAxis(b, s));
  const keeps = b.chance(0.5);
  if (!keeps && s.length - axes.length < 2) return undefined;
  const op = b.of(["ReduceSum", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2", "ReduceSumSquare", "ReduceL1"]);
  const shape = keeps ? s.map((d, a) => (axes.includes(a) ? 1 : d)) : s.filter((_, a) => !axes.includes(a));
  return [b.sized(op, op === "ReduceSum" ? 13 : 18, v, "axes", axes.map((a) => spelled(b, a, s.length)), shape, `keepdims = ${keeps ? 1 : 0}`)];
};

const softmax: Move = (b, v) => [b.op(b.of(["Softmax", "LogSoftmax"]), [v], b.shape(v), `axis = ${someAxis(b, b.shape(v))}`)];
const cumsum: Move = (b, v) => [b.op("CumSum", [v, b.ints([someAxis(b, b.shape(v))], [])], b.shape(v))];

const pool: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4) return undefined;
  if (b.chance(0.4)) return [b.op(b.of(["GlobalAveragePool", "GlobalMaxPool"]), [v], [...s.slice(0, 2), 1, 1])];
  if (s.slice(2).some((d) => d % 2 !== 0)) return undefined;
  return [b.op(b.of(["MaxPool", "AveragePool"]), [v], [...s.slice(0, 2), ...s.slice(2).map((d) => d / 2)], "kernel_shape = [2, 2], strides = [2, 2]")];
};

const resize: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4 || b.opset < 13) return undefined;
  const shape = [...s.slice(0, 2), ...s.slice(2).map((d) => d * 2)];
  const how = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"';
  if (b.dynamicBatch || b.chance(0.5)) return [b.op("Resize", [v, "", b.numbers([4], [1, 1, 2, 2])], shape, how)];
  return [b.op("Resize", [v, "", "", b.ints(shape)], shape, how)];
};

const depthToSpace: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4) return undefined;
  const [n, c, h, w] = s as [number, number, number, number];
  if (c % 4 === 0) return [b.op("DepthToSpace", [v], [n, c / 4, h * 2, w * 2], `blocksize = 2, mode = "${b.of(["DCR", "CRD"])}"`)];
  if (h % 2 !== 0 || w % 2 !== 0) return undefined;
  return [b.op("SpaceToDepth", [v], [n, c * 4, h / 2, w / 2], "blocksize = 2")];
};

const squeezeOrNot: Move = (b, v) => {
  const s = b.shape(v);
  const ones = s.flatMap((d, a) => (a > 0 && d === 1 ? [a] : []));
  if (ones.length > 0 && s.length > 2) {
    const axis = b.of(ones);
    return [b.sized("Squeeze", 13, v, "axes", [spelled(b, axis, s.length)], s.filter((_, a) => a !== axis))];
  }
  if (s.length > 4) return undefined;
  const axis = b.int(1, s.length);
  return [b.sized("Unsqueeze", 13, v, "axes", [axis], [...s.slice(0, axis), 1, ...s.slice(axis)])];
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
  const [x, g] = b.opset < 18 ? b.ops("Split", [v], [half, half], `axis = ${axis}`) : b.ops("Split", [v, b.ints([n / 2, n / 2])], [half, half], `axis = ${axis}`);
  return [b.op("Mul", [x as string, b.op("Sigmoid", [g as string], half)], half)];
};

/** Fresh channels made in parts, so that parts of different places meet: as many as axis `axis` of `s` has. */
function madeInParts(b: Builder, v: string, axis: number): string {
  const s = b.shape(v);
  const n = s[axis] as number;
  const cuts = [...new Set(Array.from({ length: b.int(1, 2) }, () => b.int(1, n - 1)))].sort((x, y) => x - y);
  const sizes = [...cuts, n].map((c, i) => c - (i === 0 ? 0 : (cuts[i - 1] as number)));
  const last = axis === s.length - 1;
  const parts = sizes.map((d) => (last ? b.op("MatMul", [v, b.constant([n, d])], replaced(s, axis, d)) : b.op("Conv", [v, b.constant([d, n, ...s.slice(2).map(() => 1)])], replaced(s, axis, d))));
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

/** 1/√extent of axis `axis` of `v`, as a constant or computed from its shape. */
function rootOfExtent(b: Builder, v: string, axis: number): string {
  if (b.chance(0.5)) return b.numbers([], [0.5]);
  const d = b.op("Gather", [b.op("Shape", [v]), b.ints([axis], [])]);
  return b.op("Reciprocal", [b.op("Sqrt", [b.op("Cast", [d], undefined, "to = 1")])]);
}

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
  const [op, gates] = b.of([["LSTM", 4], ["GRU", 3]] as const);
  const steps = b.op("Transpose", [v], [l, n, d], "perm = [1, 0, 2]");
  const y = b.op(op, [steps, b.constant([1, gates * h, d]), b.constant([1, gates * h, h]), ...(b.chance(0.5) ? [b.constant([1, 2 * gates * h])] : [])], [l, 1, n, h], `hidden_size = ${h}`);
  return [b.op("Transpose", [b.sized("Squeeze", 13, y, "axes", [1], [l, n, h])], [n, l, h], "perm = [1, 0, 2]")];
};

/** Halves cut where arithmetic on the shape says: how torch exports chunk. */
const computedChunk: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  if (n % 2 !== 0) return undefined;
  const half = b.op("Div", [b.op("Add", [b.extent(v, axis), b.ints([1])]), b.ints([2])]);
  const end = b.chance(0.5) ? b.op("Mul", [half, b.ints([2])]) : b.extent(v, axis);
  const shape = replaced(s, axis, n / 2);
  const [first, last] = [b.op("Slice", [v, b.ints([0]), half, b.ints([axis])], shape), b.op("Slice", [v, half, end, b.ints([axis])], shape)];
  return b.chance(0.5) ? [first, last] : [b.op("Mul", [first, b.op("Sigmoid", [last], shape)], shape)];
};

const computedResize: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4 || b.opset < 13) return undefined;
  const shape = [...s.slice(0, 2), ...s.slice(2).map((d) => d * 2)];
  const front = b.op("Slice", [b.op("Shape", [v]), b.ints([0]), b.ints([2]), b.ints([0])]);
  const sizes = b.op("Concat", [front, b.ints(shape.slice(2))], undefined, "axis = 0");
  return [b.op("Resize", [v, "", "", sizes], shape, 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"')];
};

/** A constant filled to the shape of `v`, or to more channels: zero padding of shortcuts, new_zeros. */
const filled: Move = (b, v) => {
  const s = b.shape(v);
  if (b.chance(0.5)) {
    const fill = b.op("ConstantOfShape", [b.op("Shape", [v])], s, "value = float[1] {0.5}");
    return [b.op(b.of(["Add", "Mul"]), [v, fill], s)];
  }
  const axis = someAxis(b, s);
  const extra = b.int(1, 4);
  const shape = replaced(s, axis, extra);
  const fill = b.op("ConstantOfShape", [b.arithmetic(v, shape)], shape, "value = float[1] {0.25}");
  return [b.op("Concat", b.chance(0.5) ? [v, fill] : [fill, v], replaced(s, axis, (s[axis] as number) + extra), `axis = ${axis}`)];
};

const expandedConstant: Move = (b, v) => {
  const s = b.shape(v);
  const dims = s.map((d, a) => (a === 0 || b.chance(0.5) ? 1 : d));
  const wide = b.op("Expand", [b.constant(dims), b.op("Shape", [v])], s);
  return [b.op(b.of(["Add", "Mul"]), [v, wide], s)];
};

/** A learned row per position, looked up by a computed range. */
const positions: Move = (b, v) => {
  const s = b.shape(v);
  const [l, d] = [s.at(-2) as number, s.at(-1) as number];
  if (s.length < 3) return undefined;
  const n = b.op("Gather", [b.op("Shape", [v]), b.ints([s.length - 2], [])]);
  const at = b.op("Range", [b.ints([0], []), n, b.ints([1], [])]);
  const rows = b.op("Gather", [b.constant([l + b.int(0, 3), d]), at], [l, d], "axis = 0");
  return [b.op("Add", [v, rows], s)];
};

/** A learned token before the others. */
const classToken: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 3) return undefined;
  const [n, l, d] = s as [number, number, number];
  const token = b.op("Expand", [b.constant([1, 1, d]), b.op("Concat", [b.extent(v, 0), b.ints([1]), b.chance(0.5) ? b.ints([d]) : b.ints([1])], undefined, "axis = 0")], [n, 1, d]);
  return [b.op("Concat", [token, v], [n, l + 1, d], "axis = 1")];
};

/** Ops that order, pick or mix over an axis, or that no rule covers. */
const opaque: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  const way = b.int(0, 2);
  if (way === 0) {
    const k = b.int(1, n);
    return [b.ops("TopK", [v, b.ints([k])], [replaced(s, axis, k), undefined], `axis = ${axis}`)[0] as string];
  }
  if (way === 1) return [b.op("LpNormalization", [v], s, `axis = ${axis}`)];
  return [b.op("Pow", [b.op("Abs", [v], s), b.chance(0.5) ? b.numbers([], [2]) : b.constant([s.at(-1) as number])], s)];
};

const computedTile: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  if ((s[axis] as number) > 12) return undefined;
  const times = s.map((_, a) => (a === axis ? 2 : 1));
  const repeats = b.op("Concat", times.map((t, a) => (t === 1 && a > 0 ? b.op("Div", [b.extent(v, a), b.extent(v, a)]) : b.ints([t]))), undefined, "axis = 0");
  return [b.op("Tile", [v, repeats], s.map((d, a) => d * (times[a] as number)))];
};

const bidirectional: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 3) return undefined;
  const [n, l, d] = s as [number, number, number];
  const h = b.of([2, 3, 4]);
  const [op, gates] = b.of([["LSTM", 4], ["GRU", 3], ["RNN", 1]] as const);
  const steps = b.op("Transpose", [v], [l, n, d], "perm = [1, 0, 2]");
  const how = `hidden_size = ${h}, direction = "bidirectional"${op === "GRU" ? ", linear_before_reset = 1" : ""}`;
  const [y] = b.ops(op, [steps, b.constant([2, gates * h, d]), b.constant([2, gates * h, h]), b.constant([2, 2 * gates * h])], [[l, 2, n, h], [2, n, h]], how) as [string];
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

/** Each as often as it should be tried. */
export const moves: readonly Move[] = [
  ...[conv, conv, conv, matmul, matmul, gemm, gemm, withOther, withOther, withOther, withConstant, withConstant, unary, unary, norm, norm],
  ...[concat, concat, split, split, slice, slice, gather, gather, pad, tile, transpose, regroup, regroup, regroup, shuffle, shuffle],
  ...[convTranspose, einsum, decomposedNorm, groupNorm, roll, repeatInterleave, flatten, reduce, reduce, softmax, cumsum, pool, resize],
  ...[depthToSpace, depthToSpace, squeezeOrNot, stack, squeezeExcite, gated, tokens, tokens, attention, attention, scaledByExtent, gram, recurrent, viewAsImage, clip],
  ...[computedChunk, computedChunk, computedResize, filled, filled, expandedConstant, positions, classToken, opaque, computedTile, bidirectional, partsMeet, partsMeet, partsMeet],
];
