/** Every operator of the ONNX standard has a defined place here (fixtures/onnx-operators.json is written by scripts/onnx-operators.py). */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Node } from "../src/graph/graph.js";
import { allSpecs, NEWEST_OPSETS, specOf } from "../src/graph/ops/index.js";

interface Operator {
  /** Versions of its domain that defined it anew. */
  readonly since: readonly number[];
  /** Those of them in which it is no longer valid. */
  readonly deprecated?: readonly number[];
}

interface Standard {
  readonly onnx: string;
  readonly domains: Readonly<Record<string, Readonly<Record<string, Operator>>>>;
}

const standard = JSON.parse(readFileSync(new URL("fixtures/onnx-operators.json", import.meta.url), "utf8")) as Standard;

/** The oldest opset whose models are read; older definitions are read where they cost nothing. */
const OLDEST: Readonly<Record<string, number>> = { "ai.onnx": 7 };

/** Definitions from OLDEST on that are deliberately not read. */
const UNREAD: Readonly<Record<string, string>> = {
  "ai.onnx.Scan 8": "it has a batch axis and sequence_lens, which no exporter writes; version 9 dropped them",
};

/** Deprecated definitions that runtimes still run. */
const STILL_VALID: Readonly<Record<string, string>> = {
  "ai.onnx.GroupNormalization 18": "deprecated for what its scale means, not invalid: ONNX Runtime runs it",
};

/** Operators without an axis rule or a barrier yet, or without an end-to-end test among those of the standard operators. */
const OPEN: Readonly<Record<string, string>> = {
  ConvInteger: "quantised",
  QLinearConv: "quantised",
  MatMulInteger: "quantised",
  QLinearMatMul: "quantised",
  DynamicQuantizeLinear: "quantised",
};

const specs = new Map(allSpecs.map((s) => [`${s.domain || "ai.onnx"}.${s.type}`, s]));
const rows = Object.entries(standard.domains).flatMap(([domain, operators]) =>
  Object.entries(operators).map(([type, { since, deprecated = [] }]) => {
    const newest = NEWEST_OPSETS.get(domain === "ai.onnx" ? "" : domain) ?? 0;
    const read = since.filter((v) => v <= newest);
    const name = `${domain}.${type}`;
    const end = read.find((v) => deprecated.includes(v) && !(`${name} ${v}` in STILL_VALID));
    const valid = read.filter((v) => end === undefined || v < end);
    return { name, domain, type, newest, since: read, valid, end };
  }),
);

/** Definitions in force at some opset from the oldest that is read on. */
function inForce(domain: string, versions: readonly number[]): number[] {
  const oldest = OLDEST[domain] ?? 1;
  return versions.filter((v, i) => v >= oldest || (versions[i + 1] ?? Number.POSITIVE_INFINITY) > oldest);
}

describe(`the operators of ONNX (as of the package onnx ${standard.onnx})`, () => {
  const current = rows.filter((r) => inForce(r.domain, r.valid).length > 0);

  it("are a list worth checking against", () => {
    expect(current.length).toBeGreaterThan(210);
    expect(current.filter((r) => r.domain === "ai.onnx").length).toBeGreaterThan(180);
  });

  it("each have a spec", () => {
    expect(current.filter((r) => !specs.has(r.name)).map((r) => r.name)).toEqual([]);
  });

  it("each say which axes are the same, or why none may lose an index", () => {
    const silent = current.filter((r) => !specs.get(r.name)?.axes && !(r.type in OPEN)).map((r) => r.name);
    expect(silent).toEqual([]);
  });

  it("have specs whose versions are those of the standard, without a gap from the oldest opset on", () => {
    const wrong = current.flatMap((r) => {
      const spec = specs.get(r.name);
      const expected = inForce(r.domain, r.valid).filter((v) => !(`${r.name} ${v}` in UNREAD));
      const got = inForce(r.domain, spec?.since ?? []);
      return `${got}` === `${expected}` ? [] : [`${r.name}: ${got} instead of ${expected}`];
    });
    expect(wrong).toEqual([]);
  });

  it("have specs that claim no version the standard does not know", () => {
    const known = new Map(rows.map((r) => [r.name, r.since]));
    const made = [...specs].flatMap(([name, spec]) => {
      const since = known.get(name);
      return (since ? spec.since.filter((v) => !since.includes(v)) : []).map((v) => `${name} ${v}`);
    });
    expect(made).toEqual([]);
  });

  it("mean something exactly at the opsets at which they are valid and have been read", () => {
    const wrong = rows.flatMap((r) => {
      const domain = r.domain === "ai.onnx" ? "" : r.domain;
      const node = new Node(r.type, { domain });
      const out: string[] = [];
      for (let opset = OLDEST[r.domain] ?? 1; opset <= r.newest + 2; opset++) {
        const version = r.since.filter((v) => v <= opset).at(-1);
        const isUnread = version === undefined || `${r.name} ${version}` in UNREAD;
        const expected = !isUnread && opset <= r.newest && !(r.end !== undefined && opset >= r.end);
        if ((specOf(node, opset) !== undefined) !== expected)
          out.push(`${r.name} at opset ${opset} should be ${expected ? "known" : "unknown"}`);
      }
      return out;
    });
    expect(wrong).toEqual([]);
  });

  it("that are left out, or valid although deprecated, are so in the standard", () => {
    const versions = new Set(rows.flatMap((r) => r.since.map((v) => `${r.name} ${v}`)));
    expect([...Object.keys(UNREAD), ...Object.keys(STILL_VALID)].filter((v) => !versions.has(v))).toEqual([]);
  });
});

describe("axis rules", () => {
  it("are each exercised end to end: their operator stands in a graph that is proved against the oracle", () => {
    const read = (folder: string, file: RegExp) => {
      const url = new URL(folder, import.meta.url);
      return readdirSync(url)
        .filter((f) => file.test(f))
        .map((f) => readFileSync(new URL(f, url), "utf8"));
    };
    const text = [...read("graph/coupling/", /^(op-axes|attention|edges|review)/), ...read("support/", /^random-/)].join("\n");
    const words = new Set(text.match(/\b[A-Z]\w+/g));
    const silent = allSpecs.filter((s) => !s.domain && s.axes && s.barrier === undefined && !words.has(s.type));
    expect(silent.map((s) => s.type).filter((t) => !(t in OPEN))).toEqual([]);
  });
});

describe("barriers", () => {
  it("say why in a sentence that is about the operator, not about this code", () => {
    for (const s of allSpecs) if (s.barrier !== undefined) expect(s.barrier, s.type).toMatch(/^.{20,}[^.]$/);
  });
});
