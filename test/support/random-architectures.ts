/** Moves that whole families of networks are made of, as their exporters spell them. */
import type { Builder } from "./random-graph.js";
import { type Dims, type Move, replaced } from "./random-move.js";

/** A convolution of 1 to 3 dimensions with uneven pads, strides, dilations, or auto_pad. */
const unevenConv: Move = (b, v) => {
  const [n, c, ...space] = b.shape(v) as [number, number, ...number[]];
  if (space.length < 1 || space.length > 3 || space.some((d) => d < 2)) return undefined;
  const g = b.of([1, 1, c, b.divisor(c) ?? 1]);
  const m = g === 1 ? b.width() : g * b.int(1, 2);
  const kernel = space.map(() => b.int(1, 2));
  const strides = space.map(() => b.int(1, 2));
  const w = b.constant([m, c / g, ...kernel]);
  if (b.chance(0.3)) {
    const how = b.of(["SAME_UPPER", "SAME_LOWER"]);
    const out = space.map((d, a) => Math.ceil(d / (strides[a] as number)));
    return [b.op("Conv", [v, w], [n, m, ...out], `group = ${g}, strides = [${strides.join(", ")}], auto_pad = "${how}"`)];
  }
  const [begin, end] = [space.map(() => b.int(0, 2)), space.map(() => b.int(0, 1))];
  const dilations = space.map(() => b.int(1, 2));
  const out = space.map((d, a) => {
    const reach = ((kernel[a] as number) - 1) * (dilations[a] as number) + 1;
    return Math.floor((d + (begin[a] as number) + (end[a] as number) - reach) / (strides[a] as number)) + 1;
  });
  if (out.some((d) => d < 1)) return undefined;
  const how = `group = ${g}, strides = [${strides.join(", ")}], dilations = [${dilations.join(", ")}], pads = [${[...begin, ...end].join(", ")}]`;
  return [b.op("Conv", [v, w, ...(b.chance(0.5) ? [b.constant([m])] : [])], [n, m, ...out], how)];
};

/** ConvTranspose of one dimension, or with output padding. */
const unevenTranspose: Move = (b, v) => {
  const [n, c, ...space] = b.shape(v) as [number, number, ...number[]];
  if (space.length < 1 || space.length > 2 || space.some((d) => d > 8)) return undefined;
  const g = b.of([1, 1, c, b.divisor(c) ?? 1]);
  const per = b.int(1, 4);
  const w = b.constant([c, per, ...space.map(() => 3)]);
  // stride·(d - 1) + kernel - pads + output padding
  const out = space.map((d) => 2 * (d - 1) + 3 - 1 + 1);
  const pads = [...space.map(() => 1), ...space.map(() => 0)];
  const how = `group = ${g}, strides = [${space.map(() => 2).join(", ")}], pads = [${pads.join(", ")}], output_padding = [${space.map(() => 1).join(", ")}]`;
  return [b.op("ConvTranspose", [v, w, ...(b.chance(0.5) ? [b.constant([per * g])] : [])], [n, per * g, ...out], how)];
};

/** Images as frames of a clip: five axes, and a convolution over them. */
const volume: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4 || (s[1] as number) % 2 !== 0) return undefined;
  const [n, c, h, w] = s as [number, number, number, number];
  const clip = b.reshape(v, [n, c / 2, 2, h, w]);
  const m = b.width();
  return [b.op("Conv", [clip, b.constant([m, c / 2, 2, 1, 1]), b.constant([m])], [n, m, 1, h, w])];
};

/** A layer in channels-last layout between two transposes, as TensorFlow's exporters write. */
const channelsLast: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4) return undefined;
  const [n, c, h, w] = s as [number, number, number, number];
  const m = b.width();
  const last = b.op("Transpose", [v], [n, h, w, c], "perm = [0, 2, 3, 1]");
  const y = b.op("Add", [b.op("MatMul", [last, b.constant([c, m])], [n, h, w, m]), b.constant([m])], [n, h, w, m]);
  if (b.chance(0.3)) return [y];
  return [b.op("Transpose", [b.op("Relu", [y], [n, h, w, m])], [n, m, h, w], "perm = [0, 3, 1, 2]")];
};

