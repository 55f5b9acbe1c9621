/**
 * Two simulated annealing schemes. The thesis has two; what they are is not public. These are two natural ones: moves that keep the
 * shape (`sa-fixed`), and moves that also change it (`sa-shape`).
 *
 * The state is which rows R and columns C leave, with u_i = Σ_{j ∉ C} a_ij and v_j = Σ_{i ∉ R} a_ij. Swapping row i, which stays, with row k,
 * which leaves, changes f by u_i − u_k: one subtraction, exact. Only an accepted move updates v, in O(n).
 */
import { random } from "../../graph/random.js";
import { residualAt, residualScan, sequentialResidual } from "./approximate.js";
import { ascending, columnsBeside, costOf, count, marked, type Problem, type Selection, selectionOf, shapesOf } from "./problem.js";

export interface AnnealOptions {
  readonly seed: number | string;
  /** Proposals of one run; default 500·(m + n) for `sa-fixed`, 1,500·(m + n) for `sa-shape`, at most 300,000. */
  readonly proposals?: number;
  /** Runs from the best known start; the last of several starts from a random state. Default 2. */
  readonly restarts?: number;
  /** T₀ as a multiple of f / (p + q), the mean cost of what leaves. Default 0.5. */
  readonly heat?: number;
}

/** T₁ / T₀ of the geometric schedule. */
const COOLED = 1e-3;
/** Share of proposals of `sa-shape` that change the shape. */
const SHAPE_MOVES = 0.1;
const MOST_PROPOSALS = 300_000;
/** Shapes that `sa-fixed` is run in: the cheapest by SR. */
const SHAPES_TRIED = 4;
/** An improvement below this share of f is rounding. */
const LEAST_GAIN = 1e-12;

/** Annealing within the shapes that SR finds cheapest, and within that of SR itself. Never worse than SR. */
export function annealFixed(problem: Problem, options: AnnealOptions): Selection {
  const start = sequentialResidual(problem);
  const shapes = residualScan(problem)
    .sort((x, y) => x.cost - y.cost)
    .slice(0, SHAPES_TRIED)
    .map(({ p }) => residualAt(problem, p));
  const starts = shapes.some((s) => count(s.rows) === count(start.rows)) ? shapes : [start, ...shapes.slice(0, -1)];
  const next = random(`sa-fixed:${options.seed}`);
  let best = start;
  for (const from of [start, ...starts]) {
    for (let run = 0; run < (options.restarts ?? 2); run++) {
      const isRandom = run > 0 && run === (options.restarts ?? 2) - 1;
      best = better(problem, best, annealFrom(problem, isRandom ? shuffled(problem, from, next) : from, next, options, 0));
    }
  }
  return best;
}

/** Annealing in which rows are also added and taken away, the columns following so that the budget holds. Never worse than SR. */
export function annealShape(problem: Problem, options: AnnealOptions): Selection {
  const start = sequentialResidual(problem);
  const next = random(`sa-shape:${options.seed}`);
  const shapes = shapesOf(problem);
  let best = start;
  for (let run = 0; run < (options.restarts ?? 2); run++) {
    const isRandom = run > 0 && run === (options.restarts ?? 2) - 1;
    const p = (shapes[Math.floor(next() * shapes.length)] ?? { p: 0 }).p;
    best = better(
      problem,
      best,
      annealFrom(problem, isRandom ? shuffled(problem, residualAt(problem, p), next) : start, next, options, SHAPE_MOVES),
    );
  }
  return best;
}

/**
 * One run from `start`, then alternating minimisation: the best state seen, never worse than `start`.
 * `shapeMoves` is the share of proposals that change the shape (0: `sa-fixed`); `next` gives uniform numbers in [0, 1).
 */
