/**
 * Seeded random models for the fuzz test: chains and branches of ops that move, tie, split and sum channels, in the
 * spellings of different exporters and opsets. Small extents with many divisors, so that factors meet in odd ways.
 *
 * Everything is decided by the seed. The moves themselves are in random-ops.ts, random-blocks.ts, random-computed.ts,
 * random-bodies.ts, random-sizes.ts and random-architectures.ts.
 */
import { random } from "../../src/graph/random.js";
import { architectures } from "./random-architectures.js";
import { blocks } from "./random-blocks.js";
import { bodies } from "./random-bodies.js";
import { computed } from "./random-computed.js";
import { ops } from "./random-ops.js";
import { sizes } from "./random-sizes.js";
import type { Recipe, RecipeNode } from "./recipe.js";

/** Values larger than this are left alone: the point is structure, not size. */
const LARGEST = 4000;
/** Each move as often as its table says. */
const moves = [...ops, ...blocks, ...computed, ...bodies, ...sizes, ...architectures].flatMap(
  ([move, times]) => new Array(times).fill(move) as (typeof move)[],
);
const OPSETS = [11, 13, 17, 18, 21, 23] as const;

export function randomRecipe(seed: number): Recipe {
  const b = new Builder(seed);
  b.live.push(
    b.input([
      2,
      b.of([3, 4, 6]),
      ...b.of([
        [4, 4],
        [6, 6],
        [8, 8],
        [4, 6],
      ]),
    ]),
  );
  if (b.chance(0.4)) b.live.push(b.input([2, b.of([4, 6, 9]), b.of([4, 6, 8, 12])]));
  for (const v of [...b.live]) b.live.push(b.produce(v));
  const steps = b.int(3, 14);
  for (let i = 0, tries = 0; i < steps && tries < 80; tries++) {
    const recent = b.live.slice(-4);
    const v = b.chance(0.75) ? b.of(recent) : b.of(b.live);
    const made = b.of(moves)(b, v);
    if (!made || made.some((o) => b.size(o) > LARGEST)) continue;
    b.live.push(...made);
    i++;
  }
  return b.finish();
}

/** Makes a recipe node by node; every choice comes from one stream. */
export class Builder {
  readonly opset: number;
  readonly dynamicBatch: boolean;
  readonly dynamicSpace: boolean;
  /** Values that moves may read. */
  readonly live: string[] = [];
  readonly #next: () => number;
  readonly #inputs: string[] = [];
  readonly #nodes: RecipeNode[] = [];
  readonly #constants = new Map<string, readonly [string, string]>();
  readonly #shapes = new Map<string, readonly number[]>();
  #count = 0;

  constructor(seed: number) {
    this.#next = random(`graph ${seed}`);
    this.opset = this.of(OPSETS);
    this.dynamicBatch = this.chance(0.5);
    this.dynamicSpace = this.chance(0.25);
  }

  // ---- chance ----
  chance(p: number): boolean {
    return this.#next() < p;
  }
  /** low to high, both included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.#next() * (high - low + 1));
  }
  of<T>(items: readonly T[]): T {
    return items[Math.floor(this.#next() * items.length)] as T;
  }
  permutation(n: number): number[] {
    const p = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.int(0, i);
      [p[i], p[j]] = [p[j] as number, p[i] as number];
    }
    return p;
  }
  /** A divisor of n, neither 1 nor n; undefined for primes. */
  divisor(n: number): number | undefined {
    const all = Array.from({ length: n }, (_, i) => i).filter((d) => d > 1 && n % d === 0);
    return all.length > 0 ? this.of(all) : undefined;
  }
  width(): number {
    return this.of([1, 2, 3, 4, 4, 5, 6, 6, 6, 8, 8, 8, 9, 10, 12, 12, 12, 15, 16]);
  }

