/** Attention after removal: gates fitted to what the layers gave before, one place after the other, and kept where they pay. */
import type { Samples } from "../calibrate/samples.js";
import { cloneModel } from "../graph/clone.js";
import { findGroups } from "../graph/coupling/groups.js";
import type { Model, Node, Value } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import type { Note } from "../graph/note.js";
import { emitGate, type Gate, gateCost } from "../passes/gates/emit.js";
import { type LinearReaders, linearReaders } from "../passes/gates/readers.js";
import { scaleReaders } from "../passes/gates/scale-readers.js";
import { type GateSite, gateSites } from "../passes/gates/sites.js";
import type { GateFigures } from "../report.js";
import type { Runner } from "../runtime/runner.js";
import { distance } from "./agreement.js";
import { type Choice, chooseGate, type GateKinds } from "./choose.js";
import { divisionOf, looksAt } from "./looks.js";
import { measureQuadratics, type Pair } from "./measure.js";

export interface AttendOptions {
  readonly kinds: GateKinds;
  /** Default 4. */
  readonly reduction?: number;
  /** Least gain on held-out samples, as a share of the loss. Default 0.01. */
  readonly gain?: number;
  /** Share of samples held out. Default 0.2. */
  readonly holdOut?: number;
  /** Default 1e-3. */
  readonly ridge?: number;
  /** Most steps of Adam. Default 1500. */
  readonly steps?: number;
  /** Most samples looked at. Default 256. */
  readonly samples?: number;
  /** Bytes of quadratics held at a time. Default 512 MiB. */
  readonly memory?: number;
  readonly seed?: number;
  /** What gates may add; default: any number. A gate that would add more is left out. */
  readonly room?: { readonly of: "macs" | "parameters"; readonly most: number };
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface Attended {
  /** The student with constant factors in its weights and the other gates in its graph; the student itself where none pays. */
  readonly model: Model;
  /** The same with constant factors as nodes of their own: what `model` must equal. */
  readonly reference: Model;
  readonly gates: readonly GateFigures[];
  /** Distance of the outputs to the teacher's on held-out samples (agreement.ts), where gates were kept. */
  readonly outputs?: { readonly before: number; readonly after: number };
  readonly notes: readonly Note[];
}

/**
 * Fits a gate at each place of the student (insert-gates' `inner`), in graph order, so that each sees what those before it changed; on
 * vectors and maps of one position, where a gate would see no more than the layer does, constant factors alone.
 *
 * Samples that judge are the same for all; if the outputs on them are not nearer to the teacher's in the end, no gate is kept.
 *
 * The loss is the distance between what a layer makes of the gated map and what the teacher's layer of the same name made, before
 * activation, or the residual sum it goes into. Source: that attention follows removal is in the abstract of Chen 2020; the loss, the fits and the acceptance are a
 * reconstruction (the thesis may have trained gates with the network instead).
 */
export async function attend(runner: Runner, pair: Pair, samples: Samples, options: AttendOptions): Promise<Attended> {
  const { student } = pair;
  const notes: Note[] = [];
  const nothing = { model: student, reference: student, gates: [], notes };
  const { samples: most = 256, memory = 2 ** 29, seed = 0, holdOut = 0.2 } = options;
  const first = student.graph.inputs.find((v) => v.constant === undefined)?.shape?.[0];
  const looks = looksAt(samples.count, typeof first === "number" ? first : undefined, { samples: most, holdOut, seed });
  if (!looks) {
    const why = `${samples.count} calibration samples: too few to fit on some runs and judge by others`;
    notes.push({ code: "GATES_NO_SAMPLES", about: "the gates", why });
    return nothing;
  }
  if (student.opset < 7) return nothing;
  const found = gateSites(findGroups(student), "inner");
  const order = new Map(student.graph.nodes.map((n, i) => [n, i]));
  const at = ({ value }: GateSite) => order.get(value.producer as Node) ?? 0;
  const sites = [...found.sites, ...found.constantOnly].sort((a, b) => at(a) - at(b));
  const constantOnly = new Set(found.constantOnly);
  const isTried = new Set(sites.map((s) => s.value.name));
  notes.push(...found.declined.filter((d) => !isTried.has(d.about)));
  let model = student;
  let reference = student;
  let left = options.room?.most ?? Number.POSITIVE_INFINITY;
  const gates: GateFigures[] = [];
  for (const [i, site] of sites.entries()) {
    options.onProgress?.(i, sites.length);
    const { name } = site.value;
    const q = await measureQuadratics(runner, { ...pair, student: model }, site, samples, {
      looks,
      memory,
      signal: options.signal,
    });
    if (typeof q === "string") {
      notes.push({ code: "GATE_NOT_FITTED", about: name, why: q });
      continue;
    }
    const division = divisionOf(looks, q.k.length);
    if (division.held.length === 0) {
      const why = `quadratics of ${site.channels} channels fit into memory for ${q.k.length} samples alone, of which none can judge`;
      notes.push({ code: "GATE_NOT_FITTED", about: name, why });
      continue;
    }
    const choice = chooseGate(q, division, {
      kinds: constantOnly.has(site) ? "static" : options.kinds,
      reduction: options.reduction ?? 4,
      gain: options.gain ?? 0.01,
      ridge: options.ridge ?? 1e-3,
      steps: options.steps ?? 1500,
      rate: 0.01,
      seed: `${seed}:${name}`,
    });
    const cost = choice.gate ? gateCost(choice.gate) : { parameters: 0, macs: 0 };
    const isAffordable = !options.room || cost[options.room.of] <= left;
    if (!isAffordable) notes.push({ code: "GATE_NO_ROOM", about: name, why: "its cost would go beyond the budget" });
    const taken: Choice = isAffordable ? choice : { ...choice, gate: undefined, after: choice.folded };
    if (!taken.factor && !taken.gate) {
      if (isAffordable) notes.push({ code: "GATE_DROPPED", about: name, why: "no gate lowers the loss on held-out samples enough" });
      continue;
    }
    if (options.room && taken.gate) left -= cost[options.room.of];
    model = withGate(model, site, taken, true);
    reference = withGate(reference, site, taken, false);
    const { before, after } = taken;
    const spent = taken.gate ? cost : { parameters: 0, macs: 0 };
    gates.push({ value: name, kinds: kindsOf(taken), samples: q.k.length, heldOut: { before, after }, ...spent });
  }
  options.onProgress?.(sites.length, sites.length);
  if (gates.length === 0) return nothing;
  // Each gate brings its layer nearer to what it was; whether the outputs follow is looked at, not supposed.
  const [without, withGates] = [
    await distance(runner, [pair.teacher, student], samples, looks),
    await distance(runner, [pair.teacher, model], samples, looks),
  ];
  if (withGates < without) return { model, reference, gates, outputs: { before: without, after: withGates }, notes };
  const why = `all of them together move the outputs on held-out samples from ${without.toPrecision(3)} to ${withGates.toPrecision(3)} away from the unpruned net's`;
  notes.push({ code: "GATES_DROPPED", about: "the gates", why });
  return nothing;
}

function kindsOf({ factor, gate }: Choice): GateFigures["kinds"] {
  return [...(factor ? (["static"] as const) : []), ...(gate ? [gate.kind] : [])];
}

/** A copy of `model` with what was chosen; `isFolded`: constant factors go into the weights that read the map. */
function withGate(model: Model, { value: { name }, ...place }: GateSite, { factor, gate }: Choice, isFolded: boolean): Model {
  const copy = cloneModel(model);
  copy.sha256 = undefined;
  const value = copy.graph.value(name) as Value;
  if (factor && isFolded) {
    const types = infer(copy);
    // Measuring found the same readers.
    const { readers } = linearReaders(value, place.axis, place.channels, (v) => types.shape(v)) as LinearReaders;
    scaleReaders(copy, readers, factor);
  }
  const all: Gate[] = [...(factor && !isFolded ? [{ kind: "static", factor } as const] : []), ...(gate ? [gate] : [])];
  // The first stands nearest to the readers.
  for (const g of all) emitGate(copy, { ...place, value }, g);
  return copy;
}
