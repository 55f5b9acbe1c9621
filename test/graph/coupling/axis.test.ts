/** The constructors of the axis algebra one by one; axis-algebra.test.ts holds them against their meaning. */
import { describe, expect, test } from "vitest";
import { type Axis, AxisSystem, type Reason } from "../../../src/graph/coupling/axis.js";
import { Choices, Kept } from "../../../src/graph/coupling/choices.js";

const AT: Reason = { text: "they are one axis", node: "n" };

/** Indices of `axis` that leave when the choice at index `i` of `from` does. */
function leaving(system: AxisSystem, from: Axis, i: number, axis: Axis): number[] {
  const choices = new Choices(system);
  const removed = choices.layers(from).map((layer) => layer[i] as number);
  choices.layers(axis);
  const left = new Set(new Kept(system, choices, removed).indices(axis) ?? Array.from({ length: axis.size as number }, (_, k) => k));
  return Array.from({ length: axis.size as number }, (_, k) => k).filter((k) => !left.has(k));
}

describe("unify", () => {
  test("merges two atoms: an index of one leaves with the same index of the other", () => {
    const s = new AxisSystem();
    const [a, b] = [s.atom(4, "a"), s.atom(4, "b")];
    s.unify(a, b, AT);
    expect(s.find(a)).toBe(s.find(b));
    expect(leaving(s, b, 2, a)).toEqual([2]);
    expect(s.show(b)).toMatchInlineSnapshot(`"a(4)"`);
  });

  test("gives an atom the structure of what it meets, wherever it occurs", () => {
    const s = new AxisSystem();
    const a = s.atom(6, "a");
    const before = s.sum([a, s.atom(2, "z")]);
    s.unify(a, s.prod([s.atom(2, "h"), s.atom(3, "d")]), AT);
    expect(s.show(before)).toMatchInlineSnapshot(`"[(h(2) * d(3)) | z(2)]"`);
    expect(leaving(s, s.find(a), 4, before)).toEqual([1, 3, 4, 5]);
  });

  test("refines products by common factors", () => {
    const s = new AxisSystem();
    const p = s.prod([s.atom(4, "a"), s.atom(6, "b")]);
    const q = s.prod([s.atom(2, "c"), s.atom(12, "d")]);
    s.unify(p, q, AT);
    expect(s.show(p)).toMatchInlineSnapshot(`"((c(2) * a(2)) * b(6))"`);
    expect(s.show(q)).toMatchInlineSnapshot(`"(c(2) * (a(2) * b(6)))"`);
  });

  test("goes index by index where radices do not nest", () => {
    const s = new AxisSystem();
    const p = s.prod([s.atom(3, "a"), s.atom(4, "b")]);
    const q = s.prod([s.atom(2, "c"), s.atom(6, "d")]);
    s.unify(p, q, AT);
    // Columns of 4 and columns of 6 agree on odd and even; nothing else of the two readings does.
    const leavings = new Set(Array.from({ length: 12 }, (_, i) => leaving(s, p, i, p).join(" ")));
    expect([...leavings].sort()).toMatchInlineSnapshot(`
      [
        "",
        "1 3 4 5 6 7 8 9 10 11",
        "1 3 5 7 9 11",
        "4 5 6 7 8 9 10 11",
      ]
    `);
    expect(leaving(s, p, 0, q)).toEqual(leaving(s, p, 0, p));
  });

  test("merges the cut points of two sums", () => {
    const s = new AxisSystem();
    const p = s.sum([s.atom(4, "a"), s.atom(6, "b")]);
    const q = s.sum([s.atom(7, "c"), s.atom(3, "d")]);
    s.unify(p, q, AT);
    expect(s.show(p)).toMatchInlineSnapshot(`"[[a(4) | b(3)] | d(3)]"`);
    expect(leaving(s, q, 5, p)).toEqual([5]);
  });

  test("cuts the outer factor of a product where a sum is cut between rows", () => {
    const s = new AxisSystem();
    const sum = s.sum([s.atom(4, "a"), s.atom(8, "b")]);
    const product = s.prod([s.atom(3, "g"), s.atom(4, "i")]);
    s.unify(sum, product, AT);
    // Index 5 is row 1, column 1: the column leaves with it, in every row.
    expect(leaving(s, sum, 5, sum)).toEqual([1, 4, 5, 6, 7, 9]);
    expect(s.show(sum)).toMatchInlineSnapshot(`"[(g(1) * i(4)) | (g(2) * i(4))]"`);
  });

  test("cuts inside rows as well where a sum is cut there", () => {
    const s = new AxisSystem();
    const sum = s.sum([s.atom(6, "a"), s.atom(6, "b")]);
    s.unify(sum, s.prod([s.atom(3, "g"), s.atom(4, "i")]), AT);
    expect(s.reason(sum)).toBeUndefined();
    expect(leaving(s, sum, 0, sum)).toEqual([0, 1, 2, 3, 4, 8]);
  });

  test("makes one axis of factors that would have to trade places", () => {
    const s = new AxisSystem();
    const [h, d] = [s.atom(2, "h"), s.atom(2, "d")];
    const p = s.prod([h, d]);
    s.unify(s.prod([d, h]), p, AT);
    expect(s.show(p)).toMatchInlineSnapshot(`"(h(2) * h(2))"`);
  });

  test("knows an axis again behind true extents of 1", () => {
    const s = new AxisSystem();
    const a = s.atom(4, "a");
    s.unify(a, s.prod([s.atom(1, "one"), a]), AT);
    expect(s.reason(a)).toBeUndefined();
  });

  test("couples a flip of heads × dims factor by factor", () => {
    // a1·b1 = a2·b2 was once a reason to keep all four.
    const s = new AxisSystem();
    const p = s.prod([s.atom(2, "h"), s.atom(4, "d")]);
    s.unify(s.pick(p, [7, 6, 5, 4, 3, 2, 1, 0], AT), p, AT);
    expect(leaving(s, p, 1, p)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    const [, d] = s.split(p, [2, 4], AT) as [Axis, Axis];
    expect(leaving(s, d, 1, p)).toEqual([1, 2, 5, 6]);
  });

  test("keeps both whole where extents cannot be shown to be equal", () => {
    const s = new AxisSystem();
    const [a, b] = [s.atom(4, "a"), s.atom("N", "b")];
    s.unify(a, b, AT);
    expect(s.reason(a)).toMatchInlineSnapshot(`
      {
        "node": "n",
        "text": "extents 4 and N cannot be shown to be equal",
      }
    `);
  });

  test("does not depend on which of two equations came first", () => {
    const shows = [0, 1].map((first) => {
      const s = new AxisSystem();
      const a = s.atom(12, "a");
      const equations = [
        () => s.unify(a, s.prod([s.atom(3, "g"), s.atom(4, "i")]), AT),
        () => s.unify(s.pick(a, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0], AT), a, AT),
      ];
      equations[first]?.();
      equations[1 - first]?.();
      return Array.from({ length: 12 }, (_, i) => leaving(s, a, i, a).join());
    });
    expect(shows[0]).toEqual(shows[1]);
  });
});