export function annealFrom(
  problem: Problem,
  start: Selection,
  next: () => number,
  options: Omit<AnnealOptions, "seed" | "restarts">,
  shapeMoves: number,
): Selection {
  const state = new State(problem, start);
  const { m, n } = problem;
  const usual = Math.min(MOST_PROPOSALS, (shapeMoves > 0 ? 1500 : 500) * (m + n));
  const proposals = options.proposals ?? usual;
  const hot = ((options.heat ?? 0.5) * state.energy) / Math.max(1, state.rows.gone + state.columns.gone);
  let best: Omit<Selection, "cost"> = start;
  let least = start.cost - LEAST_GAIN * start.cost;
  for (let t = 0; t < proposals && hot > 0; t++) {
    const temperature = hot * COOLED ** (t / proposals);
    const accepts = (change: number) => change <= 0 || next() < Math.exp(-change / temperature);
    if (shapeMoves > 0 && next() < shapeMoves) state.reshape(Math.floor(next() * m), accepts);
    else if (next() < 0.5 ? state.canSwapRows : !state.canSwapColumns) state.swap(state.rows, next, accepts);
    else state.swap(state.columns, next, accepts);
    if (state.energy < least) {
      least = state.energy - LEAST_GAIN * start.cost;
      best = { rows: state.rows.marks.slice(), columns: state.columns.marks.slice() };
    }
  }
  const cooled = best === start ? start : selectionOf(problem, best.rows, best.columns);
  return alternate(problem, cooled.cost < start.cost ? cooled : start);
}

/** Columns that are best beside the rows, then rows beside the columns, until neither gains. The shape stays. */
export function alternate(problem: Problem, from: Selection): Selection {
  const { a, m, n } = problem;
  const p = count(from.rows);
  const q = count(from.columns);
  let best = from;
  for (;;) {
    const v = new Float64Array(n);
    const u = new Float64Array(m);
    for (let i = 0; i < m; i++) if (!best.rows[i]) for (let j = 0; j < n; j++) v[j] = (v[j] as number) + (a[i * n + j] as number);
    const columns = marked(n, ascending(v), q);
    for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) if (!columns[j]) u[i] = (u[i] as number) + (a[i * n + j] as number);
    const found = selectionOf(problem, marked(m, ascending(u), p), columns);
    if (!(found.cost < best.cost - LEAST_GAIN * from.cost)) return best;
    best = found;
  }
}

function better(problem: Problem, a: Selection, b: Selection): Selection {
  return b.cost < a.cost - LEAST_GAIN * costOf(problem, a.rows, a.columns) ? b : a;
}

/** As many rows and columns as in `like`, drawn at random. */
function shuffled(problem: Problem, like: Selection, next: () => number): Selection {
  const drawn = (n: number, k: number) => marked(n, ascending(Float64Array.from({ length: n }, next)), k);
  return selectionOf(problem, drawn(problem.m, count(like.rows)), drawn(problem.n, count(like.columns)));
}

/** Rows, or columns: which leave, and lists of both kinds to draw from. `sums` is u of rows, v of columns. */
class Side {
  readonly marks: Uint8Array;
  readonly sums: Float64Array;
  /** Indices: those that stay before `stay`, those that leave from there on. */
  readonly #order: Int32Array;
  readonly #place: Int32Array;
  #stay = 0;

