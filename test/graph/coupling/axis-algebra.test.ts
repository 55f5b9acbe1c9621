/**
 * The axis algebra against its meaning, index by index: a term is, at each position, the AND of base indices, and an
 * equation says that two terms are equal position by position. Whatever the system lets leave must satisfy every
 * equation; without products it must let leave exactly what a union-find over indices lets leave.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Axis, AxisSystem } from "../../../src/graph/coupling/axis.js";
import { ALWAYS, Choices, Kept } from "../../../src/graph/coupling/choices.js";
import { random } from "../../../src/graph/random.js";
import { shuffled } from "../../support/oracle.js";

type Expr =
  | { readonly kind: "atom"; readonly at: number }
  | { readonly kind: "prod" | "sum"; readonly parts: readonly Expr[] }
  | { readonly kind: "pick"; readonly of: Expr; readonly indices: readonly number[] }
  | { readonly kind: "cut"; readonly of: Expr; readonly from: number; readonly to: number };

type Equation = { readonly kind: "same"; readonly a: Expr; readonly b: Expr } | { readonly kind: "pin"; readonly a: Expr };

interface Problem {
  /** Extents of the base atoms. */
  readonly sizes: readonly number[];
  readonly equations: readonly Equation[];
}

const AT = { text: "in a test" };

/** A problem read off a tape of numbers: shorter tapes and smaller numbers are simpler problems. */
function problemOf(tape: readonly number[], withProducts: boolean): Problem {
  let at = 0;
  const next = (n: number) => (n <= 1 ? 0 : (tape[at++] ?? 0) % n);
  const sizes: number[] = [];
  /** n of m indices: shuffled, with repeats, rolled, evenly spaced backwards, or in shuffled runs. */
  const indicesOf = (n: number, m: number): number[] => {
    const all = Array.from({ length: m }, (_, i) => i);
    const way = next(5);
    if (way === 0) return shuffled(all, random(next(1000))).slice(0, n);
    if (way === 1) return Array.from({ length: n }, () => next(m));
    const by = next(m);
    if (way === 2) return [...all.slice(by), ...all.slice(0, by)].slice(0, n);
    if (way === 3) return all.reverse().slice(m - n);
    const run = 1 + next(4);
    const starts = shuffled(
      all.filter((i) => (i + by) % run === 0 && i + run <= m),
      random(next(1000)),
    );
    const runs = starts.flatMap((i) => Array.from({ length: run }, (_, k) => i + k)).slice(0, n);
    return [...runs, ...all.slice(0, n - runs.length)];
  };
  const expr = (n: number, depth: number): Expr => {
    const known = sizes.flatMap((s, i) => (s === n ? [i] : []));
    const way = depth <= 0 ? 0 : next(6);
    const divisors = Array.from({ length: n }, (_, i) => i).filter((d) => d > 1 && n % d === 0);
    if (way === 1 && withProducts && divisors.length > 0) {
      const d = divisors[next(divisors.length)] as number;
      return { kind: "prod", parts: [expr(d, depth - 1), expr(n / d, depth - 1)] };
    }
    if (way === 2 && n > 2) {
      const k = 1 + next(n - 1);
      return { kind: "sum", parts: [expr(k, depth - 1), expr(n - k, depth - 1)] };
    }
    if (way === 3) {
      const m = Math.min(24, n + next(5));
      return { kind: "pick", of: expr(m, depth - 1), indices: indicesOf(n, m) };
    }
    if (way === 4) {
      const before = next(3);
      const after = next(3);
      return { kind: "cut", of: expr(n + before + after, depth - 1), from: before, to: before + n };
    }
    // A base atom of one index broadcasts and is always kept; single indices come from cuts.
    if (n === 1) return { kind: "cut", of: expr(2 + next(3), depth - 1), from: 0, to: 1 };
    if (known.length > 0 && next(3) > 0) return { kind: "atom", at: known[next(known.length)] as number };
    sizes.push(n);
    return { kind: "atom", at: sizes.length - 1 };
  };
  const equations: Equation[] = [];
  const count = 1 + next(4);
  for (let i = 0; i < count; i++) {
    // Few extents with many divisors: terms then share atoms, and factors meet.
    const n = [4, 6, 12, 8, 3, 2, 9][next(7)] as number;
    const a = expr(n, 3);
    equations.push(next(12) === 11 ? { kind: "pin", a } : { kind: "same", a, b: expr(n, 3) });
  }
  return { sizes, equations };
}