describe("pinning", () => {
  test("passes to everything that is the same axis, and the first reason stays", () => {
    const s = new AxisSystem();
    const [a, b] = [s.atom(4, "a"), s.atom(4, "b")];
    s.pin(a, { text: "first" });
    s.pin(a, { text: "second" });
    s.unify(b, a, AT);
    expect([s.reason(a)?.text, s.reason(b)?.text]).toEqual(["first", "first"]);
    expect(s.show(b)).toMatchInlineSnapshot(`"a(4)!"`);
  });

  test("one factor of a product leaves the others free", () => {
    const s = new AxisSystem();
    const [h, d] = [s.atom(2, "h"), s.atom(3, "d")];
    const p = s.prod([h, d]);
    s.pin(d, AT);
    expect(s.reason(p)).toBeUndefined();
    expect(s.show(p)).toMatchInlineSnapshot(`"(h(2) * d(3)!)"`);
    expect(leaving(s, h, 1, p)).toEqual([3, 4, 5]);
    s.pin(h, { text: "and the heads" });
    expect(s.reason(p)?.text).toBe("and the heads");
  });

  test("one index among many leaves the others free", () => {
    const s = new AxisSystem();
    const a = s.atom(4, "a");
    s.pin(s.pick(a, [2], AT), AT);
    expect(s.reason(a)).toBeUndefined();
    expect(leaving(s, a, 1, a)).toEqual([1]);
    expect(s.show(a)).toMatchInlineSnapshot(`"[a(2) | a(1)! | a(1)]"`);
  });

  test("an extent of 1, 0 or of a symbol is pinned at birth", () => {
    const s = new AxisSystem();
    expect([1, 0, "N"].map((n) => s.reason(s.atom(n, "a"))?.text)).toMatchInlineSnapshot(`
      [
        "an axis of extent 1 broadcasts and cannot lose its only index",
        "its extent is 0",
        "its extent N is known only at run time",
      ]
    `);
  });
});

