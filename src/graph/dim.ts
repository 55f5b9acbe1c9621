/**
 * Extents that may be symbolic. A Dim is a number, or the canonical text of a polynomial with integer coefficients
 * over symbols and opaque terms: "N", "2*N + 1", "N*floor((H + 1)/2)". Equal texts are equal extents; unequal texts
 * may still be equal at run time, so "not equal" is never concluded from symbols.
 */

export type Dim = number | string;

/** monomial text ("" for the constant) -> coefficient */
type Poly = Map<string, number>;

const CONSTANT = "";
/** Products of more terms are not multiplied out: of three such products the next would have millions. */
const MOST_TERMS = 256;

export function isKnown(d: Dim): d is number {
  return typeof d === "number";
}

export function add(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a + b;
  const p = new Map(parse(a));
  for (const [m, c] of parse(b)) p.set(m, (p.get(m) ?? 0) + c);
  return print(p);
}

export function sub(a: Dim, b: Dim): Dim {
  return add(a, mul(b, -1));
}

export function mul(a: Dim, b: Dim): Dim {
  // + 0: an extent is never -0.
  if (typeof a === "number" && typeof b === "number") return a * b + 0;
  const p: Poly = new Map();
  const [left, right] = [parse(a), parse(b)];
  if (left.size * right.size > MOST_TERMS) return opaque("product", [a, b].sort());
  for (const [m, c] of left) {
    for (const [n, d] of right) {
      const key = [...factors(m), ...factors(n)].sort().join("*");
      p.set(key, (p.get(key) ?? 0) + c * d);
    }
  }
  return print(p);
}

export function product(dims: readonly Dim[]): Dim {
  return dims.reduce<Dim>(mul, 1);
}

/** a / b where it divides exactly as polynomials; undefined otherwise. */
export function exactDiv(a: Dim, b: Dim): Dim | undefined {
  if (typeof a === "number" && typeof b === "number") return b !== 0 && a % b === 0 ? a / b + 0 : undefined;
  if (a === b) return 1;
  if (a === 0) return b === 0 ? undefined : 0;
  const q = parse(b);
  // Division by a single monomial is all that shapes need: N*C*H / (C*H), 48*N / 48.
  if (q.size !== 1) return divideByFactor(a, b);
  const [m, c] = [...q][0] as [string, number];
  const out: Poly = new Map();
  for (const [n, d] of parse(a)) {
    if (d % c !== 0) return undefined;
    const left = factors(n);
    for (const f of factors(m)) {
      const at = left.indexOf(f);
      if (at < 0) return undefined;
      left.splice(at, 1);
    }
    out.set(left.join("*"), d / c);
  }
  return print(out);
}

/** floor(a / b), folded where it is exact or numeric. */
export function floorDiv(a: Dim, b: number): Dim {
  if (typeof a === "number") return Math.floor(a / b) + 0;
  const exact = exactDiv(a, b);
  if (exact !== undefined) return exact;
  // Pull out what divides: floor((4*H + 3)/2) = 2*H + floor(3/2).
  const inside: Poly = new Map();
  const outside: Poly = new Map();
  for (const [m, c] of parse(a)) {
    if (m === CONSTANT) {
      const r = ((c % b) + b) % b;
      outside.set(m, (c - r) / b);
      inside.set(m, r);
    } else if (c % b === 0) outside.set(m, c / b);
    else inside.set(m, c);
  }
  const rest = print(inside);
  return add(print(outside), typeof rest === "number" ? Math.floor(rest / b) : `floor((${rest})/${b})`);
}

export function ceilDiv(a: Dim, b: number): Dim {
  return typeof a === "number" ? Math.ceil(a / b) + 0 : floorDiv(add(a, b - 1), b);
}

/** An opaque term for something this algebra does not compute, e.g. `opaque("max", [a, b])`. */
export function opaque(name: string, args: readonly Dim[]): Dim {
  return `${name}(${args.join(", ")})`;
}

/** A dim as a sum of products: coefficients with their factors, each a symbol or an opaque term. */
export function terms(d: Dim): readonly { readonly coefficient: number; readonly factors: readonly string[] }[] {
  return [...parse(d)].filter(([, c]) => c !== 0).map(([m, coefficient]) => ({ coefficient, factors: factors(m) }));
}

/** The value under an assignment of symbols; undefined when a symbol is missing. */
export function evaluate(d: Dim, symbols: ReadonlyMap<string, number>): number | undefined {
  if (typeof d === "number") return d;
  let total = 0;
  for (const [m, c] of parse(d)) {
    let t = c;
    for (const f of factors(m)) {
      const v = symbols.get(f) ?? evaluateCall(f, symbols);
      if (v === undefined) return undefined;
      t *= v;
    }
    total += t;
  }
  return total;
}

