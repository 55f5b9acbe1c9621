/** The groups of a model as text for golden files: every slice that leaves with a channel, and what holds the rest. */
import type { ConstantSlot, Coupling, Group } from "../../src/graph/coupling/groups.js";
import { type Cell, findPools } from "../../src/score/pools.js";

/**
 *   free channels: 8
 *   conv1.weight:0, 8 channels
 *     producer conv1.weight:0  0 1 2 3 4 5 6 7
 *     consumer fc.weight:1     0,1 2,3 …
 *
 * Positions are those of each channel along the axis, in channel order; "·" where a channel has none.
 */
export function groupsText(coupling: Coupling): string {
  const { pools, declined } = findPools(coupling);
  const free = pools.reduce((n, p) => n + p.cells.reduce((m, c) => m + c.choices.length, 0), 0);
  const lines = [`free channels: ${free}`];
  for (const group of coupling.groups) {
    const channels = group.choices.length;
    lines.push("", `${group.name}, ${channels} channel${channels === 1 ? "" : "s"}`);
    for (const slot of group.slots) lines.push(`  ${slot.role} ${where(slot)}  ${positions(group, slot)}`);
  }
  const balanced = pools.filter((p) => p.cells.length > 1);
  if (balanced.length > 0) lines.push("");
  for (const p of balanced) lines.push(`balanced: ${p.groups.map((g) => g.name).join(", ")}: ${p.cells.map(movesText).join(" + ")}`);
  if (declined.length > 0) lines.push("");
  for (const d of declined) lines.push(`declined: ${d.group.name}: ${d.why}`);
  return `${lines.join("\n")}\n`;
}

/** "1 of 4": so many of so many leave in each move; where moves differ, "1,0,1 of 2". */
export function movesText({ taken, choices }: Cell): string {
  const each = taken.slice(1).map((n, m) => n - (taken[m] as number));
  return `${new Set(each).size === 1 ? each[0] : each.join(",")} of ${choices.length}`;
}

function where(slot: ConstantSlot): string {
  const rows = slot.rows ? `, rows ${slot.rows[0]} to ${slot.rows[1] - 1}` : "";
  return `${slot.value.name}:${slot.axis}${rows}`;
}

function positions(group: Group, slot: ConstantSlot): string {
  const each = group.choices.map((_, k) => slot.positions(k));
  const runs = each.map((p) => runsOf(p));
  return runs.join(" ");
}

/** Ascending numbers, runs as "a-b". */
function runsOf(numbers: readonly number[]): string {
  if (numbers.length === 0) return "·";
  const out: string[] = [];
  for (let i = 0; i < numbers.length; ) {
    let j = i;
    while (j + 1 < numbers.length && numbers[j + 1] === (numbers[j] as number) + 1) j++;
    out.push(j - i < 2 ? numbers.slice(i, j + 1).join(",") : `${numbers[i]}-${numbers[j]}`);
    i = j + 1;
  }
  return out.join(",");
}
