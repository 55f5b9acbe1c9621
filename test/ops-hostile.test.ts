/**
 * Absurd operands and attributes, in every operator: inference, constant evaluation, axis equations and costs give an
 * answer or a typed error, at once and in little memory. The cases are those of the op contract test, each changed in one place.
 */
import { readdirSync } from "node:fs";
import { runInThisContext } from "node:vm";
import { expect, it } from "vitest";
import { InternalError, OnnxPruneError } from "../src/errors.js";
import { type Attribute, int } from "../src/graph/attribute.js";
import { cost } from "../src/graph/cost.js";
import { findGroups } from "../src/graph/coupling/groups.js";
import { isFloat, isInteger } from "../src/graph/dtype.js";
import { Graph, Model, Node, Value } from "../src/graph/graph.js";
import { Tensor } from "../src/graph/tensor.js";
import { foldConstants } from "../src/passes/fold-constants.js";
import { runPass } from "../src/passes/run-pass.js";
import type { OpCase } from "./ops/case.js";

const url = new URL("./ops/", import.meta.url);
const files = readdirSync(url).filter((f) => f !== "case.ts");
const cases = (await Promise.all(files.map((f) => import(new URL(f, url).href) as Promise<{ cases?: readonly OpCase[] }>))).flatMap(
  (m) => m.cases ?? [],
);

/** The last two are what any larger int64 is read as. */
const NUMBERS = [0, -1, 1, 3, -7, 2 ** 31 - 1, 1e9, 2 ** 40, Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER];
const SLOWEST = 1000;

const byOp = new Map<string, OpCase[]>();
for (const c of cases) byOp.set(c.op, [...(byOp.get(c.op) ?? []), c]);
for (const [op, of] of byOp) {
  it(`${op} takes anything`, { timeout: 120_000 }, () => {
    const wrong: string[] = [];
    for (const c of of)
      for (const { what, mutant } of mutants(c)) {
        const failure = failureOf(mutant);
        if (failure) wrong.push(`${c.name}, ${what}: ${failure}`);
      }
    expect(wrong.slice(0, 20)).toEqual([]);
  });
}

/** Two wrongs at once that once ended in an error of JavaScript, or took long: where inference gave up, evaluation or an axis rule went on. */
const TWICE: readonly (readonly [op: string, name: string, first: string, second: string])[] = [
  ["CenterCropPad", "crops one axis and pads another", "input 1 is of rank 2", "input 1 = all 1099511627776"],
  ["ConstantOfShape", "zeros by default", "0 outputs", "input 0 = all 2147483647"],
  ["ConstantOfShape", "an int64 value", "input 0[0] = 1099511627776", "input 0 is of rank 2"],
  ["BitwiseXor", "int64 [2] and int64 [2]", "input 1 is a float", "input 1 = all Infinity"],
  ["Expand", "a shape of lower rank", "input 1[0] = -1", "input 1 is of rank 2"],
  ["RMSNormalization", "last axis", "input 0 of shape [3,4]", "more inputs"],
  ["GroupNormalization", "scale per group", "input 1 of shape []", "no num_groups"],
  ["Pad", "some axes", "input 1[0] = 2147483647", "input 1 is of rank 2"],
  ["Pad", "a value", "input 1[1] = 9007199254740991", "input 1 is a float"],
  ["Pad", "zeros", "input 1 = all 1099511627776", "input 1[2] = -7"],
  ["HannWindow", "periodic", "input 0 = all 1000000000", "0 outputs"],
  ["HammingWindow", "symmetric", "input 0[0] = 1099511627776", "input 0 is of rank 2"],
  ["BlackmanWindow", "symmetric", "input 0[0] = 1000000000", "input 0 is of rank 2"],
  ["HannWindow", "periodic", "input 0 is a float", "input 0 = all 1e+30"],
  ["Tile", "a repeat of 0", "input 1 = all 1000000000", "input 1 is of rank 2"],
];