describe("cut", () => {
  test("refines an atom in place, and again at other places", () => {
    const s = new AxisSystem();
    const a = s.atom(6, "a");
    const [left] = s.cut(a, [2], AT);
    const [, middle] = s.cut(a, [1, 4], AT);
    expect(s.show(a)).toMatchInlineSnapshot(`"[[a(1) | a(1)] | [a(2) | a(2)]]"`);
    expect(leaving(s, a, 1, left as Axis)).toEqual([1]);
    expect(leaving(s, a, 1, middle as Axis)).toEqual([0]);
  });

  test("pieces of one axis are one clan: their indices are one group's channels", () => {
    const s = new AxisSystem();
    const a = s.atom(6, "a");
    const [left, right] = s.cut(a, [2], AT) as [Axis, Axis];
    expect(s.clanOf(left)).toBe(s.clanOf(right));
    expect(s.clanOf(left)).not.toBe(s.clanOf(s.atom(6, "b")));
  });
});

describe("split", () => {
  test("factors are choices of their own, extents of 1 belong to none", () => {
    const s = new AxisSystem();
    const a = s.atom(12, "a");
    const [g, one, i] = s.split(a, [3, 1, 4], AT) as [Axis, Axis, Axis];
    expect(leaving(s, g, 2, a)).toEqual([8, 9, 10, 11]);
    expect(s.reason(one)?.text).toMatch(/extent 1/);
    // Each row has its own; read without the rows they are one.
    const rows = s.members(i).map((m) => m.axis);
    expect(rows.map((m) => leaving(s, m, 0, a))).toEqual([[0], [4], [8]]);
    s.collapse(i, AT);
    expect(leaving(s, i, 0, a)).toEqual([0, 4, 8]);
  });

  test("a symbolic factor is pinned, the known one stays free", () => {
    const s = new AxisSystem();
    const a = s.prod([s.fixed("N", "batch", AT), s.atom(6, "c")]);
    const [n, h, d] = s.split(a, ["N", 2, 3], AT) as [Axis, Axis, Axis];
    expect(s.reason(n)).toBeDefined();
    expect([h, d].map((x) => s.reason(x))).toEqual([undefined, undefined]);
  });
});

describe("pick", () => {
  test("runs are cuts, whole rows are picks of the outer factor, the rest is index by index", () => {
    const s = new AxisSystem();
    const a = s.atom(6, "a");
    expect(s.show(s.pick(a, [2, 3], AT))).toMatchInlineSnapshot(`"a(2)"`);
    const p = s.prod([s.atom(3, "g"), s.atom(2, "i")]);
    expect(s.show(s.pick(p, [4, 5, 0, 1], AT))).toMatchInlineSnapshot(`"({g#2 g#0} * i(2))"`);
    const b = s.atom(4, "b");
    expect(s.show(s.pick(b, [3, 0, 0], AT))).toMatchInlineSnapshot(`"{b#3 b#0 b#0}"`);
  });

  test("runs that begin inside a row are no picks of rows", () => {
    const s = new AxisSystem();
    const p = s.prod([s.atom(3, "g"), s.atom(2, "i")]);
    const rolled = s.pick(p, [3, 4, 5, 0, 1, 2], AT);
    expect(leaving(s, s.find(p), 0, rolled)).toEqual(
      leaving(s, s.find(p), 0, p)
        .map((k) => (k + 3) % 6)
        .sort(),
    );
  });

  test("a permutation against itself is its cycles", () => {
    const s = new AxisSystem();
    const a = s.atom(6, "a");
    s.unify(a, s.pick(a, [1, 2, 0, 3, 5, 4], AT), AT);
    expect([0, 3, 4].map((i) => leaving(s, a, i, a))).toEqual([[0, 1, 2], [3], [4, 5]]);
  });

  test("a unit may be the AND of others", () => {
    const s = new AxisSystem();
    const [h, d, b] = [s.atom(2, "h"), s.atom(2, "d"), s.atom(4, "b")];
    // Every index of b is one cell of h × d, in another order.
    s.unify(b, s.pick(s.prod([h, d]), [3, 1, 2, 0], AT), AT);
    expect(s.show(b)).toMatchInlineSnapshot(`"{h#1&d#1 h#0&d#1 h#1&d#0 h#0&d#0}"`);
    expect(leaving(s, h, 0, b)).toEqual([1, 3]);
    expect(leaving(s, d, 1, b)).toEqual([0, 1]);
  });

  test("a unit whose factors are all kept is kept for their reason", () => {
    for (const [h1, d1] of [
      [true, false],
      [false, true],
      [false, false],
    ]) {
      const s = new AxisSystem();
      const [h, d, b] = [s.atom(2, "h"), s.atom(2, "d"), s.atom(4, "b")];
      if (h1) s.pin(h, { text: "heads" });
      if (d1) s.pin(d, { text: "dims" });
      s.unify(b, s.pick(s.prod([h, d]), [3, 1, 2, 0], AT), AT);
      s.pin(h, { text: "heads" });
      s.pin(d, { text: "dims" });
      expect(s.reason(b)?.text).toMatch(/heads|dims/);
    }
  });

  test("nothing is an axis of extent 0", () => {
    const s = new AxisSystem();
    expect(s.pick(s.atom(4, "a"), [], AT).size).toBe(0);
  });
});