/** Base indices ("atom.index") whose AND each position is. */
function meaning(e: Expr, sizes: readonly number[]): readonly (readonly string[])[] {
  switch (e.kind) {
    case "atom":
      return Array.from({ length: sizes[e.at] as number }, (_, i) => [`${e.at}.${i}`]);
    case "sum":
      return e.parts.flatMap((p) => meaning(p, sizes));
    case "prod":
      return e.parts.map((p) => meaning(p, sizes)).reduce((xs, ys) => xs.flatMap((x) => ys.map((y) => [...x, ...y])));
    case "pick": {
      const of = meaning(e.of, sizes);
      return e.indices.map((i) => of[i] as readonly string[]);
    }
    case "cut":
      return meaning(e.of, sizes).slice(e.from, e.to);
  }
}

interface Solved {
  readonly system: AxisSystem;
  readonly atoms: readonly Axis[];
  readonly choices: Choices;
  readonly terms: readonly { readonly axis: Axis; readonly expr: Expr }[];
}

function solve({ sizes, equations }: Problem): Solved {
  const system = new AxisSystem();
  const atoms = sizes.map((n, i) => system.atom(n, `atom${i}`));
  const terms: { axis: Axis; expr: Expr }[] = [];
  const build = (e: Expr): Axis => {
    switch (e.kind) {
      case "atom":
        return atoms[e.at] as Axis;
      case "prod":
        return system.prod(e.parts.map(build));
      case "sum":
        return system.sum(e.parts.map(build));
      case "pick":
        return system.pick(build(e.of), e.indices, AT);
      case "cut": {
        const of = build(e.of);
        const bounds = [e.from, e.to].filter((x) => x > 0 && x < (of.size as number));
        return system.cut(of, bounds, AT)[e.from > 0 ? 1 : 0] as Axis;
      }
    }
  };
  for (const q of equations) {
    const a = build(q.a);
    terms.push({ axis: a, expr: q.a });
    if (q.kind === "pin") system.pin(a, AT);
    else {
      const b = build(q.b);
      terms.push({ axis: b, expr: q.b });
      system.unify(a, b, AT);
    }
  }
  const choices = new Choices(system);
  for (const t of [...atoms, ...terms.map((x) => x.axis)]) choices.layers(t);
  return { system, atoms, choices, terms };
}

/** Base indices that leave with each choice; choices of no base index are left out. */
function signatures(s: Solved): string[][] {
  const leaves = Array.from({ length: s.choices.count }, () => new Set<string>());
  s.atoms.forEach((a, k) => {
    for (const layer of s.choices.layers(a)) for (const [i, c] of layer.entries()) if (c !== ALWAYS) leaves[c]?.add(`${k}.${i}`);
  });
  return leaves.filter((x) => x.size > 0).map((x) => [...x].sort());
}

/** The sets of indices that may leave are the unions of signatures: the ones that are no union of others say it all. */
function generators(all: readonly (readonly string[])[]): string[] {
  const distinct = [...new Map(all.map((x) => [x.join(), new Set(x)])).values()];
  const isUnion = (x: Set<string>) => {
    const inside = distinct.filter((y) => y !== x && [...y].every((i) => x.has(i)));
    return [...x].every((i) => inside.some((y) => y.has(i)));
  };
  return distinct
    .filter((x) => !isUnion(x))
    .map((x) => [...x].sort().join(" "))
    .sort();
}

/** Throws the first equation that `removed` breaks, or term whose kept indices are not what its base indices say. */
function contradiction(p: Problem, s: Solved, removed: readonly number[]): string | undefined {
  const kept = new Kept(s.system, s.choices, removed);
  const gone = new Set<string>();
  s.atoms.forEach((a, k) => {
    const left = kept.indices(a);
    if (left) for (let i = 0; i < (p.sizes[k] as number); i++) if (!left.includes(i)) gone.add(`${k}.${i}`);
  });
  const mask = (e: Expr) => meaning(e, p.sizes).map((all) => all.every((x) => !gone.has(x)));
  for (const [i, q] of p.equations.entries()) {
    const a = mask(q.a);
    if (q.kind === "pin" ? a.includes(false) : mask(q.b).some((x, k) => x !== a[k]))
      return `equation ${i} is broken by removing ${[...gone]}`;
  }
  for (const t of s.terms) {
    const want = mask(t.expr).flatMap((x, k) => (x ? [k] : []));
    const got = kept.indices(t.axis) ?? want.map((_, k) => k);
    if (got.join() !== want.join()) return `${s.system.show(t.axis)} keeps ${got}, its base indices ${want}`;
  }
  return undefined;
}

function expectSound(p: Problem): Solved {
  const s = solve(p);
  const uniform = random("removals");
  const all = Array.from({ length: s.choices.count }, (_, c) => c);
  const trials = [all, ...all.map((c) => [c]), ...Array.from({ length: 8 }, () => all.filter(() => uniform() < 0.4))];
  for (const removed of trials) {
    const wrong = contradiction(p, s, removed);
    if (wrong) throw new Error(`${wrong}\n${JSON.stringify(p)}`);
  }
  return s;
}

