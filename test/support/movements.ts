/** Random cases of every operator that only moves elements: shapes, attributes and operands. */
import { int, ints, string } from "../../src/graph/attribute.js";
import { random } from "../../src/graph/random.js";
import { Tensor } from "../../src/graph/tensor.js";
import type { Movement } from "./iota.js";
import { shuffled } from "./oracle.js";

type Draw = (d: Dice) => Movement;

interface Dice {
  readonly uniform: () => number;
  /** From low to high, both included. */
  int(low: number, high: number): number;
  chance(p: number): boolean;
  of<T>(items: readonly T[]): T;
  dims(rank: number): number[];
  permutation(n: number): number[];
}

function dice(seed: string): Dice {
  const uniform = random(`movement ${seed}`);
  const d: Dice = {
    uniform,
    int: (low, high) => low + Math.floor(uniform() * (high - low + 1)),
    chance: (p) => uniform() < p,
    of: (items) => items[Math.floor(uniform() * items.length)] as never,
    dims: (rank) => Array.from({ length: rank }, () => d.of([1, 2, 2, 3, 4, 4, 6])),
    permutation: (n) =>
      shuffled(
        Array.from({ length: n }, (_, i) => i),
        uniform,
      ),
  };
  return d;
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const i64 = (values: readonly number[], dims?: readonly number[]) => Tensor.ints(values, dims);
const sizeOf = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
/** An axis, counted from the front or from the back. */
const spelled = (d: Dice, axis: number, rank: number): number => (d.chance(0.3) ? axis - rank : axis);
const some = (d: Dice, n: number): number[] => range(n).filter(() => d.chance(0.5));
const indices = (d: Dice, count: number, extent: number): number[] => range(count).map(() => d.int(-extent, extent - 1));

/** Extents of a random factorisation of n, 1s among them. */
function factors(d: Dice, n: number): number[] {
  const out: number[] = [];
  let rest = n;
  while (rest > 1) {
    const f = d.of(range(rest + 1).filter((k) => k > 1 && rest % k === 0));
    out.push(f);
    rest /= f;
  }
  if (d.chance(0.4)) out.splice(d.int(0, out.length), 0, 1);
  return shuffled(out, d.uniform);
}

const image = (d: Dice): number[] => [d.int(1, 2), d.int(1, 4), d.int(1, 3), d.int(1, 3)];

export const draws: Readonly<Record<string, Draw>> = {
  Identity: (d) => ({ op: "Identity", opset: 13, inputs: [d.dims(d.int(1, 3))] }),
  OptionalGetElement: (d) => ({ op: "OptionalGetElement", opset: 18, inputs: [d.dims(d.int(2, 3))] }),
  Transpose: (d) => {
    const rank = d.int(2, 4);
    return {
      op: "Transpose",
      opset: 13,
      inputs: [d.dims(rank)],
      ...(d.chance(0.2) ? {} : { attributes: { perm: ints(d.permutation(rank)) } }),
    };
  },
  Reshape: (d) => {
    const from = d.dims(d.int(2, 4));
    const to = factors(d, sizeOf(from));
    if (to.length > 0 && d.chance(0.3)) to[d.int(0, to.length - 1)] = -1;
    return { op: "Reshape", opset: d.of([5, 13, 19]), inputs: [from, i64(to)] };
  },
  Flatten: (d) => {
    const rank = d.int(2, 4);
    return { op: "Flatten", opset: 13, attributes: { axis: int(d.int(0, rank)) }, inputs: [d.dims(rank)] };
  },
  Squeeze: (d) => {
    const axes = some(d, 4);
    const from = d.dims(4).map((n, a) => (axes.includes(a) ? 1 : n + 1));
    return axes.length > 0
      ? { op: "Squeeze", opset: 13, inputs: [from, i64(axes.map((a) => spelled(d, a, 4)))] }
      : { op: "Squeeze", opset: d.of([11, 13]), inputs: [d.chance(0.8) ? from.map((n, a) => (a === 1 ? 1 : n)) : from] };
  },
  Unsqueeze: (d) => {
    const axes = [...new Set([d.int(0, 3), d.int(0, 3)])];
    const from = d.dims(4 - axes.length);
    return d.chance(0.5)
      ? { op: "Unsqueeze", opset: 13, inputs: [from, i64(axes.map((a) => spelled(d, a, 4)))] }
      : { op: "Unsqueeze", opset: 11, attributes: { axes: ints([...axes].sort()) }, inputs: [from] };
  },
  Slice: (d) => {
    const rank = d.int(2, 3);
    const from = d.dims(rank);
    const axes = shuffled(range(rank), d.uniform).slice(0, d.int(1, rank));
    const cuts = axes.map((a) => {
      const n = from[a] as number;
      const back = d.chance(0.4);
      return back
        ? { start: d.int(-1, n + 1), end: -n - 1 - d.int(0, 1), step: -d.int(1, 2) }
        : { start: d.int(-n, Math.max(0, n - 1)), end: d.of([n, n + 3, d.int(0, n)]), step: d.int(1, 3) };
    });
    const operands = [cuts.map((c) => c.start), cuts.map((c) => c.end), axes.map((a) => spelled(d, a, rank)), cuts.map((c) => c.step)];
    return { op: "Slice", opset: d.of([10, 13]), inputs: [from, ...operands.map((v) => i64(v))] };
  },
  Gather: (d) => {
    const rank = d.int(2, 3);
    const from = d.dims(rank);
    const axis = d.int(0, rank - 1);
    const n = from[axis] as number;
    const flip = range(n).reverse();
    const dims = d.of([[d.int(1, 5)], [n], [], [2, 2]]);
    const values = dims.length === 1 && dims[0] === n && d.chance(0.5) ? flip : indices(d, sizeOf(dims), n);
    return { op: "Gather", opset: 13, attributes: { axis: int(spelled(d, axis, rank)) }, inputs: [from, i64(values, dims)] };
  },
  GatherElements: (d) => {
    const from = d.dims(d.int(2, 3));
    const axis = d.int(0, from.length - 1);
    const dims = from.map((n, a) => (a === axis ? d.int(1, 4) : d.chance(0.3) ? d.int(1, n) : n));
    const operand = i64(indices(d, sizeOf(dims), from[axis] as number), dims);
    return { op: "GatherElements", opset: 13, attributes: { axis: int(spelled(d, axis, from.length)) }, inputs: [from, operand] };
  },
  GatherND: (d) => {
    const from = d.dims(3);
    const batch = d.int(0, 1);
    const depth = d.int(1, 3 - batch);
    const dims = [...from.slice(0, batch), d.int(1, 3), depth];
    const values = range(sizeOf(dims)).map((k) => d.int(0, (from[batch + (k % depth)] as number) - 1));
    return { op: "GatherND", opset: 13, attributes: { batch_dims: int(batch) }, inputs: [from, i64(values, dims)] };
  },
  Scatter: (d) => ({ ...scattered(d), op: "Scatter", opset: 9 }),
  ScatterElements: (d) => scattered(d),
  ScatterND: (d) => {
    const from = d.dims(3);
    const depth = d.int(1, 3);
    const rows = d.int(1, 3);
    const at = range(rows).flatMap(() => range(depth).map((c) => d.int(0, (from[c] as number) - 1)));
    return { op: "ScatterND", opset: d.of([11, 16]), inputs: [from, i64(at, [rows, depth]), [rows, ...from.slice(depth)]] };
  },
  TensorScatter: (d) => {
    const from = [d.int(1, 3), d.int(2, 4), d.int(2, 5), d.int(2, 4)];
    const axis = d.int(1, 3);
    const circular = d.chance(0.5);
    const longest = from[axis] as number;
    const steps = d.int(1, longest);
    const first = range(from[0] as number).map(() => d.int(0, circular ? longest - 1 : longest - steps));
    return {
      op: "TensorScatter",
      opset: 24,
      attributes: { axis: int(spelled(d, axis, 4)), mode: string(circular ? "circular" : "linear") },
      inputs: [from, from.map((n, a) => (a === axis ? steps : n)), d.chance(0.3) && !circular ? undefined : i64(first)],
    };
  },
  Concat: (d) => {
    const from = d.dims(d.int(1, 3));
    const axis = d.int(0, from.length - 1);
    const parts = range(d.int(1, 3)).map(() => from.map((n, a) => (a === axis ? d.int(1, 4) : n)));
    return { op: "Concat", opset: d.of([4, 13]), attributes: { axis: int(axis) }, inputs: parts };
  },
  Split: (d) => {
    const sizes = range(d.int(1, 3)).map(() => d.int(1, 3));
    const from = d.dims(d.int(2, 3));
    const axis = d.int(0, from.length - 1);
    from[axis] = sizes.reduce((a, b) => a + b, 0);
    return d.chance(0.5)
      ? { op: "Split", opset: 13, attributes: { axis: int(axis) }, inputs: [from, i64(sizes)], outputs: sizes.length }
      : { op: "Split", opset: 11, attributes: { axis: int(axis), split: ints(sizes) }, inputs: [from], outputs: sizes.length };
  },
  Pad: (d) => {
    const from = d.dims(d.int(2, 3));
    const mode = d.of(["constant", "constant", "edge", "reflect", "wrap"]);
    // Reflected pads must be shorter than the extent; wrapped ones that are not read foreign memory in ONNX Runtime 1.30.
    const most = (n: number) => (mode === "reflect" || mode === "wrap" ? Math.min(2, n - 1) : 2);
    const crops = mode === "constant" && d.chance(0.4);
    const pads = [...from, ...from].map((n) => (crops ? d.int(n > 2 ? -1 : 0, 2) : d.int(0, most(n))));
    return { op: "Pad", opset: 19, attributes: { mode: string(mode) }, inputs: [from, i64(pads)] };
  },
  Tile: (d) => {
    const from = d.dims(d.int(2, 3));
    return { op: "Tile", opset: 13, inputs: [from, i64(from.map(() => d.int(1, 3)))] };
  },
  Expand: (d) => {
    const from = d.dims(d.int(2, 3));
    const target = from.map((n) => (n === 1 ? d.of([1, 2, 3]) : d.of([1, n])));
    return { op: "Expand", opset: 13, inputs: [from, i64(d.chance(0.4) ? [2, ...target] : target)] };
  },
  DepthToSpace: (d) => {
    const [n, c, h, w] = image(d) as [number, number, number, number];
    const b = d.int(1, 2);
    const mode = d.of(["DCR", "CRD"]);
    return { op: "DepthToSpace", opset: 13, attributes: { blocksize: int(b), mode: string(mode) }, inputs: [[n, c * b * b, h, w]] };
  },
  SpaceToDepth: (d) => {
    const [n, c, h, w] = image(d) as [number, number, number, number];
    const b = d.int(1, 2);
    return { op: "SpaceToDepth", opset: 13, attributes: { blocksize: int(b) }, inputs: [[n, c, h * b, w * b]] };
  },
  ReverseSequence: (d) => {
    const from = [d.int(1, 4), d.int(1, 4), ...d.dims(d.int(0, 2))];
    const batch = d.int(0, 1);
    const lengths = range(from[batch] as number).map(() => d.int(1, from[1 - batch] as number));
    return {
      op: "ReverseSequence",
      opset: 10,
      attributes: { batch_axis: int(batch), time_axis: int(1 - batch) },
      inputs: [from, i64(lengths)],
    };
  },
  Trilu: (d) => ({
    op: "Trilu",
    opset: 14,
    attributes: { upper: int(d.int(0, 1)) },
    inputs: [d.dims(d.int(2, 3)), i64([d.int(-2, 2)], [])],
  }),
  Compress: (d) => {
    const from = d.dims(d.int(2, 3));
    const axis = d.chance(0.7) ? d.int(0, from.length - 1) : undefined;
    const extent = axis === undefined ? sizeOf(from) : (from[axis] as number);
    const bits = range(d.chance(0.7) ? extent : d.int(1, extent)).map(() => d.int(0, 1));
    bits[d.int(0, bits.length - 1)] = 1;
    const attributes = axis === undefined ? {} : { axis: int(spelled(d, axis, from.length)) };
    return { op: "Compress", opset: 11, attributes, inputs: [from, Tensor.fromNumbers("bool", [bits.length], bits)] };
  },
  CenterCropPad: (d) => {
    const from = d.dims(3);
    const axes = some(d, 3);
    if (axes.length === 0) axes.push(1);
    const to = axes.map((a) => (d.chance(0.3) ? (from[a] as number) : d.int(1, 6)));
    return { op: "CenterCropPad", opset: 18, attributes: { axes: ints(axes) }, inputs: [from, i64(to)] };
  },
  Col2Im: (d) => {
    // Blocks side by side: then nothing is added up.
    const [h, w, bh, bw] = [d.int(1, 3), d.int(1, 3), d.int(1, 2), d.int(1, 2)];
    const from = [d.int(1, 2), d.int(2, 4) * bh * bw, h * w];
    return { op: "Col2Im", opset: 18, attributes: { strides: ints([bh, bw]) }, inputs: [from, i64([h * bh, w * bw]), i64([bh, bw])] };
  },
};

function scattered(d: Dice): Movement {
  const from = d.dims(d.int(2, 3));
  const axis = d.int(0, from.length - 1);
  const dims = from.map((n, a) => (a === axis ? d.int(1, n) : d.chance(0.3) ? d.int(1, n) : n));
  const operand = i64(indices(d, sizeOf(dims), from[axis] as number), dims);
  return { op: "ScatterElements", opset: d.of([11, 16, 18]), attributes: { axis: int(axis) }, inputs: [from, operand, dims] };
}

/** Case `n` of an operator; the same for the same seed. */
export function movement(op: string, seed: string): Movement {
  const draw = draws[op];
  if (!draw) throw new Error(`No cases of ${op}.`);
  return draw(dice(`${op} ${seed}`));
}