it.each(TWICE)("%s, %s: %s, and then %s", (op, name, ...changes) => {
  const start = byOp.get(op)?.find((c) => c.name === name) as Mutant;
  const twice = changes.reduce((c: Mutant, what) => {
    const change = [...mutants(c)].find((m) => m.what === what) as { mutant: Mutant };
    return { ...change.mutant, declared: { ...c.declared, ...change.mutant.declared } };
  }, start);
  expect(failureOf(twice)).toBeUndefined();
});

interface Mutant extends OpCase {
  /** Shapes declared for inputs that are then no constants. */
  readonly declared?: Readonly<Record<number, readonly (number | string)[] | undefined>>;
}

function* mutants(c: OpCase): Generator<{ what: string; mutant: Mutant }> {
  yield { what: "as it is", mutant: c };
  for (const [name, a] of Object.entries(c.attributes ?? {})) {
    for (const [what, value] of variants(a))
      yield { what: `${name} = ${what}`, mutant: { ...c, attributes: { ...c.attributes, [name]: value } } };
    const { [name]: _, ...rest } = c.attributes ?? {};
    yield { what: `no ${name}`, mutant: { ...c, attributes: rest } };
  }
  for (const [i, t] of c.inputs.entries()) {
    const put = (tensor: Tensor | undefined) => c.inputs.map((old, k) => (k === i ? tensor : old));
    yield { what: `no input ${i}`, mutant: { ...c, inputs: put(undefined) } };
    yield { what: `inputs up to ${i}`, mutant: { ...c, inputs: c.inputs.slice(0, i) } };
    if (!t) continue;
    if (isInteger(t.dtype) && t.size <= 16) {
      const values = t.ints();
      for (const n of NUMBERS) {
        for (let k = 0; k < values.length; k++)
          yield {
            what: `input ${i}[${k}] = ${n}`,
            mutant: {
              ...c,
              inputs: put(
                Tensor.fromNumbers(
                  t.dtype,
                  t.dims,
                  values.map((v, j) => (j === k ? n : v)),
                ),
              ),
            },
          };
        yield {
          what: `input ${i} = all ${n}`,
          mutant: {
            ...c,
            inputs: put(
              Tensor.fromNumbers(
                t.dtype,
                t.dims,
                values.map(() => n),
              ),
            ),
          },
        };
      }
      yield { what: `input ${i} is empty`, mutant: { ...c, inputs: put(Tensor.fromNumbers(t.dtype, [0], [])) } };
      yield { what: `input ${i} is longer`, mutant: { ...c, inputs: put(Tensor.fromNumbers(t.dtype, [t.size + 2], [...values, 1, 1])) } };
      yield { what: `input ${i} is of rank 2`, mutant: { ...c, inputs: put(Tensor.fromNumbers(t.dtype, [1, t.size], values)) } };
      yield { what: `input ${i} is a float`, mutant: { ...c, inputs: put(Tensor.fromNumbers("float32", t.dims, values)) } };
    }
    if (isFloat(t.dtype) && t.size <= 16)
      for (const n of [0, Number.NaN, Number.POSITIVE_INFINITY, 1e30, -1])
        yield { what: `input ${i} = all ${n}`, mutant: { ...c, inputs: put(Tensor.fromNumbers(t.dtype, t.dims, Array(t.size).fill(n))) } };
    const shapes = [
      [],
      [0],
      [1],
      [2 ** 40],
      ["n"],
      undefined,
      t.dims.map(() => 2 ** 20),
      t.dims.map(() => 0),
      t.dims.map((d) => d + 1),
      t.dims.slice(1),
      [...t.dims, 2],
      t.dims.map((_, a) => `s${a}`),
      Array(100).fill(1),
    ];
    for (const shape of shapes) yield { what: `input ${i} of shape [${shape}]`, mutant: { ...c, declared: { [i]: shape } } };
  }
  for (const outputs of [0, 1, 2, 5, 300]) yield { what: `${outputs} outputs`, mutant: { ...c, outputs } };
  yield { what: "more inputs", mutant: { ...c, inputs: [...c.inputs, ...Array(5).fill(c.inputs[0])] } };
}