describe("family", () => {
  test("members are unified row by row, and so are the rows", () => {
    const s = new AxisSystem();
    const [p, q] = [s.atom(2, "p"), s.atom(2, "q")];
    const f = s.family([s.atom(3, "a"), s.atom(3, "b")], p, "w:1");
    const g = s.family([s.atom(3, "c"), s.atom(3, "d")], q, "v:1");
    s.unify(f, g, AT);
    expect(s.show(g)).toMatchInlineSnapshot(`"each{a(3); b(3)}"`);
    expect(s.find(p)).toBe(s.find(q));
  });

  test("an axis that becomes one depends on the rows, whatever it is made of", () => {
    const s = new AxisSystem();
    const rows = s.atom(2, "rows");
    const family = s.family([s.atom(6, "a"), s.atom(6, "b")], rows, "w:1");
    const [x, y] = [s.atom(2, "x"), s.atom(4, "y")];
    s.unify(s.sum([x, y]), family, AT);
    expect([x, y].map((t) => s.show(t))).toEqual(["each{x(2); x(2)}", "each{y(4); y(4)}"]);
  });

  test("flattened after its rows it is a sum over them, a row and its member", () => {
    const s = new AxisSystem();
    const rows = s.atom(2, "rows");
    const [a, b] = [s.atom(3, "a"), s.atom(3, "b")];
    const flat = s.prod([rows, s.family([a, b], rows, "w:1")]);
    expect(s.show(flat)).toBe("[(rows(1) * a(3)) | (rows(1) * b(3))]");
    expect(leaving(s, rows, 1, flat)).toEqual([3, 4, 5]);
    expect(leaving(s, a, 2, flat)).toEqual([2]);
    expect(leaving(s, b, 0, flat)).toEqual([3]);
  });

  test("flattened before its rows, or read index by index, its members are one", () => {
    for (const read of [
      (s: AxisSystem, f: Axis, rows: Axis) => s.find(s.prod([f, rows])),
      (s: AxisSystem, f: Axis) => s.unitsOf(f, AT),
      (s: AxisSystem, f: Axis) => s.unify(f, s.pick(s.atom(6, "x"), [5, 4, 3, 2, 1, 0], AT), AT),
    ]) {
      const s = new AxisSystem();
      const [a, b, rows] = [s.atom(6, "a"), s.atom(6, "b"), s.atom(2, "rows")];
      read(s, s.family([a, b], rows, "w:1"), rows);
      expect(s.find(a)).toBe(s.find(b));
    }
  });

  test("cut and picked from, it is cut and picked from in every row", () => {
    const s = new AxisSystem();
    const f = s.family([s.atom(4, "a"), s.atom(4, "b")], s.atom(2, "rows"), "w:1");
    expect(s.cut(f, [1], AT).map((p) => s.show(p))).toEqual(["each{a(1); b(1)}", "each{a(3); b(3)}"]);
    expect(s.show(s.pick(f, [3, 0], AT))).toBe("each{{a#2 a#0}; {b#2 b#0}}");
  });

  test("an axis cannot depend on itself", () => {
    const s = new AxisSystem();
    const rows = s.atom(2, "rows");
    const f = s.family([s.atom(2, "a"), s.atom(2, "b")], rows, "w:1");
    s.unify(rows, f, AT);
    expect(new Set([rows, f, ...s.members(f).map((m) => m.axis)].map((x) => s.find(x))).size).toBe(1);
  });
});
