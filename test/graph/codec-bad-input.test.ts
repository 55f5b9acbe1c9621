import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OnnxPruneError } from "../../src/errors.js";
import { decode, decodeTensor, encode, joinChunks } from "../../src/graph/codec.js";
import { Graph, Model } from "../../src/graph/graph.js";
import { concatenate } from "../../src/graph/proto/wire.js";
import { Tensor } from "../../src/graph/tensor.js";
import { field, fixture, floatValue, message, modelOf } from "./onnx-messages.js";

const error = (run: () => unknown): OnnxPruneError => {
  try {
    run();
  } catch (e) {
    if (e instanceof OnnxPruneError) return e;
    throw e;
  }
  throw new Error("nothing was thrown");
};
const relu = (input: string, output: string, name = "") => ({ input: [input], output: [output], opType: "Relu", name });

describe("bytes that are no model", () => {
  test.each([
    ["an empty file", new Uint8Array(), "MODEL_NOT_ONNX", /empty/],
    ["a model without a graph", message("ModelProto", { irVersion: 8 }), "MODEL_NOT_ONNX", /no graph/],
    ["a graph without an IR version", message("ModelProto", { graph: {} }), "MODEL_NOT_ONNX", /no IR version/],
    ["text", new TextEncoder().encode("<!doctype html><html>not found</html>"), "MODEL_MALFORMED", /byte 0/],
    ["a Git LFS pointer", new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\n"), "MODEL_NOT_ONNX", /Git LFS/],
    ["a model from the future", message("ModelProto", { irVersion: 99, graph: {} }), "UNSUPPORTED_IR_VERSION", /99/],
  ])("%s is refused with a hint", (_, bytes, code, text) => {
    const e = error(() => decode(bytes));
    expect(e.code).toBe(code);
    expect(e.message).toMatch(text);
    expect(e.hint).toBeTruthy();
  });

  test("random bytes and damaged models give typed errors or a model, never anything else", () => {
    const tryDecode = (bytes: Uint8Array) => {
      try {
        encode(decode(bytes));
      } catch (e) {
        expect(e).toBeInstanceOf(OnnxPruneError);
        expect((e as OnnxPruneError).code).not.toBe("INTERNAL");
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), tryDecode), { numRuns: 500 });
    const good = fixture("lstm.onnx");
    const damage = fc.tuple(fc.nat(good.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 5 }), (spots) => {
        const bad = good.slice();
        for (const [at, byte] of spots) bad[at] = byte;
        tryDecode(bad);
      }),
      { numRuns: 1000 },
    );
  });

  test("a file cut anywhere is refused", () => {
    const good = fixture("glu.onnx");
    for (let length = 0; length < good.length; length++) {
      // A cut after the graph only loses the opset import, which the format allows.
      try {
        decode(good.subarray(0, length));
        expect(length).toBeGreaterThan(good.length - 40);
      } catch (e) {
        expect(e).toBeInstanceOf(OnnxPruneError);
      }
    }
  });

  test("graphs nested without end are refused before the stack is", () => {
    let graph = message("GraphProto", {});
    for (let i = 0; i < 200; i++)
      graph = field(1, field(5, concatenate([message("AttributeProto", { name: "g", type: 5 }), field(6, graph)])));
    const bytes = concatenate([message("ModelProto", { irVersion: 8 }), field(7, graph)]);
    expect(error(() => decode(bytes)).code).toBe("MODEL_TOO_DEEP");
  });
});

describe("messages that are no protobuf", () => {
  const endless = new Uint8Array(11).fill(0x80);
  test.each([
    ["field number 0", [0x02, 0x00], /byte 0 .*field number 0/],
    ["a tag of more than five bytes", [...endless, 1], /invalid tag/],
    ["a wire type that is none", [0x0f], /wire type 7/],
    ["a number that does not end", [0x08, 0x80], /does not end/],
    ["a length beyond the end", [0x0a, 0x05, 1], /does not end/],
    ["a length beyond 2 GiB", [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], /invalid length/],
    ["a group that does not end", [0x0b, 0x08, 1], /does not end/],
    ["a group that another ends", [0x0b, 0x14], /end group/],
    ["the end of no group", [0x0c], /wire type 4/],
    ["groups nested without end", Array<number>(1000).fill(0x0b), /depth/],
  ])("%s is refused, and the message says where", (_, bytes, text) => {
    const e = error(() => decodeTensor(Uint8Array.from(bytes)));
    expect(e.code).toBe("MODEL_MALFORMED");
    expect(e.message).toMatch(/^Expected TensorProto .* byte \d+ /);
    expect(e.message).toMatch(text);
    expect(e.hint).toBeTruthy();
  });

  test("so are numbers that are wrong inside their field, when somebody reads them", () => {
    // A varint has at most ten bytes; skipping one does not count them.
    const long = Uint8Array.of(0x10, ...endless, 1);
    expect(error(() => decodeTensor(long)).code).toBe("MODEL_MALFORMED");
    // The last number of a packed field runs into the next field.
    const packed = concatenate([message("TensorProto", { dims: [2], dataType: 7 }), field(7, Uint8Array.of(1, 0x80)), field(8, "w")]);
    expect(error(() => decodeTensor(packed).tensor.bytes).code).toBe("MODEL_MALFORMED");
  });
});

