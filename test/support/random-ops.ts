/** Moves of one node: ops that move, tie, split and sum channels, in the spellings of every opset. */
import type { Builder } from "./random-graph.js";
import { type Dims, type Move, replaced, someAxis, spelled } from "./random-move.js";

const unary: Move = (b, v) => {
  const op = b.of(["Relu", "Sigmoid", "Tanh", "Abs", "Neg", "LeakyRelu", "Softplus", "Elu", "Identity", "Softsign", "Sin"]);
  return [b.op(op, [v], b.shape(v))];
};

const clip: Move = (b, v) => [b.op("Clip", [v, b.numbers([], [-1]), b.chance(0.5) ? "" : b.numbers([], [2])], b.shape(v))];

/** A weight of `dims`, sometimes behind ops on constants: a transposed, reshaped, scaled or quantised one. */
function weight(b: Builder, dims: Dims): string {
  const way = b.int(0, 18);
  if (way === 6) return b.op("Cast", [b.halves(dims)], undefined, "to = 1");
  if (way === 7) return b.op("Identity", [b.constant(dims)]);
  if (way === 8) return b.op("Constant", [], undefined, `value = float[${dims.join(",")}] {...}`);
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
    return b.op(
      "DequantizeLinear",
      [
        b.bytes(dims),
        b.numbers(
          [n],
          Array.from({ length: n }, (_, i) => 0.02 + (i % 5) / 50),
        ),
        b.bytes([n]),
      ],
      undefined,
      "axis = 0",
    );
  }
  if (way === 5 && b.opset >= 13) {
    const n = dims[0] as number;
    const at = [
      b.numbers(
        [n],
        Array.from({ length: n }, (_, i) => 0.01 + (i % 3) / 100),
      ),
      b.bytes([n]),
    ];
    return b.op(
      "DequantizeLinear",
      [b.op("QuantizeLinear", [b.constant(dims), ...at], undefined, "axis = 0"), ...at],
      undefined,
      "axis = 0",
    );
  }
  if (way === 4 && dims.length > 1)
    return b.op("Reshape", [b.constant([dims[0] as number, dims.slice(1).reduce((x, y) => x * y, 1)]), b.ints(dims)]);
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
  return [
    b.op(
      "ConvTranspose",
      [v, w, ...(b.chance(0.5) ? [b.constant([m * g])] : [])],
      [s[0] as number, m * g, ...s.slice(2).map((d) => d * k)],
      `group = ${g}, strides = [${k}, ${k}]`,
    ),
  ];
};

const matmul: Move = (b, v) => {
  const s = b.shape(v);
  const n = b.width();
  const last = s.at(-1) as number;
  const way = b.int(0, 4);
  if (way === 0 && s.length >= 3)
    return [
      b.op("MatMul", [v, b.constant([s.at(-3) === s[0] && s.length === 3 ? 1 : (s.at(-3) as number), last, n])], [...s.slice(0, -1), n]),
    ];
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
  if (s.length === 4) return [b.op("LRN", [v], s, "size = 3")];
  return undefined;
};

/** The op of opset 18 (scales per group) and of 21 (per channel). */
const groupNormOp: Move = (b, v) => {
  const s = b.shape(v);
  const c = s[1] as number;
  const g = b.divisor(c) ?? c;
  if (b.opset < 18 || s.length < 3) return undefined;
  const vec = () => b.constant([b.opset < 21 ? g : c]);
  return [b.op("GroupNormalization", [v, vec(), vec()], s, `num_groups = ${g}, epsilon = 0.001`)];
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
    return {
      axis,
      start: first !== n - 1 && b.chance(0.3) ? first - n : first === n - 1 && step < 0 && b.chance(0.5) ? -1 : first,
      end,
      step,
      count: taken.length,
    };
  });
  const shape = s.map((d, a) => cuts.find((c) => c.axis === a)?.count ?? d);
  const steps = cuts.some((c) => c.step !== 1) || b.chance(0.5) ? [b.ints(cuts.map((c) => c.step))] : [];
  return [
    b.op(
      "Slice",
      [
        v,
        b.ints(cuts.map((c) => c.start)),
        b.ints(cuts.map((c) => c.end)),
        b.ints(cuts.map((c) => spelled(b, c.axis, s.length))),
        ...steps,
      ],
      shape,
    ),
  ];
};

