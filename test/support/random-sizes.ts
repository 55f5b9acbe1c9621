/** Moves whose sizes are sums, products and quotients of extents, symbolic where the recipe's extents are. */
import type { Builder } from "./random-graph.js";
import { type Dims, type Move, someAxis } from "./random-move.js";

/** A size as a vector of one element, and its number in a run. */
interface Size {
  readonly name: string;
  readonly value: number;
}

/** Extents of `v` and small numbers, combined `depth` times. Never 0, so that nothing is empty. */
function arithmetic(b: Builder, v: string, depth: number): Size {
  const s = b.shape(v);
  if (depth === 0) {
    if (b.chance(0.25)) {
      const k = b.int(1, 4);
      return { name: b.ints([k]), value: k };
    }
    const axis = b.int(0, s.length - 1);
    return { name: b.extent(v, axis), value: s[axis] as number };
  }
  const x = arithmetic(b, v, depth - 1);
  const y = arithmetic(b, v, b.int(0, depth - 1));
  switch (b.int(0, 4)) {
    case 0:
      return { name: b.op("Mul", [x.name, y.name]), value: x.value * y.value };
    case 1:
      return { name: b.op("Add", [x.name, y.name]), value: x.value + y.value };
    case 2: {
      const by = b.int(2, 3);
      const up = b.op("Add", [x.name, b.ints([by - 1])]);
      return { name: b.op("Div", [up, b.ints([by])]), value: Math.ceil(x.value / by) };
    }
    case 3: {
      const product = b.op("Mul", [x.name, y.name]);
      return { name: b.op("Div", [product, y.name]), value: x.value };
    }
    default: {
      const f = b.op("Cast", [x.name], undefined, "to = 1");
      const scaled = b.op("Mul", [f, b.numbers([1], [2])]);
      return { name: b.op("Cast", [scaled], undefined, "to = 7"), value: x.value * 2 };
    }
  }
}

const LARGEST = 200;

/** One sum over something as long as arithmetic says, added to all of `v`. */
const filledAndSummed: Move = (b, v) => {
  const size = arithmetic(b, v, b.int(0, 2));
  if (size.value > LARGEST) return undefined;
  const shape = [size.value];
  const long = b.of([
    () => b.op("ConstantOfShape", [size.name], undefined, "value = float[1] {0.5}"),
    () => b.op("Expand", [b.numbers([1], [0.25]), size.name]),
    () => b.op("Tile", [b.numbers([1], [0.25]), size.name]),
    () => b.op("Slice", [b.constant([LARGEST]), b.ints([0]), size.name, b.ints([0])]),
  ])();
  const scaled = b.op("Mul", [long, b.numbers([], [1 / shape.length])]);
  const sum = b.opset < 13 ? b.op("ReduceSum", [scaled], undefined, "axes = [0], keepdims = 1") : b.op("ReduceSum", [scaled, b.ints([0])]);
  return [b.op("Add", [v, sum], b.shape(v))];
};

/** Flat, cut or padded where arithmetic says, and back. */
const flatAndBack: Move = (b, v) => {
  const s = b.shape(v);
  const flat = b.op("Reshape", [v, b.ints([-1])]);
  const total = b.op("Size", [v]);
  const all = b.opset < 13 ? b.op("Unsqueeze", [total], undefined, "axes = [0]") : b.op("Unsqueeze", [total, b.ints([0])]);
  const cut = b.op("Slice", [flat, b.ints([0]), b.chance(0.5) ? all : b.op("Shape", [flat]), b.ints([0])]);
  const back = b.chance(0.5) ? b.op("Shape", [v]) : b.arithmetic(v, s);
  return [b.op("Reshape", [b.op("Tanh", [cut]), back], s)];
};

/** Everything from a computed position on, of `v` beside itself. */
const computedTail: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  if (n > 24) return undefined;
  const twice: Dims = s.map((d, a) => (a === axis ? 2 * d : d));
  const both = b.op("Concat", [v, b.op("Neg", [v], s)], twice, `axis = ${axis}`);
  const from = b.extent(v, axis);
  const end = b.op("Mul", [from, b.ints([2])]);
  return [b.op("Slice", [both, from, end, b.ints([axis])], s)];
};

/** Repeated along a new axis as often as another extent says, and summed. */
const expandedBy: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length > 4 || b.size(v) > 400) return undefined;
  const times = arithmetic(b, v, b.int(0, 1));
  if (times.value > 8) return undefined;
  const one = [s[0] as number, 1, ...s.slice(1)];
  const u = b.sized("Unsqueeze", 13, v, "axes", [1], one);
  const to = b.op(
    "Concat",
    [
      b.extent(v, 0),
      times.name,
      ...s.slice(1).map((d, a) => (b.chance(0.5) ? b.extent(v, a + 1) : b.chance(0.5) && !b.dynamicSpace ? b.ints([d]) : b.ints([1]))),
    ],
    undefined,
    "axis = 0",
  );
  const wide = b.op("Expand", [u, to]);
  return [b.sized("ReduceMean", 18, wide, "axes", [1], s, "keepdims = 0")];
};

/** Moves and how often each should be tried. */
export const sizes: readonly (readonly [Move, number])[] = [
  [filledAndSummed, 2],
  [flatAndBack, 1],
  [computedTail, 1],
  [expandedBy, 2],
];
