import fc from "fast-check";
import { onnx as oldOnnx } from "onnx-proto";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { int, ints } from "../../src/graph/attribute.js";
import { cloneModel } from "../../src/graph/clone.js";
import { decode, decodeTensor, encode, encodedSize, encodeTensor, joinChunks } from "../../src/graph/codec.js";
import type { Graph, Model, Value } from "../../src/graph/graph.js";
import { GraphProto, ModelProto, NodeProto } from "../../src/graph/proto/generated/fields.js";
import { concatenate, Message } from "../../src/graph/proto/wire.js";
import { Tensor } from "../../src/graph/tensor.js";
import { field, fixture, floatValue, message, modelOf, object, topologies } from "./onnx-messages.js";

const bytesOf = (model: Model) => joinChunks(encode(model));
const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

describe("a model nobody changed", () => {
  test.each(topologies)("%s is written back byte for byte, without a copy", (name) => {
    const bytes = fixture(`${name}.onnx`);
    const model = decode(bytes);
    const encoded = encode(model);
    expect(same(joinChunks(encoded), bytes)).toBe(true);
    const chunks = [...encoded.chunks];
    expect(chunks).toHaveLength(1);
    expect(chunks[0]?.buffer).toBe(bytes.buffer);
    expect(encodedSize(model)).toBe(bytes.length);
    expect(same(bytesOf(cloneModel(model)), bytes)).toBe(true);
  });

  test("keeps its bytes in whatever order a writer put the fields, and with fields from the future", () => {
    const bytes = fixture("se_block.onnx");
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat()), (random) => {
        const strange = scramble(bytes, "ModelProto", () => random.next().value as number);
        expect(same(bytesOf(decode(strange)), strange)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test("keeps packed and unpacked integers as they were", () => {
    const packed = Uint8Array.of(...field(1, "kernel_shape"), ...field(8, Uint8Array.of(3, 3)), 0xa0, 0x01, 7);
    const node = concatenate([message("NodeProto", { output: ["y"], opType: "Thing", name: "n" }), field(NodeProto.attribute, packed)]);
    const graph = concatenate([field(GraphProto.node, node), message("GraphProto", { output: [floatValue("y")] })]);
    const bytes = concatenate([message("ModelProto", { irVersion: 8 }), field(ModelProto.graph, graph)]);
    const model = decode(bytes);
    expect(model.graph.nodes[0]?.ints("kernel_shape")).toEqual([3, 3]);
    expect(same(bytesOf(model), bytes)).toBe(true);
  });
});

describe("what the decoder sees", () => {
  test.each(topologies)("%s reads as onnx-proto reads it", (name) => {
    const bytes = fixture(`${name}.onnx`);
    const { graph } = decode(bytes);
    const other = oldOnnx.ModelProto.decode(bytes).graph;
    expect(graph.nodes.map((n) => [n.opType, n.inputs.map((v) => v?.name ?? ""), n.outputs.map((v) => v?.name ?? "")])).toEqual(
      other?.node?.map((n) => [n.opType, n.input, n.output]),
    );
    expect(graph.nodes.map((n) => [...n.attributes.keys()])).toEqual(other?.node?.map((n) => n.attribute?.map((a) => a.name)));
    expect(graph.inputs.map((v) => v.name)).toEqual(other?.input?.map((v) => v.name));
    expect(graph.initializers.map((v) => [v.name, v.initializer?.dims, [...(v.initializer as Tensor).bytes]])).toEqual(
      other?.initializer?.map((t) => [t.name, t.dims?.map(Number), [...(t.rawData as Uint8Array)]]),
    );
  });

  test("names become references, empty names holes, and unknown dims symbols of their own", () => {
    const model = decode(
      modelOf({
        name: "g",
        node: [{ input: ["x", "", "hi"], output: ["y", ""], opType: "Clip", name: "clip", domain: "ai.onnx" }],
        initializer: [{ name: "hi", dims: [], dataType: 1, floatData: [6] }],
        input: [floatValue("x", "N", 3, undefined, undefined)],
        output: [floatValue("y")],
      }),
    );
    const [clip] = model.graph.nodes;
    expect(clip?.isStandard).toBe(true);
    expect(clip?.inputs.map((v) => v?.name)).toEqual(["x", undefined, "hi"]);
    expect(clip?.outputs.map((v) => v?.name)).toEqual(["y", undefined]);
    expect(clip?.inputs[2]?.constant?.scalar()).toBe(6);
    expect(model.graph.inputs[0]?.shape).toEqual(["N", 3, "?x[2]", "?x[3]"]);
    expect(model.graph.outputs[0]?.shape).toEqual([]);
    expect(model.opset).toBe(17);
  });

  test("initializers listed as inputs are constants before IR 4, and overridable defaults since", () => {
    const graph = {
      node: [{ input: ["w"], output: ["y"], opType: "Relu" }],
      initializer: [{ name: "w", dims: [1], dataType: 1, floatData: [1] }],
      input: [floatValue("w", 1)],
      output: [floatValue("y", 1)],
    };
    expect(decode(modelOf(graph, { irVersion: 3 })).graph.value("w")?.constant).toBeDefined();
    expect(decode(modelOf(graph, { irVersion: 4 })).graph.value("w")?.constant).toBeUndefined();
  });

  test("a subgraph reads the values of the graph around it by reference", () => {
    const branch = (op: string) => ({
      name: op,
      node: [{ input: ["x", "late"], output: [`${op}_out`], opType: op }],
      output: [floatValue(`${op}_out`)],
    });
    const bytes = modelOf({
      node: [
        {
          input: ["c"],
          output: ["y"],
          opType: "If",
          name: "if",
          attribute: [
            { name: "then_branch", type: 5, g: branch("Add") },
            { name: "else_branch", type: 5, g: branch("Mul") },
          ],
        },
        { input: ["x"], output: ["late"], opType: "Relu", name: "relu" },
      ],
      input: [floatValue("x", 1), { name: "c", type: { tensorType: { elemType: 9 } } }],
      output: [floatValue("y", 1)],
    });
    const { graph } = decode(bytes);
    // Only the capture says that Relu comes first.
    expect(graph.nodes.map((n) => n.opType)).toEqual(["Relu", "If"]);
    const [then] = (graph.nodes[1] as Graph["nodes"][0]).subgraphs();
    expect(then?.nodes[0]?.inputs[0]).toBe(graph.value("x"));
    expect(
      graph
        .value("late")
        ?.uses()
        .map((u) => u.node.opType),
    ).toEqual(["Add", "Mul"]);
    expect(then?.owner).toBe(graph.nodes[1]);
  });

  test("a local function has a body, its opsets, and references to its attributes", () => {
    const bytes = modelOf(
      {
        node: [{ input: ["x"], output: ["y"], opType: "Twice", domain: "my", overload: "f" }],
        input: [floatValue("x", 1)],
        output: [floatValue("y", 1)],
      },
      {
        irVersion: 10,
        opsetImport: [{ version: 17 }, { domain: "my", version: 1 }],
        functions: [
          {
            name: "Twice",
            domain: "my",
            overload: "f",
            input: ["a"],
            output: ["b"],
            attribute: ["alpha"],
            attributeProto: [{ name: "beta", type: 1, f: 2 }],
            node: [{ input: ["a"], output: ["b"], opType: "Elu", attribute: [{ name: "alpha", type: 1, refAttrName: "alpha" }] }],
            opsetImport: [{ version: 17 }],
            docString: "doubles",
          },
        ],
      },
    );
    const model = decode(bytes);
    const [f] = model.functions;
    expect(f).toMatchObject({ name: "Twice", domain: "my", overload: "f", inputs: ["a"], outputs: ["b"], attributes: ["alpha", "beta"] });
    expect(f?.opsets).toEqual(new Map([["", 17]]));
    expect(f?.body.nodes[0]?.inputs[0]).toBe(f?.body.inputs[0]);
    expect(f?.body.nodes[0]?.attributes.get("alpha")).toMatchObject({ kind: "reference", value: "alpha" });
    expect(same(bytesOf(model), bytes)).toBe(true);
    f?.body.nodes[0]?.setAttribute("gamma", int(1));
    const changed = object("ModelProto", bytesOf(model)).functions as Record<string, unknown>[];
    expect(changed[0]).toMatchObject({ docString: "doubles", attribute: ["alpha"], attributeProto: [{ name: "beta" }] });
  });

  test("integers beyond 2^53 saturate in the IR and stay exact in the file", () => {
    const bytes = modelOf({
      node: [{ output: ["y"], opType: "Constant", attribute: [{ name: "value_int", type: 2, i: "9223372036854775807" }] }],
      output: [floatValue("y")],
    });
    const model = decode(bytes);
    expect(model.graph.nodes[0]?.int("value_int")).toBe(Number.MAX_SAFE_INTEGER);
    expect(same(bytesOf(model), bytes)).toBe(true);
  });
});

describe("tensors", () => {
  const cases: [dtype: string, wire: number, typed: Record<string, unknown>, raw: number[], dims: number[]][] = [
    ["float32", 1, { floatData: [1, -2] }, [0, 0, 128, 63, 0, 0, 0, 192], [2]],
    ["uint8", 2, { int32Data: [1, 255] }, [1, 255], [2]],
    ["int8", 3, { int32Data: [1, -1] }, [1, 255], [2]],
    ["uint16", 4, { int32Data: [1, 65535] }, [1, 0, 255, 255], [2]],
    ["int16", 5, { int32Data: [1, -2] }, [1, 0, 254, 255], [2]],
    ["int32", 6, { int32Data: [-3] }, [253, 255, 255, 255], [1]],
    ["int64", 7, { int64Data: ["-9223372036854775808", 5] }, [0, 0, 0, 0, 0, 0, 0, 128, 5, 0, 0, 0, 0, 0, 0, 0], [2]],
    ["bool", 9, { int32Data: [1, 0] }, [1, 0], [2]],
    ["float16", 10, { int32Data: [0x3c00, 0xc000] }, [0, 0x3c, 0, 0xc0], [2]],
    ["float64", 11, { doubleData: [1] }, [0, 0, 0, 0, 0, 0, 240, 63], [1]],
    ["uint32", 12, { uint64Data: [4294967295] }, [255, 255, 255, 255], [1]],
    ["uint64", 13, { uint64Data: ["18446744073709551615"] }, [255, 255, 255, 255, 255, 255, 255, 255], [1]],
    ["complex64", 14, { floatData: [1, -2] }, [0, 0, 128, 63, 0, 0, 0, 192], [1]],
    ["complex128", 15, { doubleData: [1, 0] }, [0, 0, 0, 0, 0, 0, 240, 63, 0, 0, 0, 0, 0, 0, 0, 0], [1]],
    ["bfloat16", 16, { int32Data: [0x3f80] }, [0x80, 0x3f], [1]],
    ["float8e4m3fn", 17, { int32Data: [0x38, 0xc0] }, [0x38, 0xc0], [2]],
    ["float8e4m3fnuz", 18, { int32Data: [0x40] }, [0x40], [1]],
    ["float8e5m2", 19, { int32Data: [0x3c] }, [0x3c], [1]],
    ["float8e5m2fnuz", 20, { int32Data: [0x40] }, [0x40], [1]],
    ["uint4", 21, { int32Data: [0x21, 0x03] }, [0x21, 0x03], [3]],
    ["int4", 22, { int32Data: [0xf1, 0x03] }, [0xf1, 0x03], [3]],
    ["float4e2m1", 23, { int32Data: [0x21] }, [0x21], [2]],
    ["float8e8m0", 24, { int32Data: [127] }, [127], [1]],
    ["uint2", 25, { int32Data: [0b11100100, 1] }, [0b11100100, 1], [5]],
    ["int2", 26, { int32Data: [0b11100100] }, [0b11100100], [4]],
  ];

  test.each(cases)("%s in its typed field and in raw_data are the same bytes", (dtype, wire, typed, raw, dims) => {
    for (const form of [typed, { rawData: Uint8Array.from(raw) }]) {
      const stored = message("TensorProto", { name: "t", dims, dataType: wire, ...form });
      const { name, tensor } = decodeTensor(stored);
      expect([name, tensor.dtype, tensor.dims, [...tensor.bytes]]).toEqual(["t", dtype, dims, raw]);
      expect(same(encodeTensor(tensor, "t"), stored)).toBe(true);
    }
    const fresh = Tensor.ofBytes(dtype as Tensor["dtype"], dims, Uint8Array.from(raw));
    expect(object("TensorProto", encodeTensor(fresh, "t"))).toEqual({ name: "t", dims, dataType: wire, rawData: Uint8Array.from(raw) });
  });

  test("unpacked elements read like packed ones", () => {
    const unpacked = concatenate([
      message("TensorProto", { dims: [2], dataType: 1 }),
      ...[1, 2].map((v) => Uint8Array.of((4 << 3) | 5, ...new Uint8Array(Float32Array.of(v).buffer))),
    ]);
    expect([...decodeTensor(unpacked).tensor.numbers()]).toEqual([1, 2]);
  });

  test("strings stay bytes, valid UTF-8 or not", () => {
    const stored = message("TensorProto", { dims: [2], dataType: 8, stringData: [Uint8Array.of(0xff, 0), new TextEncoder().encode("é")] });
    const { tensor } = decodeTensor(stored);
    expect(tensor.strings.map((s) => [...s])).toEqual([
      [255, 0],
      [195, 169],
    ]);
    expect(same(encodeTensor(Tensor.ofStrings([2], tensor.strings)), stored)).toBe(true);
  });

  test("an element type newer than ours is carried, not guessed", () => {
    const stored = message("TensorProto", { name: "w", dims: [4], dataType: 27, rawData: Uint8Array.of(1, 2, 3) });
    const { tensor } = decodeTensor(stored);
    expect(same(encodeTensor(tensor, "w"), stored)).toBe(true);
    expect(() => tensor.take(0, [0]).bytes).toThrow(expect.objectContaining({ code: "TENSOR_UNKNOWN_DTYPE" }));
  });
});

describe("a changed model", () => {
  test("changes only what was changed: documentation and unknown fields stay at every level", () => {
    const mark = (level: string) => field(1000, `future ${level}`);
    const tensor = concatenate([
      message("TensorProto", { name: "w", dims: [2], dataType: 1, docString: "weights", rawData: new Uint8Array(8) }),
      mark("tensor"),
    ]);
    const attribute = concatenate([message("AttributeProto", { name: "axis", type: 2, i: 1, docString: "the axis" }), mark("attribute")]);
    const node = concatenate([
      message("NodeProto", {
        input: ["x", "w"],
        output: ["h"],
        opType: "Concat",
        name: "n",
        docString: "a node",
        metadataProps: [{ key: "k", value: "v" }],
      }),
      field(NodeProto.attribute, attribute),
      mark("node"),
    ]);
    const value = (name: string) =>
      concatenate([message("ValueInfoProto", { ...floatValue(name, "N", 4), docString: `value ${name}` }), mark(name)]);
    const graph = concatenate([
      field(GraphProto.node, node),
      field(GraphProto.node, message("NodeProto", { input: ["h"], output: ["y"], opType: "Relu" })),
      field(GraphProto.initializer, tensor),
      field(GraphProto.input, value("x")),
      field(GraphProto.output, value("y")),
      field(GraphProto.valueInfo, value("h")),
      message("GraphProto", { docString: "a graph", quantizationAnnotation: [{ tensorName: "h" }] }),
      mark("graph"),
    ]);
    const bytes = concatenate([
      message("ModelProto", {
        irVersion: 10,
        metadataProps: [{ key: "author", value: "me" }],
        trainingInfo: [{}],
        configuration: [{ name: "two", numDevices: 2 }],
      }),
      field(ModelProto.graph, graph),
      mark("model"),
    ]);
    const model = decode(bytes);
    expect(same(bytesOf(model), bytes)).toBe(true);

    const n = model.graph.nodes[0] as Graph["nodes"][0];
    n.setAttribute("axis", int(0));
    model.graph.setConstant(model.graph.value("w") as Value, Tensor.floats([1], [7]));
    for (const v of ["x", "h", "y"]) (model.graph.value(v) as Value).type = { kind: "tensor", dtype: "float32", shape: ["N", 3] };
    model.opsets.set("", 18);

    const out = bytesOf(model);
    for (const level of ["tensor", "attribute", "node", "x", "y", "h", "graph", "model"])
      expect(Buffer.from(out).includes(`future ${level}`), level).toBe(true);
    const after = object("ModelProto", out);
    expect(after).toMatchObject({
      metadataProps: [{ key: "author", value: "me" }],
      trainingInfo: [{}],
      configuration: [{ name: "two", numDevices: 2 }],
    });
    expect(after.opsetImport).toEqual([{ domain: "", version: 18 }]);
    expect(after.graph).toMatchObject({
      docString: "a graph",
      quantizationAnnotation: [{ tensorName: "h" }],
      node: [
        { docString: "a node", metadataProps: [{ key: "k", value: "v" }], attribute: [{ name: "axis", i: 0, docString: "the axis" }] },
        { opType: "Relu" },
      ],
      initializer: [{ name: "w", dims: [1], docString: "weights", rawData: new Uint8Array(Float32Array.of(7).buffer) }],
      input: [
        { name: "x", docString: "value x", type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: "N" }, { dimValue: 3 }] } } } },
      ],
      valueInfo: [{ name: "h", docString: "value h" }],
    });
  });

  test("declarations of removed values leave; those of names that never existed are left alone", () => {
    const bytes = modelOf({
      node: [
        { input: ["x"], output: ["h"], opType: "Relu" },
        { input: ["x"], output: ["y"], opType: "Neg" },
      ],
      input: [floatValue("x", 1)],
      output: [floatValue("y", 1)],
      valueInfo: [floatValue("h", 1), floatValue("stale", 1)],
    });
    const model = decode(bytes);
    model.graph.removeNode(model.graph.nodes[0] as Graph["nodes"][0]);
    const after = object("ModelProto", bytesOf(model)).graph as { node: unknown[]; valueInfo: { name: string }[] };
    expect(after.node).toHaveLength(1);
    expect(after.valueInfo.map((v) => v.name)).toEqual(["stale"]);
  });

  test("an attribute copied with another value is not written with the old one", () => {
    const model = decode(
      modelOf({ node: [{ output: ["y"], opType: "T", attribute: [{ name: "a", type: 7, ints: [1, 2] }] }], output: [floatValue("y")] }),
    );
    const node = model.graph.nodes[0] as Graph["nodes"][0];
    const old = node.attributes.get("a");
    if (old?.kind === "ints") node.setAttribute("a", { ...old, value: [3] });
    node.setAttribute("b", ints([4, -1]));
    const [after] = (object("ModelProto", bytesOf(model)).graph as { node: { attribute: unknown[] }[] }).node;
    expect(after?.attribute).toEqual([
      { name: "a", type: 7, ints: [3] },
      { name: "b", type: 7, ints: [4, -1] },
    ]);
  });

  test.each(topologies)("%s, rebuilt from the IR alone, computes what it computed", async (name) => {
    const model = decode(fixture(`${name}.onnx`));
    forgetOrigins(model);
    const bytes = bytesOf(model);
    expect(encodedSize(model)).toBe(bytes.length);
    const { tensor: x } = decodeTensor(fixture(`${name}.input.pb`));
    const { tensor: want } = decodeTensor(fixture(`${name}.output.pb`));
    const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 });
    const run = await session.run({ [session.inputNames[0] as string]: new ort.Tensor("float32", x.data as Float32Array, x.dims) });
    const got = run[session.outputNames[0] as string]?.data as Float32Array;
    await session.release();
    const expected = want.numbers();
    expect(got.length).toBe(expected.length);
    // Files hold what PyTorch computed; ONNX Runtime adds in another order.
    got.forEach((v, i) => {
      expect(Math.abs(v - (expected[i] as number))).toBeLessThan(1e-4);
    });
  });
});

