/**
 * Two layers with a Relu between, fitted together to what the second should give. Least squares of the second alone can only weigh anew what
 * the first lets through; here the first is asked for what is lacking.
 *
 * What passes the Relus being held, the second layer's end is linear in small changes δ of both layers' weights (the Gauss-Newton model of
 * the squared error): a least-squares problem, with too many unknowns to write down, so its normal equations (JᵀJ + λP)·δ = Jᵀr are
 * solved by conjugate gradients. P ≈ JᵀJ: of the first layer the Kronecker product of the covariances of what it reads with the squares of
 * the second one's weights, as if what passes were independent of it; of the second the covariances of what it reads. Steps along the
 * way are tried at full and half length on held-out samples, with the Relus as they then are, and the best is taken.
 *
 * @see Hestenes, Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952; Martens, Grosse, "Optimizing Neural Networks
 *   with Kronecker-factored Approximate Curvature", ICML 2015, for P. The use for pruned layers is ours.
 */
import type { Value } from "../graph/graph.js";
import type { Runner } from "../runtime/runner.js";
import type { Batches } from "./batches.js";
import { Curvature } from "./curvature.js";
import { apart, type Joined, type JointForm, JointSession, type Pattern, unknownsOf } from "./joint-session.js";
import type { Layer } from "./layers.js";
import { hasGaps, type Moments, type Weights } from "./moments.js";
import type { Products } from "./products.js";
import type { Seen } from "./session.js";

/** Batches held in memory: those that fit and those that judge. */
interface JointData {
  readonly fitting: readonly Seen[];
  readonly heldOut: readonly Seen[];
}

/** Steps of conjugate gradients. */
const STEPS = 6;
/** After so many, and again after as many, the way there is tried on held-out samples. */
const TRIED_EVERY = 2;
/** λ: share of P that is added. */
const DAMPING = 0.03;
/** Equations per unknown that are taken at least, where there are as many. */
const EQUATIONS = 3000;
/** Samples that are taken at least: positions of one image tell much the same. */
const SAMPLES = 1000;
/** Bytes that the values of all batches may take; beyond, fewer samples are taken. */
const MOST_BYTES = 2 ** 29;

/** The layer before a Relu that alone reads it and that `layer` alone reads, if both are plain convolutions with no column pruned in place. */
export function joinedWith(layer: Layer, layers: readonly Layer[]): Joined | undefined {
  const relu = layer.input.producer;
  const first = relu?.isStandard && relu.opType === "Relu" ? layers.find((l) => l.end === relu.inputs[0]) : undefined;
  if (!first || !isSole(first.end) || !isSole(layer.input)) return undefined;
  return isPlain(first) && isPlain(layer) && first.hasBias && layer.hasBias ? { first, second: layer } : undefined;
}

const isSole = (v: Value) => v.useCount === 1 && !v.isOutput;
const isPlain = (layer: Layer) => layer.node.opType === "Conv" && layer.groups === 1 && !hasGaps(layer.read(), layer);

/**
 * Fits both layers, in place, to what the second should give.
 * @param reads second moments of what each layer reads (moments.ts)
 * @param seen batches: what the first layer reads, and what the second should give
 * @returns whether anything changed
 */
export async function fitTogether(
  runner: Runner,
  products: Products,
  form: Omit<JointForm, "first" | "second">,
  reads: readonly [first: Moments, second: Moments],
  seen: (batch: number) => Promise<Seen>,
  batches: Batches,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const { first, second } = form.joined;
  const data = await held(form.joined, seen, batches);
  const found = await refitJointly(runner, products, { ...form, first: first.read(), second: second.read() }, reads, data, signal);
  if (!found) return false;
  first.write(found.first);
  second.write(found.second);
  return true;
}

/** As many batches as there should be equations, if they fit; of those that judge, the same share. */
async function held(joined: Joined, seen: (batch: number) => Promise<Seen>, batches: Batches): Promise<JointData> {
  const fitting: Seen[] = [];
  const heldOut: Seen[] = [];
  const [n1, n2] = unknownsOf(joined);
  let [bytes, got, rows] = [0, 0, 0];
  const isEnough = () => bytes > MOST_BYTES || (got >= SAMPLES && rows >= EQUATIONS * (n1 + n2));
  for (let b = 0; b < batches.count && (!isEnough() || heldOut.length === 0); b++) {
    const s = await seen(b);
    for (const t of new Set([s.x, s.target, s.other])) bytes += t?.byteLength ?? 0;
    got += batches.size(b);
    (batches.isHeldOut(b) ? heldOut : fitting).push(s);
    rows += batches.size(b) * joined.second.rows * s.target.dims.slice(2).reduce((n, d) => n * d, 1);
  }
  return { fitting, heldOut };
}

