/** Random residual networks, whose blocks are known by construction: all are found, and any of them can leave. */
import { describe, expect, it } from "vitest";
import { type Block, findBlocks } from "../../src/graph/blocks/find.js";
import { blockOracle } from "../../src/graph/blocks/oracle.js";
import { removeBlocks } from "../../src/graph/blocks/remove.js";
import { random } from "../../src/graph/random.js";
import { checkPassed } from "../../src/passes/run-pass.js";
import { modelOf } from "../support/build.js";
import { relative } from "../support/oracle.js";
import { run } from "../support/run.js";

const SEEDS = 60;
/** [N, 4, 3, 3] everywhere, so that only who reads what decides. */
const TYPE = "float[2, 4, 3, 3]";

interface Made {
  readonly text: string;
  /** Sums of an entry and a branch of which nothing is read elsewhere. */
  readonly blocks: readonly string[];
}

class Generator {
  readonly #uniform: () => number;
  readonly #lines: string[] = [];
  readonly #weights: string[] = [];
  /** Values on the way of the data, with the branches they were made in. */
  readonly #made: { readonly name: string; readonly inside: readonly number[] }[] = [];
  readonly #open: number[] = [];
  readonly #sums = new Map<number, string>();
  readonly #leaking = new Set<number>();
  #count = 0;

  constructor(seed: number) {
    this.#uniform = random(`residual ${seed}`);
  }

  make(): Made {
    let at = this.#node("Tanh", ["x"]);
    const length = 2 + this.#below(3);
    for (let i = 0; i < length; i++) at = this.#step(at, 0);
    this.#lines.push(`y = Neg (${at})`);
    const blocks = [...this.#sums].filter(([branch]) => !this.#leaking.has(branch)).map(([, sum]) => sum);
    return { text: `g (${TYPE} x) => (${TYPE} y) <${this.#weights.join(", ")}> {\n${this.#lines.join("\n")}\n}`, blocks };
  }

  #below(n: number): number {
    return Math.floor(this.#uniform() * n);
  }

  #node(op: string, inputs: readonly string[], attributes = ""): string {
    const name = `v${this.#count++}`;
    this.#lines.push(`${name} = ${op} ${attributes} (${inputs.join(", ")})`);
    this.#made.push({ name, inside: [...this.#open] });
    return name;
  }

  #conv(at: string): string {
    const name = `w${this.#count++}`;
    this.#weights.push(`float[4, 4, 3, 3] ${name} = {...}`);
    // Tanh keeps numbers of one size however deep the graph is.
    return this.#node("Tanh", [this.#node("Conv", [at, name], "<pads = [1, 1, 1, 1]>")]);
  }

  #step(at: string, depth: number): string {
    const kind = this.#below(8);
    if (kind < 4 && depth < 3) return this.#residual(at, depth);
    if (kind === 4) return this.#node("Relu", [at]);
    if (kind === 5) return this.#node("Mul", [at, this.#node("Sigmoid", [this.#node("GlobalAveragePool", [at])])]);
    if (kind === 6) return this.#elsewhere(at);
    return this.#conv(at);
  }

  /** Reads a value made before, wherever that was; branches it leaves by this are no blocks. */
  #elsewhere(at: string): string {
    const from = this.#made[this.#below(this.#made.length)] as { readonly name: string; readonly inside: readonly number[] };
    for (const branch of from.inside) if (!this.#open.includes(branch)) this.#leaking.add(branch);
    return this.#node("Mul", [at, from.name]);
  }

  #residual(entry: string, depth: number): string {
    const branch = this.#count++;
    this.#open.push(branch);
    let at = this.#conv(entry);
    for (let i = this.#below(3); i > 0; i--) at = this.#step(at, depth + 1);
    this.#open.pop();
    const skip = this.#below(4) === 0 ? this.#node("Identity", [entry]) : entry;
    const sum = this.#node(this.#below(4) === 0 ? "Sum" : "Add", this.#below(2) === 0 ? [skip, at] : [at, skip]);
    this.#sums.set(branch, sum);
    return this.#below(2) === 0 ? this.#node("Relu", [sum]) : sum;
  }
}

describe("random residual networks", () => {
  const total = { blocks: 0, leaking: 0, nested: 0, moved: 0 };

  it.each(Array.from({ length: SEEDS }, (_, seed) => seed))(
    "seed %i: blocks are those made as such, and leave as the oracle says",
    async (seed) => {
      const { text, blocks: expected } = new Generator(seed).make();
      const model = modelOf(text);
      const { blocks, declined } = findBlocks(model);
      expect(new Set(blocks.map((b) => b.name)), text).toEqual(new Set(expected));
      const uniform = random(`subsets ${seed}`);
      for (let k = 0; k < 4; k++) {
        const chosen: Block[] = k === 0 ? [...blocks] : blocks.filter(() => uniform() < 0.5);
        const without = removeBlocks(model, chosen);
        checkPassed("remove-blocks", model, without);
        const got = await run(without);
        expect(relative(got, await run(blockOracle(model, chosen))), `${chosen.map((b) => b.name)} of\n${text}`).toBe(0);
        if (relative(got, await run(model)) > 1e-6) total.moved++;
      }
      total.blocks += blocks.length;
      total.nested += blocks.filter((b) => b.within !== undefined).length;
      total.leaking += declined.filter((d) => d.why.includes("read outside")).length;
    },
  );

  it("are worth looking at: many blocks, nested ones and ones that leak", () => {
    expect(total.blocks).toBeGreaterThan(SEEDS);
    expect(total.nested).toBeGreaterThan(10);
    expect(total.leaking).toBeGreaterThan(5);
    expect(total.moved).toBeGreaterThan(SEEDS);
  });
});