  constructor(marks: Uint8Array) {
    this.marks = marks.slice();
    this.sums = new Float64Array(marks.length);
    const of = (mark: number) => [...marks.keys()].filter((i) => marks[i] === mark);
    this.#order = Int32Array.from([...of(0), ...of(1)]);
    this.#place = new Int32Array(marks.length);
    this.#order.forEach((i, at) => {
      this.#place[i] = at;
    });
    this.#stay = of(0).length;
  }
  get gone(): number {
    return this.marks.length - this.#stay;
  }
  get stays(): number {
    return this.#stay;
  }
  /** The index that stays (leaves) at a share `x` of the list. */
  kept(x: number): number {
    return this.#order[Math.floor(x * this.#stay)] as number;
  }
  removed(x: number): number {
    return this.#order[this.#stay + Math.floor(x * this.gone)] as number;
  }
  /** Of those that leave (mark 1) or stay (0), the one with the largest (smallest) sum. */
  extreme(mark: 0 | 1): number {
    let best = -1;
    const from = mark === 1 ? this.#stay : 0;
    const to = mark === 1 ? this.#order.length : this.#stay;
    for (let at = from; at < to; at++) {
      const i = this.#order[at] as number;
      const d = best < 0 ? -1 : (this.sums[i] as number) - (this.sums[best] as number);
      if (best < 0 || (mark === 1 ? d > 0 : d < 0)) best = i;
    }
    return best;
  }
  flip(i: number): void {
    const leaves = this.marks[i] === 0;
    this.marks[i] = leaves ? 1 : 0;
    const border = leaves ? --this.#stay : this.#stay++;
    const at = this.#place[i] as number;
    const other = this.#order[border] as number;
    this.#order[border] = i;
    this.#order[at] = other;
    this.#place[i] = border;
    this.#place[other] = at;
  }
}

class State {
  readonly #problem: Problem;
  readonly rows: Side;
  readonly columns: Side;
  energy: number;

  constructor(problem: Problem, start: Selection) {
    this.#problem = problem;
    this.rows = new Side(start.rows);
    this.columns = new Side(start.columns);
    this.energy = start.cost;
    const { a, m, n } = problem;
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        const w = a[i * n + j] as number;
        if (!start.columns[j]) this.rows.sums[i] = (this.rows.sums[i] as number) + w;
        if (!start.rows[i]) this.columns.sums[j] = (this.columns.sums[j] as number) + w;
      }
    }
  }
  get canSwapRows(): boolean {
    return this.rows.gone > 0 && this.rows.stays > 0;
  }
  get canSwapColumns(): boolean {
    return this.columns.gone > 0 && this.columns.stays > 0;
  }

  /** One that stays and one that leaves change places, if that is accepted. */
  swap(side: Side, next: () => number, accepts: (change: number) => boolean): void {
    if (side.gone === 0 || side.stays === 0) return;
    const i = side.kept(next());
    const k = side.removed(next());
    const change = (side.sums[i] as number) - (side.sums[k] as number);
    if (!accepts(change)) return;
    this.energy += change;
    this.#flip(side, i);
    this.#flip(side, k);
  }

  /** Row `i` leaves or comes back, and columns follow: those of greatest v come back, those of least v leave. */
  reshape(i: number, accepts: (change: number) => boolean): void {
    const { rows, columns } = this;
    const q = columnsBeside(this.#problem, rows.gone + (rows.marks[i] ? -1 : 1));
    if (q === undefined) return;
    const before = this.energy;
    const flipped: number[] = [];
    this.energy += (rows.marks[i] ? -1 : 1) * (rows.sums[i] as number);
    this.#flip(rows, i);
    while (columns.gone !== q) {
      const leaves = columns.gone < q;
      const j = columns.extreme(leaves ? 0 : 1);
      this.energy += (leaves ? 1 : -1) * (columns.sums[j] as number);
      this.#flip(columns, j);
      flipped.push(j);
    }
    if (accepts(this.energy - before)) return;
    for (const j of flipped.reverse()) this.#flip(columns, j);
    this.#flip(rows, i);
    this.energy = before;
  }

  /** Changes the mark of one row (column), and the sums of the other side. */
  #flip(side: Side, i: number): void {
    const { a, m, n } = this.#problem;
    side.flip(i);
    const sign = side.marks[i] ? -1 : 1;
    if (side === this.rows) {
      const { sums } = this.columns;
      for (let j = 0, at = i * n; j < n; j++, at++) sums[j] = (sums[j] as number) + sign * (a[at] as number);
    } else {
      const { sums } = this.rows;
      for (let x = 0, at = i; x < m; x++, at += n) sums[x] = (sums[x] as number) + sign * (a[at] as number);
    }
  }
}