/** Weights of both layers. */
interface JointWeights {
  readonly first: Weights;
  readonly second: Weights;
}

/**
 * Better weights for both layers; undefined where none lower the held-out error.
 * @param reads second moments of what each layer reads (moments.ts)
 */
async function refitJointly(
  runner: Runner,
  products: Products,
  form: JointForm,
  reads: readonly [first: Moments, second: Moments],
  { fitting, heldOut }: JointData,
  signal: AbortSignal | undefined,
): Promise<JointWeights | undefined> {
  const like = fitting[0];
  if (!like || heldOut.length === 0) return undefined;
  const session = await JointSession.open(runner, form, like);
  try {
    const [n1, n2] = unknownsOf(form.joined);
    const residual = new Float64Array(n1 + n2);
    const passing = new Float64Array(form.joined.first.rows);
    const positions: [number, number] = [0, 0];
    let counted = 0;
    const patterns: Pattern[] = [];
    for (const seen of fitting) {
      signal?.throwIfAborted();
      const s = await session.slope(seen);
      patterns.push(s.pattern);
      addTo(residual, s.residual);
      addTo(passing, s.passing);
      positions[0] += s.positions[0];
      positions[1] += s.positions[1];
      counted += s.counted / fitting.length;
    }
    let least = await errorOf(session, heldOut);
    const P = await Curvature.of(products, form, reads, { passing, positions, counted });
    if (!P) return undefined;
    let best: JointWeights | undefined;
    const times = async (v: Float64Array) => {
      const out = await P.times(v, DAMPING);
      for (const pattern of patterns) {
        signal?.throwIfAborted();
        addTo(out, await session.product(pattern, v));
      }
      return out;
    };
    const tryOut = async (delta: Float64Array) => {
      for (const length of [1, 0.5]) {
        const weights = {
          first: moved(form.first, delta.subarray(0, n1), length, form.joined.first),
          second: moved(form.second, delta.subarray(n1), length, form.joined.second),
        };
        const other = await JointSession.open(runner, { ...form, ...weights }, like);
        try {
          const error = await errorOf(other, heldOut);
          if (error < least) [best, least] = [weights, error];
        } finally {
          await other.release();
        }
      }
    };
    await conjugateGradients(
      residual,
      times,
      (r) => P.solve(r),
      async (delta, step) => {
        if (step % TRIED_EVERY === 0) await tryOut(delta);
      },
    );
    return best;
  } finally {
    await session.release();
  }
}

async function errorOf(session: JointSession, data: readonly Seen[]): Promise<number> {
  let sum = 0;
  for (const seen of data) sum += await session.error(seen);
  return Number.isNaN(sum) ? Number.POSITIVE_INFINITY : sum;
}

/** Solves A·x = b from x = 0, in STEPS steps at most; `each` sees x after each step. */
async function conjugateGradients(
  b: Float64Array,
  A: (v: Float64Array) => Promise<Float64Array>,
  precondition: (r: Float64Array) => Promise<Float64Array>,
  each: (x: Float64Array, step: number) => Promise<void>,
): Promise<void> {
  const x = new Float64Array(b.length);
  const r = Float64Array.from(b);
  let z = await precondition(r);
  let p = Float64Array.from(z);
  let rz = dot(r, z);
  for (let step = 1; step <= STEPS && rz > 0; step++) {
    const Ap = await A(p);
    const curvature = dot(p, Ap);
    if (!(curvature > 0)) return;
    const length = rz / curvature;
    for (let i = 0; i < x.length; i++) {
      x[i] = (x[i] as number) + length * (p[i] as number);
      r[i] = (r[i] as number) - length * (Ap[i] as number);
    }
    await each(x, step);
    z = await precondition(r);
    const next = dot(r, z);
    p = p.map((v, i) => (z[i] as number) + (next / rz) * v);
    rz = next;
  }
}

function moved({ weight, bias }: Weights, delta: Float64Array, length: number, layer: Layer): Weights {
  const by = apart(delta, layer);
  return {
    weight: weight.map((w, i) => w + length * (by.weight[i] as number)),
    bias: bias.map((b, k) => b + length * (by.bias[k] as number)),
  };
}

function addTo(sum: Float64Array, more: Float64Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (more[i] as number);
}

function dot(a: Float64Array, b: Float64Array): number {
  let s = 0;
  for (let i = 0; i < a.length; i++) s += (a[i] as number) * (b[i] as number);
  return s;
}