  // ---- values ----
  shape(v: string): readonly number[] {
    const s = this.#shapes.get(v);
    if (!s) throw new Error(`The generator has no shape for "${v}".`);
    return s;
  }
  size(v: string): number {
    return this.shape(v).reduce((a, d) => a * d, 1);
  }
  input(shape: readonly number[]): string {
    const name = `x${this.#inputs.length}`;
    this.#inputs.push(name);
    this.#shapes.set(name, shape);
    return name;
  }
  /** Float constant; sometimes one that is already there, as exporters share them. */
  constant(dims: readonly number[]): string {
    const type = `float[${dims.join(",")}]`;
    const alike = [...this.#constants].filter(([, [t, data]]) => t === type && data === "{...}").map(([name]) => name);
    if (alike.length > 0 && this.chance(dims.length <= 1 ? 0.3 : 0.12)) return this.of(alike);
    return this.#declare(type, "{...}", "w");
  }
  numbers(dims: readonly number[], values: readonly number[]): string {
    return this.#declare(`float[${dims.join(",")}]`, `{${values.map((x) => (Number.isInteger(x) ? `${x}.0` : `${x}`)).join(", ")}}`, "k");
  }
  bytes(dims: readonly number[]): string {
    return this.#declare(`int8[${dims.join(",")}]`, "{...}", "q");
  }
  halves(dims: readonly number[]): string {
    return this.#declare(`float16[${dims.join(",")}]`, "{...}", "h");
  }
  booleans(dims: readonly number[]): string {
    return this.#declare(`bool[${dims.join(",")}]`, "{...}", "m");
  }
  ints(values: readonly number[], dims: readonly number[] = [values.length]): string {
    return this.#declare(`int64${dims.length > 0 ? `[${dims.join(",")}]` : ""}`, `{${values.join(", ")}}`, "i");
  }
  #declare(type: string, data: string, prefix: string): string {
    const name = `${prefix}${this.#count++}`;
    this.#constants.set(name, [type.replace("[]", ""), data]);
    return name;
  }

  // ---- nodes ----
  /** A node with one output of `shape`; without a shape the output is shape arithmetic or a weight. */
  op(op: string, inputs: readonly string[], shape?: readonly number[], attributes = ""): string {
    return this.ops(op, inputs, [shape], attributes)[0] as string;
  }
  ops(
    op: string,
    inputs: readonly string[],
    shapes: readonly (readonly number[] | undefined)[],
    attributes = "",
    captures: readonly string[] = [],
  ): string[] {
    const outputs = shapes.map(() => `v${this.#count++}`);
    outputs.forEach((o, i) => {
      const s = shapes[i];
      if (s) this.#shapes.set(o, s);
    });
    this.#nodes.push({ op, inputs, outputs, attributes, captures });
    return outputs;
  }

  /** A name of its own for something inside a body. */
  inner(base: string): string {
    return `${base}_${this.#count++}`;
  }
  get firstInput(): string {
    return this.#inputs[0] as string;
  }

  /** A size operand: an attribute before `since`, an input after. */
  sized(op: string, since: number, v: string, name: string, values: readonly number[], shape: readonly number[], more = ""): string {
    if (this.opset < since) return this.op(op, [v], shape, [`${name} = [${values.join(", ")}]`, more].filter((t) => t).join(", "));
    return this.op(op, [v, this.ints(values)], shape, more);
  }

  /** Reshape to `target`, in one of the ways exporters write it. */
  reshape(v: string, target: readonly number[]): string {
    const from = this.shape(v);
    const way = this.int(0, 3);
    const copies = target.map((d, a) => a < from.length && d === from[a]);
    if (way === 0) return this.op("Reshape", [v, this.arithmetic(v, target)], target);
    const literal = target.map((d, a) => (copies[a] && (a === 0 || this.chance(0.3)) ? 0 : d));
    if (way === 1 || (this.dynamicBatch && literal[0] !== 0)) {
      const open = this.dynamicBatch && literal[0] !== 0 ? 0 : this.int(0, target.length - 1);
      literal[open] = -1;
    }
    if (!this.dynamicBatch && literal[0] === 0 && this.chance(0.5)) literal[0] = target[0] as number;
    return this.op("Reshape", [v, this.ints(literal)], target);
  }