/** The calls that `floorDiv` and `opaque` write, where arithmetic has a rule for them. */
const CALLS: ReadonlyMap<string, (...x: number[]) => number | undefined> = new Map([
  ["min", (a, b) => Math.min(a, b)],
  ["max", (a, b) => Math.max(a, b)],
  ["product", (a, b) => a * b],
  // Extents that broadcast: the one that is not 1. If neither is, the node fails at run time.
  ["broadcast", (a, b) => (a === 1 ? b : b === 1 || a === b ? a : undefined)],
  ["div", (a, b) => (b === 0 ? undefined : Math.trunc(a / b))],
  ["mod", (a, b) => (b === 0 ? undefined : a - b * Math.floor(a / b))],
  ["equal", (a, b) => (a === b ? 1 : 0)],
  ["less", (a, b) => (a < b ? 1 : 0)],
  ["not", (a) => (a === 0 ? 1 : 0)],
  ["where", (condition, a, b) => (condition === 0 ? b : a)],
] as [string, (...x: number[]) => number | undefined][]);

function evaluateCall(f: string, symbols: ReadonlyMap<string, number>): number | undefined {
  if (!f.endsWith(")")) return undefined;
  if (f.startsWith("floor((")) {
    const slash = f.lastIndexOf(")/");
    const inner = evaluate(f.slice("floor((".length, slash), symbols);
    const by = Number(f.slice(slash + 2, -1));
    return inner === undefined ? undefined : Math.floor(inner / by);
  }
  const open = f.indexOf("(");
  const call = CALLS.get(f.slice(0, open));
  const args = call && splitArguments(f.slice(open + 1, -1)).map((a) => evaluate(a, symbols));
  return args?.every((a) => a !== undefined) ? call?.(...args) : undefined;
}

/** Splits at top-level ", ". */
function splitArguments(text: string): string[] {
  const out: string[] = [];
  let depth = 0;
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "(") depth++;
    else if (text[i] === ")") depth--;
    else if (depth === 0 && text.startsWith(", ", i)) {
      out.push(text.slice(from, i));
      from = i + 2;
    }
  }
  out.push(text.slice(from));
  return out;
}

/** Quotient by a polynomial that is one of the textual factors, e.g. "N*floor((H + 1)/2)" by itself times something. */
function divideByFactor(a: Dim, b: Dim): Dim | undefined {
  if (typeof a === "number") return undefined;
  // (x + y)*k expands to k*x + k*y: try the ratio of leading coefficients.
  const p = [...parse(a)];
  const q = [...parse(b)];
  if (p.length !== q.length) return undefined;
  for (const [n, d] of p) {
    const [m, c] = q[0] as [string, number];
    const ratio = exactDiv(print(new Map([[n, d]])), print(new Map([[m, c]])));
    if (ratio !== undefined && mul(b, ratio) === a) return ratio;
  }
  return undefined;
}

function parse(d: Dim): Poly {
  if (typeof d === "number") return new Map([[CONSTANT, d]]);
  const p: Poly = new Map();
  for (const [sign, term] of splitTerms(d)) {
    const parts = factors(term);
    let c = sign;
    const rest: string[] = [];
    for (const f of parts) {
      if (/^\d+$/.test(f)) c *= Number(f);
      else rest.push(f);
    }
    const key = rest.sort().join("*");
    p.set(key, (p.get(key) ?? 0) + c);
  }
  return p;
}

/** Splits at top-level " + " and " - ": our own spelling; any other text is one opaque symbol. */
function splitTerms(text: string): [number, string][] {
  const out: [number, string][] = [];
  let depth = 0;
  let from = 0;
  let sign = 1;
  if (text.startsWith("-")) {
    sign = -1;
    from = 1;
  }
  for (let i = from; i < text.length; i++) {
    const c = text[i];
    if (c === "(") depth++;
    else if (c === ")") depth--;
    else if (depth === 0 && c === " " && (text.startsWith(" + ", i) || text.startsWith(" - ", i))) {
      out.push([sign, text.slice(from, i)]);
      sign = text[i + 1] === "+" ? 1 : -1;
      from = i + 3;
      i += 2;
    }
  }
  out.push([sign, text.slice(from)]);
  return out;
}

/** Splits a monomial at top-level "*". */
function factors(monomial: string): string[] {
  if (monomial === CONSTANT) return [];
  const out: string[] = [];
  let depth = 0;
  let from = 0;
  for (let i = 0; i < monomial.length; i++) {
    const c = monomial[i];
    if (c === "(") depth++;
    else if (c === ")") depth--;
    else if (c === "*" && depth === 0) {
      out.push(monomial.slice(from, i));
      from = i + 1;
    }
  }
  out.push(monomial.slice(from));
  return out;
}

function print(p: Poly): Dim {
  const parts = [...p].filter(([, c]) => c !== 0);
  if (parts.length === 0) return 0;
  if (parts.length === 1 && parts[0]?.[0] === CONSTANT) return (parts[0] as [string, number])[1];
  // Symbols first, by text; the constant last.
  parts.sort(([a], [b]) => (a === CONSTANT ? 1 : b === CONSTANT ? -1 : a < b ? -1 : 1));
  let text = "";
  for (const [m, c] of parts) {
    const abs = Math.abs(c);
    const body = m === CONSTANT ? `${abs}` : abs === 1 ? m : `${abs}*${m}`;
    if (text === "") text = c < 0 ? `-${body}` : body;
    else text += c < 0 ? ` - ${body}` : ` + ${body}`;
  }
  return text;
}