/** The message with fields in another order (repeated fields among themselves too, where order has no meaning) and one unknown field. */
function scramble(bytes: Uint8Array, type: "ModelProto" | "GraphProto" | "NodeProto", random: () => number): Uint8Array {
  const m = new Message(bytes, type);
  const inner = { ModelProto: [[ModelProto.graph, "GraphProto"]], GraphProto: [[GraphProto.node, "NodeProto"]], NodeProto: [] }[type] as [
    number,
    "GraphProto" | "NodeProto",
  ][];
  const fields = m.fields.map((f) => {
    const kind = inner.find(([n]) => n === f.number)?.[1];
    return { number: f.number, bytes: kind ? field(f.number, scramble(m.content(f), kind, random)) : bytes.subarray(f.from, f.end) };
  });
  fields.push({ number: 999, bytes: field(999, "from the future") });
  // Different fields move freely past each other; equal ones keep their order (nodes stay sorted, inputs stay in place).
  for (let i = fields.length - 1; i > 0; i--) {
    const j = random() % (i + 1);
    const between = fields.slice(j, i + 1).map((f) => f.number);
    if (new Set(between).size === between.length)
      [fields[i], fields[j]] = [fields[j] as (typeof fields)[0], fields[i] as (typeof fields)[0]];
  }
  return concatenate(fields.map((f) => f.bytes));
}

/** Leaves nothing to edit, so that everything must be written from the IR. */
function forgetOrigins(model: Model): void {
  model.origin = undefined;
  const copy = (t: Tensor) => Tensor.ofBytes(t.dtype, t.dims, t.bytes.slice());
  const visit = (g: Graph) => {
    g.origin = undefined;
    for (const v of g.values) v.origin = undefined;
    for (const v of g.initializers) g.setConstant(v, copy(v.initializer as Tensor));
    for (const n of g.nodes) {
      n.origin = undefined;
      for (const [name, a] of n.attributes)
        n.setAttribute(name, a.kind === "tensor" ? { kind: "tensor", value: copy(a.value) } : { ...a, origin: undefined });
      n.subgraphs().forEach(visit);
    }
  };
  visit(model.graph);
}
