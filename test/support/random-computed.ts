/** Moves whose sizes are computed from shapes, as torch exports them. */
import { type Move, replaced, someAxis } from "./random-move.js";

/** Halves cut where arithmetic on the shape says: how torch exports chunk. */
const computedChunk: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  const n = s[axis] as number;
  if (n % 2 !== 0) return undefined;
  const half = b.op("Div", [b.op("Add", [b.extent(v, axis), b.ints([1])]), b.ints([2])]);
  const end = b.chance(0.5) ? b.op("Mul", [half, b.ints([2])]) : b.extent(v, axis);
  const shape = replaced(s, axis, n / 2);
  const [first, last] = [
    b.op("Slice", [v, b.ints([0]), half, b.ints([axis])], shape),
    b.op("Slice", [v, half, end, b.ints([axis])], shape),
  ];
  return b.chance(0.5) ? [first, last] : [b.op("Mul", [first, b.op("Sigmoid", [last], shape)], shape)];
};

const computedResize: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length !== 4 || b.opset < 13) return undefined;
  const shape = [...s.slice(0, 2), ...s.slice(2).map((d) => d * 2)];
  const front = b.op("Slice", [b.op("Shape", [v]), b.ints([0]), b.ints([2]), b.ints([0])]);
  const sizes = b.op("Concat", [front, b.ints(shape.slice(2))], undefined, "axis = 0");
  return [
    b.op("Resize", [v, "", "", sizes], shape, 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'),
  ];
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
  const token = b.op(
    "Expand",
    [
      b.constant([1, 1, d]),
      b.op("Concat", [b.extent(v, 0), b.ints([1]), b.chance(0.5) ? b.ints([d]) : b.ints([1])], undefined, "axis = 0"),
    ],
    [n, 1, d],
  );
  return [b.op("Concat", [token, v], [n, l + 1, d], "axis = 1")];
};

const computedTile: Move = (b, v) => {
  const s = b.shape(v);
  const axis = someAxis(b, s);
  if ((s[axis] as number) > 12) return undefined;
  const times = s.map((_, a) => (a === axis ? 2 : 1));
  const repeats = b.op(
    "Concat",
    times.map((t, a) => (t === 1 && a > 0 ? b.op("Div", [b.extent(v, a), b.extent(v, a)]) : b.ints([t]))),
    undefined,
    "axis = 0",
  );
  return [
    b.op(
      "Tile",
      [v, repeats],
      s.map((d, a) => d * (times[a] as number)),
    ),
  ];
};

/** Moves and how often each should be tried. */
export const computed: readonly (readonly [Move, number])[] = [
  [computedChunk, 2],
  [computedResize, 1],
  [filled, 2],
  [expandedConstant, 1],
  [positions, 1],
  [classToken, 1],
  [computedTile, 1],
];