  /** Extent `axis` of `v` as a vector of one element, computed. */
  extent(v: string, axis: number): string {
    const shape = this.op("Shape", [v]);
    if (this.chance(0.5)) return this.op("Slice", [shape, this.ints([axis]), this.ints([axis + 1]), this.ints([0])]);
    const scalar = this.op("Gather", [shape, this.ints([axis], [])]);
    return this.opset < 13 ? this.op("Unsqueeze", [scalar], undefined, "axes = [0]") : this.op("Unsqueeze", [scalar, this.ints([0])]);
  }

  /** The extents `target` computed from the shape of `v`, as far as they are extents of it, products or quotients. */
  arithmetic(v: string, target: readonly number[]): string {
    const from = this.shape(v);
    const shape = this.op("Shape", [v]);
    const extent = (a: number) => this.op("Gather", [shape, this.ints([a])]);
    const pieces = target.map((d, k) => {
      const same = from.flatMap((f, a) => (f === d && (a === 0) === (k === 0) ? [a] : []));
      const pair = from.findIndex((f, a) => a > 0 && a + 1 < from.length && f * (from[a + 1] as number) === d);
      const whole = from.findIndex((f, a) => a > 0 && f > d && f % d === 0 && d > 1);
      if (k === 0 && same.length > 0) return extent(0);
      if (same.length > 0 && this.chance(0.5)) return extent(this.of(same));
      if (pair > 0 && this.chance(0.5)) return this.op("Mul", [extent(pair), extent(pair + 1)]);
      if (whole > 0 && this.chance(0.5)) return this.op("Div", [extent(whole), this.ints([(from[whole] as number) / d])]);
      return this.ints([d]);
    });
    return this.op("Concat", pieces, undefined, "axis = 0");
  }

  /** One Conv, MatMul or Gemm that makes free channels from `v`. */
  produce(v: string): string {
    const s = this.shape(v);
    const n = this.width();
    if (s.length === 4)
      return this.op(
        "Conv",
        [v, this.constant([n, s[1] as number, 1, 1]), ...(this.chance(0.5) ? [this.constant([n])] : [])],
        [s[0] as number, n, ...s.slice(2)],
      );
    return this.op("MatMul", [v, this.constant([s.at(-1) as number, n])], [...s.slice(0, -1), n]);
  }

  /** Sums channels of every value nobody reads into outputs, in one of several ways, so that they are free to leave. */
  finish(): Recipe {
    const read = new Set(this.#nodes.flatMap((n) => [...n.inputs, ...(n.captures ?? [])]));
    const leaves = [...new Set(this.live)].filter((v) => !read.has(v));
    // Some values leave as they are: what they are made of must stay whole.
    const taps = this.chance(0.15) ? [this.of(this.live)].filter((v) => !this.#inputs.includes(v)) : [];
    const outputs = [...new Set([...leaves.map((v) => this.#head(v)), ...taps])];
    return {
      opset: this.opset,
      dynamicBatch: this.dynamicBatch,
      dynamicSpace: this.dynamicSpace,
      inputs: this.#inputs,
      outputs,
      nodes: this.#nodes,
      constants: this.#constants,
      shapes: this.#shapes,
    };
  }
  #head(v: string): string {
    const s = this.shape(v);
    const [n, ...rest] = s as [number, ...number[]];
    const all = rest.reduce((a, d) => a * d, 1);
    if (s.length === 4 && this.chance(0.3)) return this.op("Conv", [v, this.constant([3, s[1] as number, 1, 1])], [n, 3, ...s.slice(2)]);
    if (s.length === 2 || this.chance(0.6)) {
      const flat = s.length === 2 ? v : this.chance(0.5) ? this.op("Flatten", [v], [n, all], "axis = 1") : this.reshape(v, [n, all]);
      return this.op("Gemm", [flat, this.constant([3, all]), this.constant([3])], [n, 3], "transB = 1");
    }
    const axis = this.int(1, s.length - 1);
    const perm = s.map((_, a) => a).filter((a) => a !== axis);
    perm.push(axis);
    const t =
      axis === s.length - 1
        ? v
        : this.op(
            "Transpose",
            [v],
            perm.map((a) => s[a] as number),
            `perm = [${perm.join(", ")}]`,
          );
    return this.op("MatMul", [t, this.constant([s[axis] as number, 3])], [...perm.slice(0, -1).map((a) => s[a] as number), 3]);
  }
}