function* variants(a: Attribute): Generator<[string, Attribute]> {
  if (a.kind === "int") {
    for (const n of NUMBERS) yield [String(n), { kind: "int", value: n }];
    yield ["ints", { kind: "ints", value: [a.value] }];
  }
  if (a.kind === "ints") {
    for (const n of NUMBERS) {
      for (let k = 0; k < a.value.length; k++) yield [`${n} at ${k}`, { kind: "ints", value: a.value.map((v, j) => (j === k ? n : v)) }];
      yield [`all ${n}`, { kind: "ints", value: a.value.map(() => n) }];
    }
    yield ["[]", { kind: "ints", value: [] }];
    yield ["longer", { kind: "ints", value: [...a.value, 1] }];
    yield ["shorter", { kind: "ints", value: a.value.slice(1) }];
    yield ["int", { kind: "int", value: 1 }];
  }
  if (a.kind === "float")
    for (const value of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e38]) yield [String(value), { kind: "float", value }];
  if (a.kind === "string")
    for (const value of ["", "x", "\u0000", "a".repeat(1000), "ij->", "...", "->,,,", "ii,jj->ij"])
      yield [JSON.stringify(value), { kind: "string", value }];
  if (a.kind === "tensor") yield ["empty tensor", { kind: "tensor", value: Tensor.floats([0], []) }];
  yield ["a reference", { kind: "reference", value: "outer" }];
}

/** Runs `work` for at most SLOWEST milliseconds, endless loops included. */
function bounded(work: () => void): void {
  const at = globalThis as { hostileWork?: () => void };
  at.hostileWork = work;
  runInThisContext("globalThis.hostileWork()", { timeout: SLOWEST });
}

/** What went wrong in an analysis of `c`; undefined for a result, or an error that says what is wrong with the model. */
function failureOf(c: Mutant): string | undefined {
  for (const form of ["constant", "computed", "summed"] as const) {
    try {
      bounded(() => {
        const model = build(c, form);
        findGroups(model);
        cost(model);
        runPass(foldConstants, model);
      });
    } catch (error) {
      const at = (error as Error).stack?.split("\n").slice(1, 4).join(" | ");
      if (!(error instanceof OnnxPruneError)) return `${(error as Error).message} ${at}`;
      if (error instanceof InternalError) return `${error.message} ${at}`;
    }
  }
  return undefined;
}

/** "summed": the outputs are not those of the graph, whose axes are kept, but go through a sum over all axes. */
function build(c: Mutant, form: "constant" | "computed" | "summed"): Model {
  const isConstant = form === "constant";
  const graph = new Graph("case");
  const node = new Node(c.op, { name: "node", ...(c.domain ? { domain: c.domain } : {}) });
  c.inputs.forEach((t, i) => {
    const isDeclared = c.declared !== undefined && i in c.declared;
    if (t && (isDeclared || (!isConstant && isFloat(t.dtype) && i === 0)))
      node.setInput(
        i,
        graph.addInput(new Value(`input${i}`, { kind: "tensor", dtype: t.dtype, shape: isDeclared ? c.declared?.[i] : t.dims })),
      );
    else node.setInput(i, t && graph.addInitializer(`input${i}`, t));
  });
  for (const [name, a] of Object.entries(c.attributes ?? {})) node.setAttribute(name, a);
  for (let i = 0; i < (c.outputs ?? 1); i++) node.addOutput(new Value(`output${i}`));
  graph.appendNode(node);
  for (const o of node.outputs) {
    if (!o) continue;
    const sum =
      form === "summed"
        ? graph.insertNode("ReduceSum", [o], { outputs: [`${o.name}_sum`], attributes: { keepdims: int(0) } }).outputs[0]
        : o;
    graph.addOutput(sum as Value);
  }
  const model = new Model(graph);
  model.irVersion = 10;
  model.opsets.set("", typeof c.opset === "number" ? c.opset : (c.opset[0] as number));
  if (c.domain) model.opsets.set(c.domain, 1);
  return model;
}