/** The erf form of GELU, HardSwish by hand, SiLU. */
const activation: Move = (b, v) => {
  const s = b.shape(v);
  const way = b.int(0, 3);
  if (way === 0) {
    const e = b.op("Erf", [b.op("Div", [v, b.numbers([], [Math.SQRT2])], s)], s);
    return [b.op("Mul", [b.op("Mul", [v, b.op("Add", [e, b.numbers([], [1])], s)], s), b.numbers([], [0.5])], s)];
  }
  if (way === 1) return [b.op("Mul", [v, b.op("HardSigmoid", [v], s, "alpha = 0.2, beta = 0.5")], s)];
  if (way === 2) return [b.op("Mul", [v, b.op("Sigmoid", [v], s)], s)];
  return [b.op("PRelu", [v, b.constant(b.chance(0.5) ? [s[1] as number, ...s.slice(2).map(() => 1)] : [1])], s)];
};

/** SwiGLU with projections apart or packed. */
const swiGlu: Move = (b, v) => {
  const s = b.shape(v);
  const d = s.at(-1) as number;
  const h = b.of([4, 6, 8]);
  if (s.length < 3) return undefined;
  const wide = [...s.slice(0, -1), h];
  let parts: string[];
  if (b.chance(0.5)) parts = [0, 1].map(() => b.op("MatMul", [v, b.constant([d, h])], wide));
  else {
    const packed = b.op("MatMul", [v, b.constant([d, 2 * h])], [...s.slice(0, -1), 2 * h]);
    const at = b.ints([-1]);
    parts = [0, 1].map((i) => b.op("Slice", [packed, b.ints([i * h]), b.ints([(i + 1) * h]), at], wide));
  }
  const [x, g] = parts as [string, string];
  const gated = b.op("Mul", [b.op("Mul", [g, b.op("Sigmoid", [g], wide)], wide), x], wide);
  return [b.op("MatMul", [gated, b.constant([h, d])], s)];
};

/** Root mean square norm: by hand, or the op of opset 23. */
const rmsNorm: Move = (b, v) => {
  const s = b.shape(v);
  const one = replaced(s, s.length - 1, 1);
  const scale = b.constant([s.at(-1) as number]);
  if (b.opset >= 23 && b.chance(0.5)) return [b.op("RMSNormalization", [v, scale], s, "axis = -1")];
  const square = b.chance(0.5) ? b.op("Mul", [v, v], s) : b.op("Pow", [v, b.numbers([], [2])], s);
  const mean = b.op("Add", [b.sized("ReduceMean", 18, square, "axes", [-1], one), b.numbers([], [0.01])], one);
  const y = b.chance(0.5)
    ? b.op("Div", [v, b.op("Sqrt", [mean], one)], s)
    : b.op("Mul", [v, b.op("Reciprocal", [b.op("Sqrt", [mean], one)], one)], s);
  return [b.op("Mul", b.chance(0.5) ? [y, scale] : [scale, y], s)];
};

/** Rotates pairs of the last axis: x·cos + [-second half, first half]·sin. */
function rotated(b: Builder, v: string): string {
  const s = b.shape(v);
  const d = s.at(-1) as number;
  const half = replaced(s, s.length - 1, d / 2);
  const at = b.ints([-1]);
  const [first, last] = [0, 1].map((i) => b.op("Slice", [v, b.ints([(i * d) / 2]), b.ints([((i + 1) * d) / 2]), at], half)) as [
    string,
    string,
  ];
  const turned = b.op("Concat", [b.op("Neg", [last], half), first], s, "axis = -1");
  const table = [s.at(-2) as number, d];
  return b.op("Add", [b.op("Mul", [v, b.constant(table)], s), b.op("Mul", [turned, b.constant(table)], s)], s);
}