/** Classes of a union-find over base indices, for systems without products. */
function unionFind(p: Problem): string[] {
  const parent = new Map<string, string>();
  const root = (x: string): string => {
    const up = parent.get(x);
    return up === undefined || up === x ? x : root(up);
  };
  const pinned = new Set<string>();
  for (const q of p.equations) {
    const a = meaning(q.a, p.sizes).map((x) => x[0] as string);
    if (q.kind === "pin") for (const x of a) pinned.add(x);
    else for (const [k, y] of meaning(q.b, p.sizes).entries()) parent.set(root(a[k] as string), root(y[0] as string));
  }
  const classes = new Map<string, string[]>();
  p.sizes.forEach((n, k) => {
    for (let i = 0; i < n; i++) classes.set(root(`${k}.${i}`), [...(classes.get(root(`${k}.${i}`)) ?? []), `${k}.${i}`]);
  });
  const roots = new Set([...pinned].map(root));
  return [...classes]
    .filter(([r]) => !roots.has(r))
    .map(([, x]) => x.sort().join(" "))
    .sort();
}

const tapes = fc.array(fc.nat({ max: 999 }), { maxLength: 60, size: "max" });

describe("the axis algebra", () => {
  test("without products lets exactly the classes of a union-find over indices leave, one by one", () => {
    fc.assert(
      fc.property(tapes, (tape) => {
        const p = problemOf(tape, false);
        expect(generators(signatures(expectSound(p)))).toEqual(unionFind(p));
      }),
      { numRuns: 3000, seed: 1 },
    );
  });

  test("with products never lets a set leave that an equation forbids", () => {
    fc.assert(
      fc.property(tapes, (tape) => {
        expectSound(problemOf(tape, true));
      }),
      { numRuns: 6000, seed: 2 },
    );
  });

  test("with products freezes few indices that could leave, counted by trying every set", () => {
    let removable = 0;
    let frozen = 0;
    fc.assert(
      fc.property(tapes, (tape) => {
        const p = problemOf(tape, true);
        const bits = p.sizes.reduce((a, b) => a + b, 0);
        if (bits > 14) return;
        const offsets = p.sizes.map((_, k) => p.sizes.slice(0, k).reduce((a, b) => a + b, 0));
        const bit = (x: string) => {
          const [atom, index] = x.split(".").map(Number) as [number, number];
          return 1 << ((offsets[atom] as number) + index);
        };
        const masks = (e: Expr) => meaning(e, p.sizes).map((all) => all.reduce((m, x) => m | bit(x), 0));
        const equations = p.equations.map((q) => [masks(q.a), q.kind === "same" ? masks(q.b) : undefined] as const);
        const atoms = p.sizes.map((n, k) => ((1 << n) - 1) << (offsets[k] as number));
        let canLeave = 0;
        for (let kept = 0; kept < 1 << bits; kept++) {
          if (atoms.some((a) => (kept & a) === 0)) continue;
          const has = (m: number) => (kept & m) === m;
          if (equations.every(([a, b]) => a.every((m, i) => (b ? has(m) === has(b[i] as number) : has(m))))) canLeave |= ~kept;
        }
        const s = solve(p);
        const free = new Set(signatures(s).flat());
        p.sizes.forEach((n, k) => {
          for (let i = 0; i < n; i++) {
            if ((canLeave & bit(`${k}.${i}`)) === 0) continue;
            removable++;
            if (!free.has(`${k}.${i}`)) frozen++;
          }
        });
      }),
      { numRuns: 1500, seed: 5 },
    );
    // Measured: 40 of 2499. Pinning is our policy where terms disagree; this is its price.
    expect(removable).toBeGreaterThan(1000);
    expect(frozen / removable).toBeLessThan(0.025);
  });

  test("with products rarely depends on the order of equations", () => {
    let same = 0;
    let all = 0;
    fc.assert(
      fc.property(tapes, fc.nat(), (tape, seed) => {
        const p = problemOf(tape, true);
        if (p.equations.length < 2) return;
        const other = { ...p, equations: shuffled(p.equations, random(seed)) };
        all++;
        if (generators(signatures(solve(other))).join("|") === generators(signatures(solve(p))).join("|")) same++;
      }),
      { numRuns: 2000, seed: 4 },
    );
    // Measured: 1429 of 1434; the rest keeps more in one order than in the other, never too little.
    expect(same / all).toBeGreaterThan(0.99);
  });

  test("without products does not depend on the order of equations", () => {
    fc.assert(
      fc.property(tapes, fc.nat(), (tape, seed) => {
        const p = problemOf(tape, false);
        const other = { ...p, equations: shuffled(p.equations, random(seed)) };
        expect(generators(signatures(solve(other)))).toEqual(generators(signatures(solve(p))));
      }),
      { numRuns: 2000, seed: 3 },
    );
  });
});
