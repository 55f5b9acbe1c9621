/** The iota probe over random cases of every operator that moves elements, and over rules that are wrong on purpose. */
import { describe, expect, test } from "vitest";
import type { AxisContext } from "../../../src/graph/coupling/context.js";
import type { OpSpec } from "../../../src/graph/op.js";
import { allSpecs } from "../../../src/graph/ops/index.js";
import { type Finding, probe } from "../../support/iota.js";
import { draws, movement } from "../../support/movements.js";

/** Random cases of each operator. */
const CASES = 16;
/** Cases after which a wrong rule counts as missed. */
const TRIES = 60;

describe("where ONNX Runtime moves elements is where the axis rule says", () => {
  test("there are cases of every operator that only moves elements", () => {
    const movers = allSpecs.filter((s) => s.moves !== undefined && !s.domain).map((s) => s.type);
    expect(movers.filter((op) => !(op in draws))).toEqual([]);
  });

  for (const op of Object.keys(draws))
    test(op, async () => {
      const found: Finding[] = [];
      for (let n = 0; n < CASES; n++) {
        const seed = `${op} ${n}`;
        const finding = await probe(movement(op, seed), seed);
        expect(finding.faults, `seed "${seed}": ${describeCase(op, seed)}`).toEqual([]);
        found.push(finding);
      }
      // A rule that keeps everything whole is never wrong: something must be able to leave.
      expect(found.filter((f) => f.freeOut > 0).length).toBeGreaterThan(CASES / 4);
    });
});

type Words = Partial<AxisContext>;

/**
 * Ways to get a rule wrong: one word of the vocabulary, misused wherever the rule says it. `note` is told when that makes
 * a difference: a true extent of 1 is kept whole anyway, and one part has no order.
 */
const MISUSES: Readonly<Record<string, (op: AxisContext, note: () => void) => Words>> = {
  "nothing is kept whole": (_, note) => ({ freeze: (a) => a.size !== 1 && note() }),
  "nothing is the same": (_, note) => ({ same: (a) => a.size !== 1 && note() }),
  "factors in reverse": (op, note) => ({
    prod(parts) {
      if (parts.filter((p) => p.size !== 1).length > 1) note();
      return op.prod([...parts].reverse());
    },
  }),
  "parts in reverse": (op, note) => ({
    sum(parts) {
      if (parts.length > 1) note();
      return op.sum([...parts].reverse());
    },
  }),
  "split the other way round": (op, note) => ({
    split(a, sizes) {
      if (sizes.filter((n) => n !== 1).length > 1) note();
      return op.split(a, [...sizes].reverse()).reverse();
    },
  }),
  "cut one before": (op, note) => ({
    cut(a, offsets) {
      const before = offsets.map((o) => o - 1).filter((o) => o > 0);
      if (before.length > 0) note();
      return op.cut(a, before);
    },
  }),
  "picked in reverse": (op, note) => ({
    pick(a, indices) {
      const reverse = [...indices].reverse();
      if (`${reverse}` !== `${indices}`) note();
      return op.pick(a, reverse);
    },
  }),
  "picked one further": (op, note) => ({
    pick(a, indices) {
      if (indices.length > 0 && a.size !== 1) note();
      return op.pick(
        a,
        indices.map((i) => (i + 1) % (a.size as number)),
      );
    },
  }),
  "axes of the output turned round": (op, note) => ({
    out(i, axes) {
      if (axes.filter((a) => a.size !== 1).length > 1) note();
      op.out(i, [...axes.slice(1), ...axes.slice(0, 1)]);
    },
  }),
  "axes of the output are new": (op, note) => ({
    out(i) {
      note();
      op.out(
        i,
        op.outShape(i).map((d) => op.atom(d)),
      );
    },
  }),
  "axes of the output are kept": (op, note) => ({
    out(i) {
      note();
      op.out(
        i,
        op.outShape(i).map((d) => op.fixed(d, "wrongly")),
      );
    },
  }),
};

describe("a rule that is wrong is caught", () => {
  let planted = 0;
  test.each(Object.keys(draws))("%s", async (op) => {
    const spec = allSpecs.find((s) => s.type === op && !s.domain) as OpSpec;
    const missed: string[] = [];
    for (const [misuse, words] of Object.entries(MISUSES)) {
      let isPlanted = false;
      let isCaught = false;
      for (let n = 0; n < TRIES && !isCaught; n++) {
        let differs = false;
        const note = () => {
          differs = true;
        };
        const wrong: OpSpec = { ...spec, axes: (c) => spec.axes?.({ ...c, ...words(c, note) }) };
        const seed = `${op} ${n}`;
        isCaught = await probe(movement(op, seed), seed, wrong, () => differs).then(
          (f) => f.faults.length > 0,
          () => true,
        );
        isPlanted ||= differs;
      }
      if (isPlanted) planted++;
      if (isPlanted && !isCaught) missed.push(misuse);
    }
    expect(missed).toEqual([]);
  });

  test("in more ways than a few", () => {
    expect(planted).toBeGreaterThan(100);
  });
});

function describeCase(op: string, seed: string): string {
  const { inputs, attributes, opset } = movement(op, seed);
  const shown = inputs.map((i) => (i && "dims" in i ? `${[...i.ints()]} of [${i.dims}]` : i ? `iota [${i}]` : "absent"));
  return `opset ${opset} ${JSON.stringify(attributes ?? {})} ${shown.join("; ")}`;
}