/** Attention with fewer key and value heads than query heads, with rotary positions or without, causal or not. */
const groupedQuery: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 3 || (s[1] as number) > 12) return undefined;
  const [n, l, d] = s as [number, number, number];
  const [kv, times, dim] = [b.int(1, 2), b.int(1, 2), b.of([2, 4])];
  const heads = kv * times;
  const project = (h: number) => {
    const p = b.op("MatMul", [v, b.constant([d, h * dim])], [n, l, h * dim]);
    return b.op("Transpose", [b.reshape(p, [n, l, h, dim])], [n, h, l, dim], "perm = [0, 2, 1, 3]");
  };
  const turns = b.chance(0.5);
  const turn = (x: string) => (turns ? rotated(b, x) : x);
  const repeat = (x: string) => {
    if (times === 1) return x;
    const one = b.sized("Unsqueeze", 13, x, "axes", [2], [n, kv, 1, l, dim]);
    return b.reshape(b.op("Expand", [one, b.ints([1, 1, times, 1, 1])], [n, kv, times, l, dim]), [n, heads, l, dim]);
  };
  const q = turn(project(heads));
  const k = repeat(turn(project(kv)));
  const w = repeat(project(kv));
  const kt = b.op("Transpose", [k], [n, heads, dim, l], "perm = [0, 1, 3, 2]");
  const square = [n, heads, l, l];
  const scores = b.op("Div", [b.op("MatMul", [q, kt], square), b.numbers([], [Math.sqrt(dim)])], square);
  const causal = Array.from({ length: l * l }, (_, i) => (i % l > Math.floor(i / l) ? -30 : 0));
  const masked = b.chance(0.5) ? b.op("Add", [scores, b.numbers([l, l], causal)], square) : scores;
  const mixed = b.op("MatMul", [b.op("Softmax", [masked], square, "axis = -1"), w], [n, heads, l, dim]);
  const merged = b.reshape(b.op("Transpose", [mixed], [n, l, heads, dim], "perm = [0, 2, 1, 3]"), [n, l, heads * dim]);
  return [b.op("MatMul", [merged, b.constant([heads * dim, d])], s)];
};

/** Rows of a table picked by numbers that the graph computes; sometimes read again, transposed, as the last layer. */
const embedding: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 3) return undefined;
  const [n, l] = s as [number, number];
  const [rows, d] = [b.of([5, 7]), b.of([4, 6, 8])];
  const table = b.constant([rows, d]);
  const most = b.sized("ReduceMax", 18, v, "axes", [2], [n, l], "keepdims = 0");
  const bounded = b.op("Clip", [b.op("Abs", [most], [n, l]), b.numbers([], [0]), b.numbers([], [rows - 1])], [n, l]);
  const ids = b.op("Cast", [bounded], undefined, "to = 7");
  const y = b.op("Gather", [table, ids], [n, l, d], "axis = 0");
  if (b.chance(0.5)) return [y];
  const h = b.op("Relu", [b.op("MatMul", [y, b.constant([d, d])], [n, l, d])], [n, l, d]);
  const head = b.op("Transpose", [table], undefined, "perm = [1, 0]");
  return [b.op("MatMul", [h, head], [n, l, rows]), y];
};

/** Activations through 8 bits and back: one scale. */
const fakeQuantised: Move = (b, v) => {
  if (b.opset < 13) return undefined;
  const at = [b.numbers([], [0.05]), b.bytes([])];
  // Rounding would turn the last digit of float32 into a step: of whole numbers it does not.
  const steps = b.op("Round", [b.op("Mul", [v, b.numbers([], [4])], b.shape(v))], b.shape(v));
  return [b.op("DequantizeLinear", [b.op("QuantizeLinear", [steps, ...at], undefined), ...at], b.shape(v))];
};

