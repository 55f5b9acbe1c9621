/** What a test sees of one graph: its groups, and whether random removals compute what three oracles compute. */
import { OnnxPruneError } from "../../src/errors.js";
import { Kept } from "../../src/graph/coupling/choices.js";
import { type Coupling, findGroups } from "../../src/graph/coupling/groups.js";
import { oracleOf } from "../../src/graph/coupling/oracle.js";
import type { Model } from "../../src/graph/graph.js";
import { maskedOf } from "../../src/verify/masked.js";
import { poison } from "../../src/verify/poison.js";
import { groupsText } from "./groups-text.js";
import { prove, randomRemoval, relative } from "./oracle.js";
import { run } from "./run.js";

/** Removals that are tried of each graph: seed and ratio. */
const REMOVALS = [
  [1, 0.5],
  [2, 0.5],
  [3, 0.75],
  [4, undefined],
] as const;

/** float32 sums of the same terms in another order. */
const TOLERANCE = 1e-5;

export interface Finding {
  readonly kind: "groups" | "crash" | "wrong" | "masked" | "poison";
  readonly why: string;
  /** Node that an error names, and the functions it came from, innermost first. */
  readonly node?: string;
  readonly frames?: readonly string[];
  /** Operator that ONNX Runtime stopped at. */
  readonly op?: string;
  /** The removal at which it showed. */
  readonly removed?: readonly number[];
}

/**
 * Everything that is wrong with `model`: nothing when its groups are `golden` and each removal is proven. With `quick`
 * two removals are tried, until one shows something.
 */
export async function examine(model: Model, golden: string, quick = false): Promise<Finding[]> {
  const found: Finding[] = [];
  let coupling: Coupling;
  try {
    coupling = findGroups(model);
    const text = groupsText(coupling);
    if (text !== golden) found.push({ kind: "groups", why: firstChange(golden, text) });
  } catch (error) {
    return [crash(error)];
  }
  for (const [seed, ratio] of quick ? REMOVALS.filter((_, i) => i % 2 === 1) : REMOVALS) {
    if (quick && found.some((f) => f.removed)) break;
    let removed: Set<number> | undefined;
    try {
      removed = randomRemoval(coupling, seed, ratio);
      if (removed.size > 0) found.push(...(await proven(coupling, removed, seed)).map((f) => ({ ...f, removed: [...(removed ?? [])] })));
    } catch (error) {
      found.push({ ...crash(error), ...(removed ? { removed: [...removed] } : {}) });
    }
  }
  return found;
}

/** The sliced graph against the oracle, the oracle against the masked graph, and the oracle against itself with removed parameters huge. */
async function proven(coupling: Coupling, removed: ReadonlySet<number>, seed: number): Promise<Finding[]> {
  const found: Finding[] = [];
  const options = { seed, batch: 3 };
  const { maxRel, oracle } = await prove(coupling, removed, options);
  if (!(maxRel <= TOLERANCE)) found.push({ kind: "wrong", why: `sliced against the oracle: relative error ${maxRel}` });
  const kept = new Kept(coupling.typing.system, coupling.choices, removed);
  const want = await run(oracle, options);
  for (const operand of ["first", "last"] as const) {
    const masked = maskedOf(coupling.typing, kept, operand);
    const apart = masked ? relative(await run(masked, options), want) : 0;
    if (!(apart <= TOLERANCE)) found.push({ kind: "masked", why: `the oracles differ by ${apart}: an op that sums does not` });
  }
  const sick = findGroups(poison(coupling, kept).model);
  const same = new Kept(sick.typing.system, sick.choices, removed);
  const reached = relative(await run(oracleOf(sick.typing, same), options), want);
  if (!(reached <= TOLERANCE)) found.push({ kind: "poison", why: `removed parameters change outputs by ${reached}` });
  return found;
}

function crash(error: unknown): Finding {
  const node = error instanceof OnnxPruneError ? (error.at.node ?? error.at.value) : undefined;
  const { message, stack = "" } = error as Error;
  const frames = [...stack.matchAll(/\n {4}at (.+)/g)].slice(0, 3).map((m) => m[1] as string);
  const op = / running (\w+) node/.exec(message)?.[1];
  return { kind: "crash", ...(op ? { op } : {}), why: message.split("\n")[0] ?? "", frames, ...(node ? { node } : {}) };
}

/** The first line that is not as recorded. */
function firstChange(golden: string, text: string): string {
  const [a, b] = [golden.split("\n"), text.split("\n")];
  const at = a.findIndex((line, i) => line !== b[i]);
  return `groups: "${(a[at] ?? "").trim()}" became "${(b[at] ?? "").trim()}"`;
}