describe("models that contradict themselves", () => {
  const refused = (graph: Record<string, unknown>) => error(() => decode(modelOf({ input: [floatValue("x", 1)], ...graph })));

  test("a value defined twice names both places", () => {
    const e = refused({ node: [relu("x", "y", "first"), relu("x", "y", "second")] });
    expect(e.code).toBe("MODEL_DUPLICATE_NAME");
    expect(e.at).toEqual({ node: "second", value: "y" });
    expect(e.message).toContain('"first"');
    expect(refused({ input: [floatValue("x"), floatValue("x")] }).code).toBe("MODEL_DUPLICATE_NAME");
    expect(refused({ node: [relu("x", "x")] }).code).toBe("MODEL_DUPLICATE_NAME");
  });

  test("a value nobody defines names its reader", () => {
    const e = refused({ node: [relu("ghost", "y", "reader")] });
    expect(e.code).toBe("MODEL_UNDEFINED_VALUE");
    expect(e.at).toEqual({ node: "reader", value: "ghost" });
    expect(refused({ output: [floatValue("ghost")] }).at).toEqual({ value: "ghost" });
  });

  test("a cycle is one, and mere disorder is put in order", () => {
    expect(refused({ node: [relu("b", "a"), relu("a", "b")] }).code).toBe("MODEL_CYCLE");
    expect(refused({ node: [relu("a", "a", "self")] }).code).toBe("MODEL_CYCLE");
    const model = decode(
      modelOf({ input: [floatValue("x", 1)], node: [relu("a", "b", "second"), relu("x", "a", "first")], output: [floatValue("b", 1)] }),
    );
    expect(model.graph.nodes.map((n) => n.name)).toEqual(["first", "second"]);
    expect(decode(joinChunks(encode(model))).graph.nodes.map((n) => n.name)).toEqual(["first", "second"]);
  });
});

describe("tensors that cannot be", () => {
  test.each([
    ["negative dims", { dims: [-1], dataType: 1 }, "TENSOR_BAD_DIMS"],
    ["more elements than numbers can count", { dims: [2 ** 40, 2 ** 40], dataType: 1 }, "TENSOR_BAD_DIMS"],
    ["too few raw bytes", { dims: [2], dataType: 1, rawData: new Uint8Array(7) }, "TENSOR_BAD_LENGTH"],
    ["too many floats", { dims: [1], dataType: 1, floatData: [1, 2] }, "TENSOR_BAD_LENGTH"],
    ["no data", { dims: [1], dataType: 1 }, "TENSOR_BAD_LENGTH"],
    ["too few strings", { dims: [2], dataType: 8, stringData: [new Uint8Array()] }, "TENSOR_BAD_LENGTH"],
    ["external data without a place", { dims: [1], dataType: 1, dataLocation: 1 }, "TENSOR_BAD_EXTERNAL"],
  ])("%s: a typed error names the tensor", (_, tensor, code) => {
    const e = error(() => decodeTensor(message("TensorProto", { name: "w", ...tensor })));
    expect(e.code).toBe(code);
    expect(e.at.value).toBe("w");
  });

  test("integers in a varint field are counted when they are read", () => {
    const { tensor } = decodeTensor(message("TensorProto", { name: "w", dims: [3], dataType: 7, int64Data: [1, 2] }));
    expect(error(() => tensor.bytes).code).toBe("TENSOR_BAD_LENGTH");
  });

  test("a model of more than 2 GiB is refused without touching its weights", () => {
    const graph = new Graph("big");
    const never = () => {
      throw new Error("read");
    };
    for (let i = 0; i < 3; i++) graph.addInitializer(`w${i}`, Tensor.lazy("float32", [2 ** 28], never));
    expect(error(() => encode(new Model(graph))).code).toBe("MODEL_TOO_LARGE");
  });
});