/** Einsums of attention and of bilinear forms. */
const einsums: Move = (b, v) => {
  const s = b.shape(v);
  if (b.opset < 12) return undefined;
  if (s.length === 3) {
    const [n, l, d] = s as [number, number, number];
    const [h, e] = [b.of([2, 3]), b.of([2, 4])];
    const apart = b.op("Einsum", [v, b.constant([d, h, e])], [n, l, h, e], 'equation = "bld,dhe->blhe"');
    if (b.chance(0.4) && l <= 12) {
      const scores = b.op("Einsum", [apart, apart], [n, h, l, l], 'equation = "bihe,bjhe->bhij"');
      return [b.op("Einsum", [scores, apart], [n, l, h, e], 'equation = "bhij,bjhe->bihe"')];
    }
    return b.chance(0.5) ? [apart] : [b.op("Einsum", [apart, b.constant([h, e, d])], [n, l, d], 'equation = "blhe,hed->bld"')];
  }
  if (s.length !== 2) return undefined;
  const [n, d] = s as [number, number];
  const [k, m] = [b.width(), b.of([3, 4])];
  const other = b.op("MatMul", [v, b.constant([d, m])], [n, m]);
  return [b.op("Einsum", [v, b.constant([k, d, m]), other], [n, k], 'equation = "bi,kij,bj->bk"')];
};

/** Hidden state of the last step, or every step, of a recurrence over tokens, with a state given. */
const recurrentState: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 3 || b.dynamicBatch) return undefined;
  const [n, l, d] = s as [number, number, number];
  const h = b.of([3, 4]);
  const [op, gates] = b.of([
    ["LSTM", 4],
    ["GRU", 3],
  ] as const);
  const steps = b.op("Transpose", [v], [l, n, d], "perm = [1, 0, 2]");
  const start = b.chance(0.5) ? [b.constant([1, 2 * gates * h]), "", b.constant([1, n, h])] : [];
  const shapes: (Dims | undefined)[] = [
    [l, 1, n, h],
    [1, n, h],
  ];
  const how = `hidden_size = ${h}${b.chance(0.3) ? ', direction = "reverse"' : ""}`;
  const [y, last] = b.ops(op, [steps, b.constant([1, gates * h, d]), b.constant([1, gates * h, h]), ...start], shapes, how) as [
    string,
    string,
  ];
  const state = b.sized("Squeeze", 13, last, "axes", [0], [n, h]);
  if (b.chance(0.5)) return [state];
  const all = b.op("Transpose", [b.sized("Squeeze", 13, y, "axes", [1], [l, n, h])], [n, l, h], "perm = [1, 0, 2]");
  return [all, state];
};

/** An inverted bottleneck: expansion, depthwise, squeeze and excitation, projection, residual. */
const invertedBottleneck: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4) return undefined;
  const [n, c, h, w] = s as [number, number, number, number];
  const m = c * b.int(1, 2);
  const wide = [n, m, h, w];
  const x = b.op("Relu", [b.op("Conv", [v, b.constant([m, c, 1, 1]), b.constant([m])], wide)], wide);
  const y = b.op("Conv", [x, b.constant([m, 1, 1, 1]), b.constant([m])], wide, `group = ${m}`);
  const pooled = b.sized("ReduceMean", 18, y, "axes", [2, 3], [n, m, 1, 1], "keepdims = 1");
  const gate = b.op("HardSigmoid", [b.op("Conv", [pooled, b.constant([m, m, 1, 1])], [n, m, 1, 1])], [n, m, 1, 1]);
  const z = b.op("Conv", [b.op("Mul", [y, gate], wide), b.constant([c, m, 1, 1])], s);
  return [b.op("Add", [v, z], s)];
};

/** Pools with pads, ceilings and norms. */
const pools: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4 || s.slice(2).some((d) => d < 3)) return undefined;
  const op = b.of(["MaxPool", "AveragePool", "LpPool"]);
  const out = [...s.slice(0, 2), ...s.slice(2).map((d) => Math.floor((d + 1 - 3) / 2) + 1)];
  return [b.op(op, [v], out, `kernel_shape = [3, 3], strides = [2, 2], pads = [1, 0, 0, 1]`)];
};

/** Moves and how often each should be tried. */
export const architectures: readonly (readonly [Move, number])[] = [
  [unevenConv, 3],
  [unevenTranspose, 1],
  [volume, 1],
  [channelsLast, 1],
  [activation, 1],
  [swiGlu, 1],
  [rmsNorm, 1],
  [groupedQuery, 2],
  [embedding, 2],
  [fakeQuantised, 1],
  [einsums, 1],
  [recurrentState, 1],
  [invertedBottleneck, 1],
  [pools, 1],
];
