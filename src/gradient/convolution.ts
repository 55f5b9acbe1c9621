/** A convolution with weights that are values of the graph, and the way back through it. */
import { int, ints } from "../graph/attribute.js";
import type { Node, Value } from "../graph/graph.js";
import { beginsOf, groupsOf, readWindow } from "../graph/ops/window.js";
import { unravel } from "../graph/rearrange.js";
import type { Attributes, Builder } from "./builder.js";

/** A convolution for known extents: pads are stated, whatever the node said of them. */
export interface Convolution {
  readonly groups: number;
  /** Of the weight: [outputs, inputs of a group, …kernel]. */
  readonly dims: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly begins: readonly number[];
  readonly ends: readonly number[];
  /** Extents of what it reads and gives. */
  readonly inside: readonly number[];
  readonly outside: readonly number[];
}

/** `node` with a weight of `dims` that reads maps of `inside`, and gives maps of `outside`. */
export function convolutionOf(node: Node, dims: readonly number[], inside: readonly number[], outside: readonly number[]): Convolution {
  const kernel = dims.slice(2);
  const { strides, dilations } = readWindow(node, kernel);
  const begins = beginsOf(node, kernel, inside, outside);
  const reach = kernel.map((k, a) => ((outside[a] as number) - 1) * (strides[a] as number) + (k - 1) * (dilations[a] as number) + 1);
  const ends = reach.map((r, a) => Math.max(0, r - (inside[a] as number) - (begins[a] as number)));
  return { groups: groupsOf(node), dims, strides, dilations, begins, ends, inside, outside };
}

/** W * x + bias */
export function convolved(b: Builder, c: Convolution, x: Value, weight: Value, bias?: Value): Value {
  return b.node("Conv", [x, weight, bias], { ...attributesOf(c), pads: ints([...c.begins, ...c.ends]) });
}

const attributesOf = ({ strides, dilations, groups }: Convolution): Attributes => ({
  strides: ints(strides),
  dilations: ints(dilations),
  group: int(groups),
});

/** What `g`, a slope at the outputs, is at the inputs. */
export function backToInput(b: Builder, c: Convolution, weight: Value, g: Value): Value {
  const { groups, dims, strides, dilations, begins, ends, inside } = c;
  const kernel = dims.slice(2);
  const reach = kernel.map((k, a) => (k - 1) * (dilations[a] as number));
  const isFlippable = groups === 1 && strides.every((s) => s === 1) && reach.every((r, a) => r >= (begins[a] as number));
  if (isFlippable) {
    // A convolution of stride 1 back is one forth, with the kernel turned round: faster than ConvTranspose.
    const spatial = kernel.map((_, a) => a + 2);
    const all = (n: number) => b.ints(kernel.map(() => n));
    const turned = b.node("Slice", [weight, all(-1), all(-(2 ** 31)), b.ints(spatial), all(-1)]);
    const swapped = b.node("Transpose", [turned], { perm: ints([1, 0, ...spatial]) });
    const before = reach.map((r, a) => r - (begins[a] as number));
    const after = reach.map((r, a) => (inside[a] as number) + r - (c.outside[a] as number) - (before[a] as number));
    return b.node("Conv", [g, swapped], { dilations: ints(dilations), pads: ints([...before, ...after]) });
  }
  // Rows that no window reaches get 0 each.
  const over = kernel.map((_, a) => {
    const room = (inside[a] as number) + (begins[a] as number) + (ends[a] as number);
    return room - ((c.outside[a] as number) - 1) * (strides[a] as number) - (reach[a] as number) - 1;
  });
  const attributes = { ...attributesOf(c), pads: ints([...begins, ...ends]) };
  const padded = over.some((o, a) => o >= Math.max(strides[a] as number, dilations[a] as number));
  if (!padded) return b.node("ConvTranspose", [g, weight], { ...attributes, output_padding: ints(over) });
  const short = b.node("ConvTranspose", [g, weight], attributes);
  return b.node("Pad", [short, b.ints([...zeros(2), ...zeros(kernel.length), ...zeros(2), ...over])]);
}

const zeros = (n: number): number[] => new Array<number>(n).fill(0);

/** What `g`, a slope at the outputs, is at the weight: tap by tap, a product over all samples and positions. [outputs, inputs of a group, …kernel] */
export function backToWeight(b: Builder, c: Convolution, x: Value, g: Value): Value {
  const { groups: G, dims, strides, dilations, begins, ends, outside } = c;
  const [M, C, ...kernel] = dims as [number, number, ...number[]];
  const spatial = kernel.map((_, a) => a + 2);
  const padded = [...begins, ...ends].some((p) => p > 0) ? b.node("Pad", [x, b.ints([0, 0, ...begins, 0, 0, ...ends])]) : x;
  const channelsFirst = { perm: ints([1, 0, ...spatial]) };
  // One group: [inputs, samples · positions] × [samples · positions, outputs]. Several: sample by sample, and summed.
  const source = G === 1 ? b.node("Transpose", [padded], channelsFirst) : padded;
  const slopes =
    G === 1
      ? b.reshape(b.node("Transpose", [g], { perm: ints([0, ...spatial, 1]) }), [-1, M])
      : b.node("Transpose", [b.reshape(g, [0, G, M / G, -1])], { perm: ints([0, 1, 3, 2]) });
  const taps = kernel.reduce((n, k) => n * k, 1);
  const parts = Array.from({ length: taps }, (_, t) => {
    const from = unravel(t, kernel).map((k, a) => k * (dilations[a] as number));
    const to = from.map((f, a) => f + ((outside[a] as number) - 1) * (strides[a] as number) + 1);
    const isWhole = taps === 1 && padded === x && to.every((n, a) => n === c.inside[a]) && strides.every((s) => s === 1);
    const seen = isWhole ? source : b.node("Slice", [source, b.ints(from), b.ints(to), b.ints(spatial), b.ints(strides)]);
    if (G === 1) return b.node("MatMul", [b.reshape(seen, [C, -1]), slopes]);
    return b.total(b.node("MatMul", [b.reshape(seen, [0, G, C, -1]), slopes]), [0]);
  });
  const all = parts.length === 1 ? (parts[0] as Value) : b.node("Concat", parts, { axis: int(0) });
  // [taps, groups, inputs, outputs of a group]
  const apart = b.reshape(all, [taps, G, C, M / G]);
  return b.reshape(b.node("Transpose", [apart], { perm: ints([1, 3, 2, 0]) }), dims);
}

/** The same at the bias. */
export function backToBias(b: Builder, { dims }: Convolution, g: Value): Value {
  return b.total(g, [0, ...dims.slice(2).map((_, a) => a + 2)]);
}
