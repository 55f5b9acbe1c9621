/** Moves with bodies: branches that a run chooses, loops and scans that carry a state, contractions and captures inside. */
import type { Builder } from "./random-graph.js";
import { type Dims, type Move, replaced } from "./random-move.js";

/** Whether the elements of the first input sum to more than 0: for a run to find out. */
function condition(b: Builder): string {
  const total = b.op("ReduceSum", [b.firstInput], undefined, "keepdims = 0");
  return b.op("Greater", [total, b.numbers([], [0])]);
}

const matrix = (name: string, dims: Dims) => `${name} = Constant <value = float[${dims.join(",")}] {...}> ()`;

/** Nodes of a body that take `from` to `to`, of shape `s` both; pushes what they capture. */
function step(b: Builder, from: string, to: string, s: Dims, captures: string[]): string {
  const d = s.at(-1) as number;
  const [w, u, t, r] = ["w", "u", "t", "r"].map((n) => b.inner(n)) as [string, string, string, string];
  const fits = b.live.filter((v) => b.shape(v).join() === s.join());
  switch (b.of([0, 1, ...(fits.length > 0 ? [2] : []), 3, 4, 5])) {
    case 0: {
      const k = b.width();
      return `${matrix(w, [d, k])} ${u} = MatMul (${from}, ${w}) ${r} = Relu (${u}) ${matrix(t, [k, d])} ${to} = MatMul (${r}, ${t})`;
    }
    case 1: {
      const outer = b.constant([d, d]);
      captures.push(outer);
      return `${u} = MatMul (${from}, ${outer}) ${to} = Tanh (${u})`;
    }
    case 2: {
      const other = b.of(fits);
      captures.push(other);
      return `${u} = Sigmoid (${other}) ${to} = Add (${from}, ${u})`;
    }
    case 3:
      return `${w} = Constant <value = float[${d}] {...}> () ${to} = Mul (${from}, ${w})`;
    case 4: {
      // Apart and together again, by sizes computed inside.
      const at = b.inner("at");
      return `${u} = Shape (${from}) ${at} = Constant <value = int64[1] {-1}> () ${t} = Reshape (${from}, ${at}) ${r} = Neg (${t}) ${to} = Reshape (${r}, ${u})`;
    }
    default:
      return `${to} = ${b.of(["Relu", "Tanh", "Neg", "Softplus"])} (${from})`;
  }
}

const branch: Move = (b, v) => {
  const s = b.shape(v);
  const captures = [v];
  const body = (name: string) => {
    const out = b.inner(name);
    const middle = b.inner("m");
    const twice = b.chance(0.4);
    const first = step(b, v, twice ? middle : out, s, captures);
    const nodes = twice ? `${first} ${step(b, middle, out, s, captures)}` : first;
    return `${name}_branch = ${out}_body () => (${out}) { ${nodes} }`;
  };
  const attributes = `${body("then")}, ${body("else")}`;
  return [b.ops("If", [condition(b)], [s], attributes, captures)[0] as string];
};

/** Extents that a body's input declares: names of its own. */
const declared = (b: Builder, s: Dims) => `float[${s.map(() => b.inner("D")).join(",")}]`;

const loop: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length > 4) return undefined;
  const captures: string[] = [];
  const [i, go, on, state, raw, next, each] = ["i", "go", "on", "s", "raw", "s2", "o"].map((n) => b.inner(n)) as string[];
  const type = declared(b, s);
  const nodes = `${on} = Identity (${go}) ${step(b, state as string, raw as string, s, captures)} ${next} = Tanh (${raw}) ${each} = Neg (${next})`;
  const body = `body = ${b.inner("loop")} (int64 ${i}, bool ${go}, ${type} ${state}) => (bool ${on}, ${next}, ${each}) { ${nodes} }`;
  const trips = b.int(1, 3);
  const [last, all] = b.ops("Loop", [b.ints([trips], []), "", v], [s, undefined], body, captures) as [string, string];
  const sum = b.sized("ReduceSum", 13, all, "axes", [0], s, "keepdims = 0");
  return b.chance(0.5) ? [last, sum] : [b.op("Add", [last, sum], s)];
};

const scan: Move = (b, v) => {
  const s = b.shape(v);
  if (s.length < 3 || s.length > 4) return undefined;
  const captures: string[] = [];
  const one = s.filter((_, a) => a !== 1);
  const first = b.op("Gather", [v, b.ints([0], [])], one, "axis = 1");
  const initial = b.chance(0.5) ? first : b.op("Tanh", [first], one);
  const [state, slice, sum, raw, next] = ["s", "x", "sum", "raw", "s2"].map((n) => b.inner(n)) as string[];
  const d = one.at(-1) as number;
  const k = b.width();
  const [w, each] = [b.inner("w"), b.inner("o")];
  const last = b.chance(0.5) ? `${matrix(w, [d, k])} ${each} = MatMul (${next}, ${w})` : `${each} = Relu (${next})`;
  const made = last.includes("MatMul") ? replaced(s, s.length - 1, k) : s;
  const nodes = `${sum} = Add (${state}, ${slice}) ${step(b, sum as string, raw as string, one, captures)} ${next} = Tanh (${raw}) ${last}`;
  const body = `body = ${b.inner("scan")} (${declared(b, one)} ${state}, ${declared(b, one)} ${slice}) => (${declared(b, one)} ${next}, ${declared(b, one)} ${each}) { ${nodes} }`;
  const how = `num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [${b.int(0, 1)}], scan_output_axes = [1], scan_output_directions = [${b.int(0, 1)}]`;
  return b.ops("Scan", [initial, v], [one, made], `${how}, ${body}`, captures);
};

/** Moves and how often each should be tried. */
export const bodies: readonly (readonly [Move, number])[] = [
  [branch, 2],
  [loop, 2],
  [scan, 2],
];
