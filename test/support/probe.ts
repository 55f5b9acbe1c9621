/** What a test sees of one graph: its groups, and whether random removals compute what three oracles compute. */
import { OnnxPruneError } from "../../src/errors.js";
import type { Axis, Member } from "../../src/graph/coupling/axis.js";
import { ALWAYS, Kept } from "../../src/graph/coupling/choices.js";
import { type Coupling, findGroups } from "../../src/graph/coupling/groups.js";
import { oracleOf } from "../../src/graph/coupling/oracle.js";
import { isKnown } from "../../src/graph/dim.js";
import type { Model } from "../../src/graph/graph.js";
import { sizeOf, strided, stridesOf } from "../../src/graph/rearrange.js";
import { Tensor } from "../../src/graph/tensor.js";
import { emptiedAxes } from "../../src/score/plan.js";
import { findPools, takenOf } from "../../src/score/pools.js";
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
  readonly kind: "groups" | "pools" | "interface" | "chain" | "crash" | "wrong" | "masked" | "poison";
  readonly why: string;
  /** The first step whose result is not what it should be, while what it was given is: a part of a path of the sources. */
  readonly stage?: readonly string[];
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
    if (text !== golden) found.push(changeOf(golden, text));
    found.push(...openInterface(coupling), ...openSums(coupling), ...wrongChains(coupling), ...unevenMoves(coupling));
  } catch (error) {
    return [crash(error)];
  }
  for (const [seed, ratio] of quick ? REMOVALS.filter((_, i) => i % 2 === 1) : REMOVALS) {
    if (quick && found.some((f) => f.removed)) break;
    let removed: Set<number> | undefined;
    try {
      removed = withoutGoneRows(coupling, randomRemoval(coupling, seed, ratio));
      const lost = removed;
      found.push(...wrongRows(coupling, removed).map((f) => ({ ...f, removed: [...lost] })));
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

/** The first line that is not as recorded; what of the record still holds says which step went another way. */
function changeOf(golden: string, text: string): Finding {
  const [a, b] = [golden.split("\n"), text.split("\n")];
  const at = a.findIndex((line, i) => line !== b[i]);
  const [was, is] = [(a[at] ?? "").trim(), (b[at] ?? "").trim()];
  const why = `groups: "${was}" became "${is}"`;
  const lines = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map((m) => m[1]).join("\n");
  const slots = (text: string) => lines(text, /^ {2}\w+ (.*)$/gm);
  const groups = (text: string) => lines(text, /^((?: {2}|(?!free|balanced|declined).+,).*)$/gm);
  const node = /\(node "([^"]+)"\)/.exec(was)?.[1];
  // Each slice still leaves with the same others.
  const isCoupled = slots(golden).split("\n").sort().join() === slots(text).split("\n").sort().join();
  if (!isCoupled) return { kind: "groups", why };
  if (groups(golden) !== groups(text)) return { kind: "groups", why, stage: ["graph/coupling/groups"] };
  return { kind: "groups", why, stage: ["score/pools", "score/balanced-moves"], ...(node ? { node } : {}) };
}

/** Whoever calls a pruned model sees inputs and outputs of the extents they had. */
function openInterface({ typing }: Coupling): Finding[] {
  const { inputs, outputs } = typing.model.graph;
  const open = [...inputs, ...outputs].filter((v) => !v.constant && typing.axesOf(v)?.some((a) => !typing.system.reason(a)));
  // Inputs are kept whole from the start: then the algebra forgot it.
  const stage = (isInput: boolean) => (isInput ? ["graph/coupling/couple", "graph/coupling/axis"] : ["graph/coupling/couple"]);
  return open.map((v) => ({ kind: "interface", why: `"${v.name}" may lose indices`, stage: stage(v.isInput) }));
}

/** What an oracle gathers at fixed positions has an extent that is known. */
function openSums({ typing }: Coupling): Finding[] {
  const isOpen = (a: Axis | undefined) => a !== undefined && !isKnown(a.size) && !typing.system.reason(a);
  const open = typing.contractions.filter(({ node, slots }) => slots.some((s) => isOpen(typing.axesOfInput(node, s.input)?.[s.axis])));
  return open.map(({ node }) => ({ kind: "groups", why: `"${node.label}" sums over an open extent`, stage: ["graph/coupling/couple"] }));
}

/** A chain moves numbers as its nodes do one after the other, and nobody else reads what lies inside. */
function wrongChains({ typing }: Coupling): Finding[] {
  const found: Finding[] = [];
  for (const { nodes, input, output, moved } of typing.chains) {
    const stage = ["graph/coupling/chains"];
    const inside = nodes.flatMap((n) => n.outputs).filter((v) => v && v !== output);
    const others = inside.flatMap((v) => v?.uses() ?? []).filter((u) => !nodes.includes(u.node));
    if (others.length > 0) found.push({ kind: "chain", why: `"${others[0]?.node.label}" reads what lies inside a chain`, stage });
    const shapes = [input, ...nodes.map((n) => n.outputs[0])].map((v) => v && typing.types.shape(v));
    if (!shapes.every((s): s is number[] => s?.every(isKnown) === true)) continue;
    const first = shapes[0] as number[];
    const start = Array.from({ length: sizeOf(first) }, (_, i) => i);
    const end = nodes.reduce((numbers, n, i) => {
      if (n.opType !== "Transpose") return numbers;
      const steps = stridesOf(shapes[i] as number[]);
      const perm = n.ints("perm") ?? steps.map((_, a) => steps.length - 1 - a);
      const from = strided(
        shapes[i + 1] as number[],
        perm.map((a) => steps[a] as number),
      );
      return Array.from(from, (k) => numbers[k] as number);
    }, start);
    const said = moved ? Tensor.ints(start, first).take(moved.axis, moved.order).ints() : start;
    if (end.join() !== said.join()) found.push({ kind: "chain", why: `the chain to "${output.name}" moves otherwise`, stage });
  }
  return found;
}

/** Every move of a pool takes something, and leaves every balance as even as it was. */
function unevenMoves(coupling: Coupling): Finding[] {
  const { system } = coupling.typing;
  const stage = ["score/pools", "score/balanced-moves"];
  const found: Finding[] = [];
  for (const { cells, moves } of findPools(coupling).pools) {
    const name = coupling.choices.originOf(cells[0]?.choices[0] as number).origin;
    let before = 0;
    for (let m = 1; m < moves; m++) {
      const removed = cells.flatMap((c) => c.choices.slice(0, takenOf(c, m)));
      if (removed.length <= before) found.push({ kind: "pools", why: `move ${m} of "${name}" takes nothing`, stage });
      before = removed.length;
      const kept = new Kept(system, coupling.choices, removed);
      for (const { parts, why } of coupling.typing.balances) {
        const left = parts.filter((p) => kept.isAlive(p)).map((p) => kept.count(p.axis));
        if (left.some((n) => n !== left[0]))
          found.push({ kind: "pools", why: `move ${m} of "${name}" leaves ${left.join(", ")}: ${why}`, stage });
      }
    }
  }
  return found;
}

/** The removal without what lies in rows that leave anyway, where that is as balanced: it must not matter what they keep. */
function withoutGoneRows(coupling: Coupling, removed: Set<number>): Set<number> {
  const { typing, choices } = coupling;
  const { system } = typing;
  const families = new Set([...typing.allAxes()].map((a) => system.find(a)).filter((a) => a.form?.kind === "family" && !system.reason(a)));
  const members = [...families].map((a) => membersOf(system, a, []));
  const isAlive = (kept: Kept, { rows }: Member) => rows.every(({ axis, index }) => kept.indices(axis)?.includes(index) ?? true);
  const choicesOf = ({ axis }: Member) => choices.layers(axis).flatMap((l) => [...l].filter((c) => c !== ALWAYS));
  const before = new Kept(system, choices, removed);
  const staying = new Set(members.flat().flatMap((m) => (isAlive(before, m) ? choicesOf(m) : [])));
  const gone = members.flat().flatMap((m) => (isAlive(before, m) ? [] : choicesOf(m)));
  const spared = new Set(gone.filter((c) => removed.has(c) && !staying.has(c)));
  if (spared.size === 0) return removed;
  const fewer = new Set([...removed].filter((c) => !spared.has(c)));
  const after = new Kept(system, choices, fewer);
  const isEven = members.every((of) => new Set(of.filter((m) => isAlive(after, m)).map((m) => after.count(m.axis))).size <= 1);
  const isSame = members.flat().every((m) => isAlive(after, m) === isAlive(before, m));
  return isSame && isEven && emptiedAxes(coupling, after).length === 0 ? fewer : removed;
}

/** Members lie in the rows they are members of, all that stay are equally wide, and constants have their rows first. */
function wrongRows({ typing, choices }: Coupling, removed: ReadonlySet<number>): Finding[] {
  const { system } = typing;
  const kept = new Kept(system, choices, removed);
  const found: Finding[] = [];
  const tell = (why: string, part: string) => found.push({ kind: "groups", why, stage: [`graph/coupling/${part}`] });
  for (const a of new Set([...typing.allAxes()].map((x) => system.find(x)))) {
    if (!kept.isFamily(a)) continue;
    const text = (of: readonly Member[]) => of.map((m) => m.rows.map((r) => `${system.find(r.axis).id}:${r.index}`).join("/")).join(" ");
    if (text(system.members(a)) !== text(membersOf(system, a, []))) tell(`members of "${a.origin}" lie in other rows`, "axis");
    if (kept.familyIndices(a)?.some((at) => at.length !== kept.count(a))) tell(`rows of "${a.origin}" differ in width`, "choices");
  }
  for (const v of typing.model.graph.initializers) {
    const axes = typing.axesOf(v) ?? [];
    if (axes.some((a) => kept.isFamily(a) && system.rowsAt(axes, a) !== 0))
      tell(`"${v.name}" has rows that are not its first axis`, "families");
  }
  return found;
}

/** Told here anew, and not by what is tested: a member and the rows it lies in. */
function membersOf(system: Coupling["typing"]["system"], axis: Axis, rows: Member["rows"]): Member[] {
  const r = system.find(axis);
  if (r.form?.kind !== "family") return [{ axis: r, rows }];
  const { parts, rows: within } = r.form;
  return parts.flatMap((p, index) => membersOf(system, p, [...rows, { axis: within, index }]));
}
