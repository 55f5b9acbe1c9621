/**
 * Layers of a window fitted together to what the original gives at its end. Least squares layer by layer can only weigh anew what the layers
 * before let through; here those are asked for what is lacking, and every rectifier between is seen as it is.
 *
 * A window is a run of units (units.ts): blocks, or layers of a chain. The next begins half a window on, so that a layer is fitted twice: first
 * to the end of its window, then to what comes after it. The error has no closed solution. It is descended by its gradient over batches of
 * the fitting samples (descent.ts), within the window alone: no loss of the whole network, no labels. A window's weights are kept if its
 * error on held-out samples falls.
 *
 * @see Li et al., "BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction", ICLR 2021, which fits blocks so for
 *   quantised weights; windows that overlap, and their use after removal, are ours.
 */
import { isImage } from "../../calibrate/views.js";
import { type Cost, cost } from "../../graph/cost.js";
import type { Model } from "../../graph/graph.js";
import { infer } from "../../graph/infer.js";
import { random } from "../../graph/random.js";
import type { RecoveredLayer } from "../../report.js";
import type { Runner } from "../../runtime/runner.js";
import { type Layer, layersOf, type Weights } from "../../score/layers.js";
import { type Batches, inViews } from "../batches.js";
import { columnsInUse } from "../moments.js";
import type { Pairing } from "../pairing.js";
import { Stages } from "../stages.js";
import type { SweepOptions, Swept } from "../sweep.js";
import { Descent } from "./descent.js";
import { activationsOf, type End, type Unit, unitsOf } from "./units.js";
import { bytesOfEnds, dataOf, numbersIn, type WindowData } from "./window-data.js";
import { type Window, type WindowBatch, type WindowForm, WindowSession } from "./window-session.js";

/** Units of a window, where there are as many. */
const UNITS = 4;
/**
 * Times that each window goes through the fitting samples: as many as WORK allows, within these bounds. With fewer the descent does not
 * arrive; more gain little.
 */
const ROUNDS = { least: 8, most: 32 };
/** Multiply-accumulates of the layers of all windows, forth, in all rounds: with the way back some three minutes of one core. */
const WORK = 1.5e12;
/** Equations per unknown that the end of a window must give: pooled to a few numbers, it says too little of so many weights. */
const LEAST_EQUATIONS = 1;
/** Share of what is wanted that float32 cannot tell from nothing. */
const ROUNDING = 1e-9;
/** Layers of a window at most: what lies between is held in memory. */
const MOST_LAYERS = 48;

/** Window by window, front to back: changes the weights of `pruned` in place. */
export async function fitWindows(runner: Runner, pruned: Model, pairing: Pairing, batches: Batches, options: SweepOptions): Promise<Swept> {
  const [input, ...others] = pruned.graph.inputs.filter((v) => !v.constant && !v.initializer);
  const first = input && (await batches.feeds(0))[input.name];
  if (!first || others.length > 0) return { layers: [], left: [] };
  const types = infer(pruned, { bind: { [input.name]: first.dims } });
  const { layers } = layersOf(pruned, types);
  const activations = activationsOf(pruned, types);
  const units = unitsOf(pruned, types, layers, activations, { samples: first.dims[0] as number, original: pairing.original });
  const left: { node: string; why: string }[] = units.flatMap(({ obstacle }) =>
    obstacle ? [{ node: obstacle.node.label, why: `its window is not fitted: ${obstacle.why}` }] : [],
  );
  const formOf = (window: Window): WindowForm | undefined => {
    const axis = window.fitted.at(-1)?.channelsLast ? (types.shape(window.to)?.length ?? 2) - 1 : 1;
    const pair = pairing.of(window.to, axis);
    if (typeof pair === "string") return undefined;
    const form = { window, types, activations, target: pair.value, axis, kept: pair.kept };
    return equationsOf(form, batches) >= LEAST_EQUATIONS ? form : undefined;
  };
  const chosen = windowsOf(units, formOf);
  if (chosen.length === 0) return { layers: [], left };
  const rounds = roundsOf(chosen, cost(pruned, types), first.dims[0] as number, batches);
  const bytes = Math.max(...chosen.map(bytesOfEnds)) * (batches.fitting + batches.heldOut);
  const views = inViews(batches, isImage(first) ? Math.min(rounds, Math.max(1, Math.floor(options.memory / bytes))) : 1);
  const mine = new Stages(runner, pruned, views, options.memory / 2);
  const theirs = new Stages(runner, pairing.original, views, options.memory / 2);
  const report = new Map<Layer, RecoveredLayer>();
  for (const [i, form] of chosen.entries()) {
    options.signal?.throwIfAborted();
    const rest = chosen.slice(i + 1);
    const a = await mine.open(
      [form.window.from],
      rest.map((f) => f.window.from),
    );
    const b = await theirs.open(
      [form.target],
      rest.map((f) => f.target),
    );
    const data = await dataOf(form, a, b, views, options.memory);
    await a.close();
    await b.close();
    const progress = (share: number) => options.onProgress?.((i + share) * 100, chosen.length * 100);
    const seed = `windows/${options.seed}/${i}`;
    const { before, after, changed } = await fitWindow(runner, form, data, { rounds, seed, signal: options.signal, onProgress: progress });
    for (const layer of form.window.fitted) {
      // Of the last window it is in.
      report.set(layer, { node: layer.node.label, changed: changed || report.get(layer)?.changed === true, before, after });
    }
  }
  return { layers: [...report.values()], left };
}

interface Fitted {
  /** Squared error on held-out samples, as a share of what is wanted there. */
  readonly before: number;
  readonly after: number;
  readonly changed: boolean;
}

interface FitOptions {
  readonly rounds: number;
  readonly seed: string;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (share: number) => void;
}