const gather: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  const way = b.int(0, 6);
  const sign = (i: number) => (b.chance(0.2) ? i - n : i);
  const at = `axis = ${spelled(b, axis, s.length)}`;
  if (way === 0 && s.length > 2)
    return [
      b.op(
        "Gather",
        [v, b.ints([b.int(0, n - 1)], [])],
        s.filter((_, a) => a !== axis),
        at,
      ),
    ];
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
  const picks: number[][] = [
    rolled,
    all,
    all.slice(0, b.int(1, n)),
    rows,
    rows.slice(0, Math.ceil(n / 2)),
    Array.from({ length: b.int(1, n + 2) }, () => b.int(0, n - 1)),
    all.flatMap((i) => [i, i]).slice(0, 20),
  ];
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
  return [
    b.op(
      "Tile",
      [v, b.ints(times)],
      s.map((d, a) => d * (times[a] as number)),
    ),
  ];
};

const transpose: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length < 3) return undefined;
  const perm = [0, ...b.permutation(s.length - 1).map((a) => a + 1)];
  return [
    b.op(
      "Transpose",
      [v],
      perm.map((a) => s[a] as number),
      `perm = [${perm.join(", ")}]`,
    ),
  ];
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
  return [
    b.sized(
      op,
      op === "ReduceSum" ? 13 : 18,
      v,
      "axes",
      axes.map((a) => spelled(b, a, s.length)),
      shape,
      `keepdims = ${keeps ? 1 : 0}`,
    ),
  ];
};

const softmax: Move = (b, v) => [b.op(b.of(["Softmax", "LogSoftmax"]), [v], b.shape(v), `axis = ${someAxis(b, b.shape(v))}`)];
const cumsum: Move = (b, v) => [b.op("CumSum", [v, b.ints([someAxis(b, b.shape(v))], [])], b.shape(v))];

const pool: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4) return undefined;
  if (b.chance(0.4)) return [b.op(b.of(["GlobalAveragePool", "GlobalMaxPool"]), [v], [...s.slice(0, 2), 1, 1])];
  if (s.slice(2).some((d) => d % 2 !== 0)) return undefined;
  return [
    b.op(
      b.of(["MaxPool", "AveragePool"]),
      [v],
      [...s.slice(0, 2), ...s.slice(2).map((d) => d / 2)],
      "kernel_shape = [2, 2], strides = [2, 2]",
    ),
  ];
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
    return [
      b.sized(
        "Squeeze",
        13,
        v,
        "axes",
        [spelled(b, axis, s.length)],
        s.filter((_, a) => a !== axis),
      ),
    ];
  }
  if (s.length > 4) return undefined;
  const axis = b.int(1, s.length);
  return [b.sized("Unsqueeze", 13, v, "axes", [axis], [...s.slice(0, axis), 1, ...s.slice(axis)])];
};

/** One length per batch, so that the batch must be a number. */
function lengths(b: Builder, dims: Dims): string {
  return b.ints(Array.from({ length: dims[0] as number }, () => b.int(1, dims[1] as number)));
}

/** Ops that order, pick or mix over an axis, or that no rule covers. */
const opaque: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  const way = b.int(0, 4);
  if (way === 3 && b.opset < 18) {
    const branch = (name: string, op: string) => `${name}_branch = ${name} () => (${name}_${v}) { ${name}_${v} = ${op} (${v}) }`;
    return [b.op("If", [b.booleans([])], s, `${branch("then", "Relu")}, ${branch("else", "Neg")}`)];
  }
  if (way === 4 && !b.dynamicBatch) {
    const picked = b.op("Gather", [v, b.ints([b.int(0, n - 1), b.int(-n, -1)])], replaced(s, axis, 2), `axis = ${axis}`);
    const data = b.chance(0.5) ? v : picked;
    const dims = b.shape(data);
    return [b.op("ReverseSequence", [data, lengths(b, dims)], dims, "batch_axis = 0, time_axis = 1")];
  }
  if (way === 0) {
    const k = b.int(1, n);
    return [b.ops("TopK", [v, b.ints([k])], [replaced(s, axis, k), undefined], `axis = ${axis}`)[0] as string];
  }
  if (way === 1) return [b.op("LpNormalization", [v], s, `axis = ${axis}`)];
  return [b.op("Pow", [b.op("Abs", [v], s), b.chance(0.5) ? b.numbers([], [2]) : b.constant([s.at(-1) as number])], s)];
};

/** Moves and how often each should be tried. */
export const ops: readonly (readonly [Move, number])[] = [
  [unary, 2],
  [clip, 1],
  [conv, 3],
  [convTranspose, 1],
  [matmul, 2],
  [gemm, 2],
  [einsum, 1],
  [norm, 2],
  [groupNormOp, 1],
  [withConstant, 2],
  [withOther, 3],
  [concat, 2],
  [split, 2],
  [slice, 2],
  [gather, 2],
  [pad, 1],
  [tile, 1],
  [transpose, 1],
  [regroup, 3],
  [flatten, 1],
  [reduce, 2],
  [softmax, 1],
  [cumsum, 1],
  [pool, 1],
  [resize, 1],
  [depthToSpace, 2],
  [squeezeOrNot, 1],
  [opaque, 1],
];
