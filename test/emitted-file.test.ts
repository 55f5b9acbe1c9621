/** What a pruned file says beyond its numbers, read by another reader: texts and metadata as they were, types as they are now. */
import { describe, expect, test } from "vitest";
import { decode, encode, joinChunks } from "../src/graph/codec.js";
import { prune } from "../src/pipeline.js";
import { floatValue, message, object } from "./graph/onnx-messages.js";

/** Weights of `dims`: 1, 2, 3 … so that no two channels are alike. */
function weights(name: string, ...dims: number[]): Record<string, unknown> {
  const size = dims.reduce((a, b) => a * b, 1);
  return {
    name,
    dims,
    dataType: 1,
    floatData: Array.from({ length: size }, (_, i) => ((i * 7) % 11) - 5 + i / 100),
    docString: `about ${name}`,
  };
}

const about = (key: string) => [{ key, value: "kept" }];

/** x·a → Relu → Reshape to a column → Abs → Reshape back → ·b, with everything a file can say about it. */
function original(): Uint8Array {
  return message("ModelProto", {
    irVersion: 10,
    producerName: "a producer",
    producerVersion: "1.2",
    domain: "org.example",
    modelVersion: 7,
    docString: "a model",
    opsetImport: [
      { domain: "", version: 18 },
      { domain: "org.example", version: 3 },
    ],
    metadataProps: about("model"),
    graph: {
      name: "g",
      docString: "a graph",
      metadataProps: about("graph"),
      input: [{ ...floatValue("x", "N", 3), docString: "the input" }],
      output: [{ ...floatValue("y", "N", 2), docString: "the output" }],
      initializer: [
        weights("a", 3, 8),
        weights("b", 8, 2),
        { name: "column", dims: [3], dataType: 7, int64Data: [0, 8, 1] },
        { name: "flat", dims: [2], dataType: 7, int64Data: [0, 8] },
      ],
      valueInfo: [
        { ...floatValue("h", "N", 8), docString: "hidden" },
        { ...floatValue("r", "N", 8), metadataProps: about("value") },
        floatValue("p", "N", 8, 1),
        floatValue("q", undefined, 8),
      ],
      node: [
        { opType: "MatMul", name: "first", input: ["x", "a"], output: ["h"], docString: "a layer", metadataProps: about("node") },
        { opType: "Relu", name: "act", input: ["h"], output: ["r"] },
        {
          opType: "Reshape",
          name: "apart",
          input: ["r", "column"],
          output: ["p"],
          attribute: [{ name: "allowzero", type: 2, i: 0, docString: "an attribute" }],
        },
        { opType: "Abs", name: "positive", input: ["p"], output: ["s"] },
        { opType: "Reshape", name: "together", input: ["s", "flat"], output: ["q"] },
        { opType: "MatMul", name: "last", input: ["q", "b"], output: ["y"] },
      ],
    },
  });
}

type Entry = Record<string, unknown> & { readonly name: string };
const named = (list: unknown) => Object.fromEntries((list as Entry[]).map((e) => [e.name, e]));

describe("a pruned file", async () => {
  const before = object("ModelProto", original());
  const { model } = await prune(decode(original()), { passes: ["l1"], target: { ratio: 0.5 }, scope: "local", align: 1, check: "none" });
  const after = object("ModelProto", joinChunks(encode(model)));
  const graphs = { before: before["graph"] as Record<string, unknown>, after: after["graph"] as Record<string, unknown> };

  test("keeps what is said of the model: versions, producer, texts, metadata", () => {
    const { graph: _, ...said } = before;
    const { graph: __, ...says } = after;
    expect(says).toEqual(said);
  });

  test("keeps what is said of the graph, its nodes, inputs and outputs", () => {
    for (const field of ["name", "docString", "metadataProps", "input", "output"])
      expect(graphs.after[field]).toEqual(graphs.before[field]);
  });

  test("keeps what is said of nodes and attributes; only sizes are new operands", () => {
    const said = (nodes: unknown) => (nodes as Entry[]).map(({ input, ...rest }) => ({ ...rest, input: (input as string[]).slice(0, 1) }));
    expect(said(graphs.after["node"])).toEqual(said(graphs.before["node"]));
  });

  test("declares the extents that its values have now, with their texts as they were", () => {
    expect(graphs.after["valueInfo"]).toEqual([
      { ...floatValue("h", "N", 4), docString: "hidden" },
      { ...floatValue("r", "N", 4), metadataProps: about("value") },
      expect.objectContaining(floatValue("p", "N", 4, 1)),
      expect.objectContaining(floatValue("q", "N", 4)),
    ]);
  });

  test("stores weights of the new extents under their old names and texts", () => {
    const tensors = named(graphs.after["initializer"]);
    expect(tensors["a"]).toMatchObject({ dims: [3, 4], docString: "about a" });
    expect(tensors["b"]).toMatchObject({ dims: [4, 2], docString: "about b" });
  });

  test("stores nothing that no node reads", () => {
    const read = new Set((graphs.after["node"] as { input: string[] }[]).flatMap((n) => n.input));
    expect(Object.keys(named(graphs.after["initializer"])).filter((name) => !read.has(name))).toEqual([]);
  });
});