async function fitWindow(
  runner: Runner,
  form: WindowForm,
  { fitting, heldOut }: WindowData,
  { rounds, seed, signal, onProgress }: FitOptions,
): Promise<Fitted> {
  const { fitted } = form.window;
  const session = await WindowSession.open(runner, form);
  try {
    const start = fitted.map((l) => l.read());
    const scale = heldOut.reduce((s, { target }) => s + energyOf(target.numbers()), 0) || 1;
    const errorOf = async (weights: readonly Weights[]) => {
      let sum = 0;
      for (const batch of heldOut) sum += await session.error(batch, weights);
      return Number.isNaN(sum) ? Number.POSITIVE_INFINITY : sum / scale;
    };
    const before = await errorOf(start);
    if (before < ROUNDING) return { before, after: before, changed: false };
    const now = start.map(({ weight, bias }) => ({ weight: Float64Array.from(weight), bias: Float64Array.from(bias) }));
    const viewOf = (round: number) => fitting[round % fitting.length] ?? [];
    const steps = Array.from({ length: rounds }, (_, r) => viewOf(r).length).reduce((a, b) => a + b, 0);
    let step = 0;
    const descent = new Descent(
      now,
      steps,
      fitted.map((l, i) => unused(l, start[i] as Weights)),
    );
    const uniform = random(seed);
    for (let round = 0; round < rounds; round++) {
      const batches = viewOf(round);
      for (const b of shuffled(batches.length, uniform)) {
        signal?.throwIfAborted();
        descent.move(await session.slopes(batches[b] as WindowBatch, now));
        onProgress(step++ / steps);
      }
    }
    const after = await errorOf(now);
    if (!(after < before)) return { before, after: before, changed: false };
    for (const [i, layer] of fitted.entries()) layer.write(now[i] as Weights);
    return { before, after, changed: true };
  } finally {
    await session.release();
  }
}

/**
 * Windows of UNITS units, half of them also in the next, through units that can be passed. `formOf` says whether one can be fitted; of those
 * that begin at a unit the longest is taken, at the last place where it may end: what comes after sees that alone.
 */
export function windowsOf<T>(units: readonly Unit[], formOf: (window: Window) => T | undefined): readonly T[] {
  const found: T[] = [];
  for (let at = 0; at < units.length; ) {
    const longest = longestOf(taking(units, at, UNITS), formOf);
    if (longest) found.push(longest.form);
    if (longest && at + longest.units >= units.length) break;
    at += Math.max(1, Math.floor((longest?.units ?? 0) / 2));
  }
  return found;
}

function longestOf<T>(
  run: readonly Unit[],
  formOf: (window: Window) => T | undefined,
): { readonly form: T; readonly units: number } | undefined {
  for (let count = run.length; count > 0; count--) {
    const mine = run.slice(0, count);
    for (const end of [...(mine.at(-1) as Unit).ends].reverse()) {
      const form = formOf(windowOf(mine, end));
      if (form !== undefined) return { form, units: count };
    }
  }
  return undefined;
}

/** `count` units from `at` on, or as many as there are; none that cannot be passed, and no more than MOST_LAYERS layers in all. */
function taking(units: readonly Unit[], at: number, count: number): readonly Unit[] {
  const taken: Unit[] = [];
  let layers = 0;
  for (const unit of units.slice(at, at + count)) {
    layers += unit.layers.length;
    if (unit.obstacle || layers > MOST_LAYERS) break;
    taken.push(unit);
  }
  return taken;
}

function windowOf(units: readonly Unit[], end: End): Window {
  const last = units.at(-1) as Unit;
  const nodes = units.flatMap((u) => (u === last ? u.nodes.slice(0, end.nodes) : u.nodes));
  return { from: (units[0] as Unit).from, to: end.value, nodes, fitted: units.flatMap((u) => u.layers) };
}

/** By the work of one time through the samples; `costs` of a batch of `size`. */
function roundsOf(forms: readonly WindowForm[], costs: Cost, size: number, { fitting }: Batches): number {
  const macs = new Map(costs.byNode.map((n) => [n.node, n.macs]));
  const batch = forms.flatMap((f) => f.window.fitted).reduce((n, { node }) => n + (macs.get(node) ?? 0), 0);
  return Math.min(ROUNDS.most, Math.max(ROUNDS.least, Math.floor(WORK / Math.max(1, (batch / size) * fitting))));
}

/** Numbers that the fitting samples give at the end of a window, per weight. */
function equationsOf({ window, types }: WindowForm, { fitting }: Batches): number {
  const unknowns = window.fitted.reduce((n, l) => n + l.groups * l.rows * (l.columns + 1), 0);
  return (fitting * numbersIn(types.shape(window.to))) / Math.max(1, unknowns);
}

/** 1 where all weights of an input are 0: a channel that was pruned in place stays so. */
function unused({ groups, rows, columns }: Layer, { weight }: Weights): Uint8Array | undefined {
  const per = rows * columns;
  const off = new Uint8Array(weight.length);
  for (let g = 0; g < groups; g++) {
    const used = new Set(columnsInUse(weight.subarray(g * per, (g + 1) * per), rows, columns));
    if (used.size === columns) continue;
    for (let k = 0; k < per; k++) if (!used.has(k % columns)) off[g * per + k] = 1;
  }
  return off.includes(1) ? off : undefined;
}

function energyOf(values: ArrayLike<number | bigint>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += Number(values[i]) ** 2;
  return sum;
}

function shuffled(count: number, uniform: () => number): number[] {
  const all = Array.from({ length: count }, (_, i) => i);
  for (let k = count - 1; k > 0; k--) {
    const j = Math.floor(uniform() * (k + 1));
    [all[k], all[j]] = [all[j] as number, all[k] as number];
  }
  return all;
}
