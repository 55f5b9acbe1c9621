/**
 * Settling: what a selection becomes before it is measured and planned. No axis may lose all its indices, and the
 * channel axes of convolutions that join several pools (a residual stream padded or concatenated from parts) must have
 * an allowed width as a whole, which no single pool can see to. Channels are only ever given back, best first.
 */
import type { Axis } from "../graph/coupling/axis.js";
import { ALWAYS, Kept } from "../graph/coupling/choices.js";
import type { Coupling, Group } from "../graph/coupling/groups.js";
import { everyNode } from "../graph/graph.js";
import type { Ranking } from "./criterion.js";
import { acrossGroups, type StateOptions } from "./moves.js";
import { emptiedAxes } from "./plan.js";
import type { Cell, Pool } from "./pools.js";
import { blockOfConvs, isAllowed } from "./widths.js";

/** A channel axis with choices of several pools, and its extent: indices without a choice always stay. */
interface JoinedAxis {
  readonly choices: readonly number[];
  readonly size: number;
}

export class Settling {
  readonly #coupling: Coupling;
  readonly #pools: readonly Pool[];
  readonly #worth = new Map<number, number>();
  readonly #joined: readonly JoinedAxis[];
  readonly #block: number;

  constructor(coupling: Coupling, pools: readonly Pool[], scores: ReadonlyMap<Group, Ranking>, options: StateOptions) {
    this.#coupling = coupling;
    this.#pools = pools;
    for (const [group, ranking] of scores) {
      const worth = acrossGroups(ranking, options.comparable);
      group.choices.forEach((c, k) => {
        this.#worth.set(c, worth[k] as number);
      });
    }
    this.#block = blockOfConvs(options.align);
    this.#joined = this.#block > 1 ? joinedAxes(coupling, pools) : [];
  }

  /** `picked`, less what must stay. */
  settle(picked: ReadonlySet<number>): Set<number> {
    const removed = new Set(picked);
    this.#fillEmptied(removed);
    this.#fillWidths(removed);
    return removed;
  }

  /** Gives back an index of any axis that would lose all: only cut-off runs of an axis, and switched rows, can. */
  #fillEmptied(removed: Set<number>): void {
    // A channel given back stays, so that every round settles one more.
    const settled = new Set<number>();
    for (;;) {
      const kept = new Kept(this.#coupling.typing.system, this.#coupling.choices, removed);
      const empty = emptiedAxes(this.#coupling, kept)[0];
      if (!empty) return;
      for (const back of this.#leastGone(empty, removed)) {
        removed.delete(back);
        settled.add(back);
        this.#keepBalance(back, removed, settled);
      }
    }
  }

  /** What one index of an emptied axis lacks: that of the index that lacks least, and is worth most. */
  #leastGone(axis: Axis, removed: ReadonlySet<number>): readonly number[] {
    const layers = this.#coupling.choices.layers(axis);
    const worth = (choices: readonly number[]) => choices.reduce((n, c) => n + this.#worthOf(c), 0);
    return Array.from({ length: axis.size as number }, (_, p) => layers.map((l) => l[p] as number).filter((c) => removed.has(c))).reduce(
      (a, b) => (b.length < a.length || (b.length === a.length && worth(b) > worth(a)) ? b : a),
    );
  }

  /** Where parts must keep equally many, the next channel of the same part leaves for one that came back; where none can, the pool stays whole. */
  #keepBalance(back: number, removed: Set<number>, settled: Set<number>): void {
    const pool = this.#pools.find((p) => p.cells.length > 1 && p.cells.some((c) => c.choices.includes(back)));
    if (!pool) return;
    const cell = pool.cells.find((c) => c.choices.includes(back)) as Cell;
    const others = cell.choices.filter((c) => !removed.has(c) && !settled.has(c));
    if (others.length > 0) removed.add(others.reduce((a, b) => (this.#worthOf(b) < this.#worthOf(a) ? b : a)));
    else {
      for (const c of pool.cells.flatMap((x) => x.choices)) {
        removed.delete(c);
        settled.add(c);
      }
    }
  }

  /** Widens joined axes to the next allowed width. Widening one may widen another: repeated until nothing changes. */
  #fillWidths(removed: Set<number>): void {
    for (let changed = true; changed; ) {
      changed = false;
      for (const { choices, size } of this.#joined) {
        const gone = choices.filter((c) => removed.has(c)).sort((a, b) => this.#worthOf(b) - this.#worthOf(a) || a - b);
        const width = size - gone.length;
        if (isAllowed(width, size, this.#block)) continue;
        let wider = width + 1;
        while (!isAllowed(wider, size, this.#block)) wider++;
        for (const c of gone.slice(0, wider - width)) removed.delete(c);
        changed = true;
      }
    }
  }

  #worthOf(choice: number): number {
    return this.#worth.get(choice) ?? 0;
  }
}

/** Channel axes at convolutions that hold choices of several pools, each choice once. Pools under a balance are left to it. */
function joinedAxes(coupling: Coupling, pools: readonly Pool[]): JoinedAxis[] {
  const poolOf = new Map<number, Pool>();
  for (const p of pools) for (const cell of p.cells) for (const c of cell.choices) poolOf.set(c, p);
  const { typing, choices } = coupling;
  const out = new Map<Axis, JoinedAxis>();
  for (const node of everyNode(typing.model.graph)) {
    if (!node.opType.includes("Conv")) continue;
    const output = node.outputs[0];
    for (const axes of [typing.axesOfInput(node, 0), output && typing.axesOf(output)]) {
      const axis = axes?.[1];
      if (!axis || out.has(typing.system.find(axis)) || typing.system.reason(axis) || typeof axis.size !== "number") continue;
      const layers = choices.layers(axis);
      const here = layers.length === 1 ? [...(layers[0] as Int32Array)].filter((c) => c !== ALWAYS) : [];
      const joins = new Set(here.map((c) => poolOf.get(c)));
      const isFree = new Set(here).size === here.length && ![...joins].some((p) => !p || p.cells.length > 1);
      if (joins.size > 1 && isFree) out.set(typing.system.find(axis), { choices: here, size: axis.size });
    }
  }
  return [...out.values()];
}
