/** Proves groups one at a time: a channel is taken out, the result must equal the oracle, and nothing may leave in vain. */
import { ConfigError } from "../errors.js";
import { Kept } from "../graph/coupling/choices.js";
import type { Coupling } from "../graph/coupling/groups.js";
import { oracleOf } from "../graph/coupling/oracle.js";
import { removeSlices } from "../graph/coupling/slice.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { findPools, type Pool } from "../score/pools.js";
import { closest } from "../suggest.js";
import { type CheckName, type CheckResult, checkRemoval } from "./checks.js";
import { checkMinimality, type Minimality, moveOf } from "./minimality.js";

export interface GroupCheck {
  /** Groups that leave together because they are balanced; mostly one. */
  readonly groups: readonly string[];
  /** Channels that were taken out: the least that balance allows. */
  readonly channels: number;
  readonly ok: boolean;
  readonly checks: readonly CheckResult[];
  readonly minimality: Minimality;
}

export interface GroupCheckOptions {
  /** Name of a group; default: all. */
  readonly group?: string;
  readonly checks?: readonly CheckName[];
  /** Sets of slots tried per group when minimality is checked. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Enough for a group of 28 slots in every one and two; a set costs an inference, rarely a run. */
const SETS = 400;

/**
 * Checks each group that can lose a channel: one move of its pool against the oracle, poisoned and zeroed, and minimality.
 * @throws ConfigError GROUP_UNKNOWN when no such group can lose a channel.
 */
export async function checkGroups(
  runner: Runner,
  coupling: Coupling,
  feeds: readonly Feeds[],
  options: GroupCheckOptions = {},
): Promise<GroupCheck[]> {
  const pools = poolsOf(coupling, options.group);
  const out: GroupCheck[] = [];
  for (const [i, pool] of pools.entries()) {
    options.signal?.throwIfAborted();
    options.onProgress?.(i, pools.length);
    const removed = moveOf(coupling, pool);
    if (!removed) continue;
    const kept = new Kept(coupling.typing.system, coupling.choices, removed);
    const removal = { source: coupling.typing.model, coupling, kept, oracle: () => oracleOf(coupling.typing, kept) };
    const candidate = removeSlices(coupling.typing, kept);
    const names = { original: "the original", pruned: `one channel less of ${pool.groups.map((g) => g.name).join(", ")}` };
    const checks: CheckResult[] = [];
    for (const check of options.checks ?? (["oracle", "poison", "zero"] as const))
      checks.push(await checkRemoval(runner, check, { removal, candidate, feeds, names }));
    const minimality = await checkMinimality(runner, coupling, pool, feeds[0] as Feeds, options.limit ?? SETS);
    const ok = checks.every((c) => c.equality?.ok !== false) && minimality.spare.length === 0;
    out.push({ groups: pool.groups.map((g) => g.name), channels: removed.size, ok, checks, minimality });
  }
  options.onProgress?.(pools.length, pools.length);
  return out;
}

function poolsOf(coupling: Coupling, group: string | undefined): readonly Pool[] {
  const { pools, declined } = findPools(coupling);
  const movable = pools.filter((p) => p.moves > 1);
  if (group === undefined) return movable;
  const found = movable.filter((p) => p.groups.some((g) => g.name === group));
  if (found.length > 0) return found;
  const why = declined.find((d) => d.group.name === group)?.why;
  const near = closest(
    group,
    coupling.groups.map((g) => g.name),
  );
  throw new ConfigError("GROUP_UNKNOWN", why ? `Group "${group}" loses no channel: ${why}.` : `No group "${group}" can lose a channel.`, {
    hint: near && near !== group ? `Did you mean "${near}"?` : "`onnx-prune inspect` lists the groups.",
  });
}
