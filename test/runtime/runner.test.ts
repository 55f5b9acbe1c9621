import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataError, ModelError, RuntimeError, UnsupportedError } from "../../src/errors.js";
import { encode, joinChunks } from "../../src/graph/codec.js";
import { type DType, wireOfDtype } from "../../src/graph/dtype.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner } from "../../src/runtime/runner.js";
import { openWebRunner } from "../../src/runtime/web.js";
import { modelOf } from "../support/build.js";
import { hasSecondProvider, onSecondProvider, openSecondNodeRunner } from "../support/second-provider.js";
import { identityModel, matMulModel, slowModel, tinyModel } from "./tiny-models.js";

const DTYPES: readonly DType[] = [
  "float32",
  "float64",
  "float16",
  "int8",
  "uint8",
  "int16",
  "uint16",
  "int32",
  "uint32",
  "int64",
  "uint64",
  "bool",
];

const RUNNERS = [
  { name: "onnxruntime-node", open: () => openNodeRunner({ threads: 1 }) },
  { name: "onnxruntime-web", open: () => openWebRunner() },
];
if (hasSecondProvider) RUNNERS.push({ name: "onnxruntime-node, WebGPU", open: openSecondNodeRunner });
else it.skip(onSecondProvider("what every runner does"), () => {});

describe.each(RUNNERS)("a runner over $name", ({ name, open }) => {
  let runner: Runner;
  beforeAll(async () => {
    runner = await open();
  });
  afterAll(() => runner.close());

  it("takes inputs that are the same in every run when it loads, and asks for them no more", async () => {
    const w = Tensor.floats([2, 2], [1, 2, 3, 4]);
    const model = { bytes: joinChunks(encode(modelOf("g (float[N,2] x, float[2,2] w) => (float[N,2] y) { y = MatMul (x, w) }"))) };
    const session = await runner.load(model, { fixed: { w }, lean: true });
    expect(session.inputs.map((i) => i.name)).toEqual(["x"]);
    for (const x of [1, 2])
      expect([...((await session.run({ x: Tensor.floats([1, 2], [x, 0]) }))["y"]?.numbers() ?? [])]).toEqual([x, 2 * x]);
    await session.release();
    await expect(runner.load(model, { fixed: { w, v: w } })).rejects.toMatchObject({ code: "FEED_UNKNOWN", at: { value: "v" } });
    // The tensor given is still its owner's.
    expect(w.numbers()[3]).toBe(4);
  });

  it("says which package and version it is", () => {
    expect(runner.runtime).toMatch(new RegExp(`^${name.split(",")[0]} \\d+\\.\\d+\\.\\d+$`));
  });

  it("tells inputs and outputs with their symbolic dims", async () => {
    const session = await runner.load({ bytes: matMulModel(3, 2, [1, 2, 3, 4, 5, 6]) });
    expect(session.inputs).toEqual([{ name: "X", dtype: "float32", shape: ["N", 3] }]);
    expect(session.outputs).toEqual([{ name: "Y", dtype: "float32", shape: ["N", 2] }]);
    await session.release();
  });

  it("computes a matrix product", async () => {
    const session = await runner.load({ bytes: matMulModel(3, 2, [1, 2, 3, 4, 5, 6]) });
    const { Y } = await session.run({ X: Tensor.floats([2, 3], [1, 0, 0, 1, 1, 1]) });
    expect(Y?.dims).toEqual([2, 2]);
    expect([...(Y as Tensor).numbers()]).toEqual([1, 2, 9, 12]);
    await session.release();
  });

  it.each(DTYPES)("carries %s unchanged, extremes and empty tensors included", async (dtype) => {
    const session = await runner.load({ bytes: identityModel(wireOfDtype(dtype)) });
    const values = dtype === "bool" ? [1, 0, 1] : dtype.startsWith("u") ? [0, 1, 200] : [-1.5, 0, 100];
    const X = Tensor.fromNumbers(dtype, [3], values);
    const { Y } = await session.run({ X });
    expect(Y?.dtype).toBe(dtype);
    expect([...(Y as Tensor).bytes]).toEqual([...X.bytes]);
    const none = await session.run({ X: Tensor.fromNumbers(dtype, [0], []) });
    expect(none["Y"]?.dims).toEqual([0]);
    await session.release();
  });

  it("refuses int4, which the bindings cannot run, as input and as output, and gives the other outputs", async () => {
    const int4 = wireOfDtype("int4");
    const weights = [
      { name: "scale", dims: [], floats: [0.5] },
      { name: "zero", dims: [], type: int4, raw: new Uint8Array(1) },
    ];
    const head = { opset: 21, ir: 10, weights };
    const takesInt4 = tinyModel({
      ...head,
      nodes: [{ op: "DequantizeLinear", in: ["X", "scale", "zero"], out: ["Y"] }],
      inputs: [{ name: "X", shape: [3], type: int4 }],
      outputs: [{ name: "Y", shape: [3] }],
    });
    const givesInt4 = tinyModel({
      ...head,
      nodes: [
        { op: "QuantizeLinear", in: ["X", "scale", "zero"], out: ["Y"] },
        { op: "Identity", in: ["X"], out: ["Z"] },
      ],
      inputs: [{ name: "X", shape: [3] }],
      outputs: [
        { name: "Y", shape: [3], type: int4 },
        { name: "Z", shape: [3] },
      ],
    });
    const taking = await runner.load({ bytes: takesInt4 });
    await expect(taking.run({ X: Tensor.fromNumbers("int4", [3], [-8, 7, -1]) })).rejects.toMatchObject({ code: "RUNTIME_DTYPE" });
    const giving = await runner.load({ bytes: givesInt4 });
    const X = Tensor.floats([3], [1, 2, 3]);
    await expect(giving.run({ X })).rejects.toMatchObject({ code: "RUNTIME_DTYPE", at: { value: "Y" } });
    expect([...((await giving.run({ X }, ["Z"]))["Z"] as Tensor).numbers()]).toEqual([1, 2, 3]);
    await taking.release();
    await giving.release();
  });

  it("carries int64 beyond 2^53 and scalars", async () => {
    const session = await runner.load({ bytes: identityModel(7, []) });
    const bits = new BigInt64Array([-9223372036854775807n]);
    const { Y } = await session.run({ X: Tensor.ofBytes("int64", [], new Uint8Array(bits.buffer)) });
    expect(Y?.dims).toEqual([]);
    expect(Y?.data[0]).toBe(-9223372036854775807n);
    await session.release();
  });

  it("carries strings", async () => {
    const session = await runner.load({ bytes: identityModel(8) });
    const texts = ["", "prune", "剪枝 ✂"];
    const { Y } = await session.run({
      X: Tensor.ofStrings(
        [3],
        texts.map((t) => new TextEncoder().encode(t)),
      ),
    });
    expect(Y?.strings.map((s) => new TextDecoder().decode(s))).toEqual(texts);
    await session.release();
  });

  it("takes tensors that are misaligned slices of a file, and leaves the file as it was", async () => {
    const session = await runner.load({ bytes: identityModel(1) });
    const file = new Uint8Array(3 + 8);
    file.set(new Uint8Array(Float32Array.of(2.5, -1).buffer), 3);
    const X = Tensor.ofBytes("float32", [2], file.subarray(3));
    const { Y } = await session.run({ X });
    expect([...(Y as Tensor).numbers()]).toEqual([2.5, -1]);
    expect(file.byteLength).toBe(11);
    expect([...X.numbers()]).toEqual([2.5, -1]);
    await session.release();
  });

  it("does not detach the model's bytes", async () => {
    const bytes = identityModel(1);
    const length = bytes.byteLength;
    await (await runner.load({ bytes })).release();
    expect(bytes.byteLength).toBe(length);
  });

  it("fetches only what is asked for, also when two outputs are one value", async () => {
    const bytes = tinyModel({
      nodes: [
        { op: "Relu", in: ["X"], out: ["Y"] },
        { op: "Identity", in: ["Y"], out: ["Z"] },
      ],
      inputs: [{ name: "X", shape: ["N"] }],
      outputs: [
        { name: "Y", shape: ["N"] },
        { name: "Z", shape: ["N"] },
      ],
    });
    const session = await runner.load({ bytes });
    const X = Tensor.floats([2], [-1, 4]);
    expect(Object.keys(await session.run({ X }, ["Z"]))).toEqual(["Z"]);
    const both = await session.run({ X });
    expect([...(both["Y"] as Tensor).numbers(), ...(both["Z"] as Tensor).numbers()]).toEqual([0, 4, 0, 4]);
    await session.release();
  });

  it("takes external data as bytes", async () => {
    const data = new Uint8Array(Float32Array.of(1, 10).buffer);
    const bytes = tinyModel({
      nodes: [{ op: "Mul", in: ["X", "W"], out: ["Y"] }],
      inputs: [{ name: "X", shape: [2] }],
      outputs: [{ name: "Y", shape: [2] }],
      weights: [{ name: "W", dims: [2], external: { location: "w.bin", length: 8 } }],
    });
    const session = await runner.load({ bytes, external: [{ path: "w.bin", data }] });
    const { Y } = await session.run({ X: Tensor.floats([2], [3, 3]) });
    expect([...(Y as Tensor).numbers()]).toEqual([3, 30]);
    await session.release();
    await expect(runner.load({ bytes })).rejects.toMatchObject({ code: "MODEL_EXTERNAL_DATA" });
  });

  it("loads a file by path and names it when it is not there", async () => {
    const folder = mkdtempSync(join(tmpdir(), "onnx-prune-runner-"));
    const path = join(folder, "m.onnx");
    writeFileSync(path, identityModel(1));
    const session = await runner.load({ path });
    expect(session.inputs[0]?.name).toBe("X");
    await session.release();
    rmSync(folder, { recursive: true });
    await expect(runner.load({ path })).rejects.toMatchObject({ code: "MODEL_NOT_FOUND", at: { file: path } });
  });

  it("answers many calls at once, each with its own result", async () => {
    const session = await runner.load({ bytes: identityModel(1) });
    const results = await Promise.all(Array.from({ length: 50 }, (_, i) => session.run({ X: Tensor.floats([1], [i]) })));
    expect(results.map((r) => r["Y"]?.scalar())).toEqual(Array.from({ length: 50 }, (_, i) => i));
    await session.release();
  });

  it("times every run", async () => {
    const session = await runner.load({ bytes: identityModel(1) });
    const times = await session.time({ X: Tensor.floats([1], [0]) }, 5);
    expect(times).toHaveLength(5);
    expect(times.every((t) => t > 0 && t < 1000)).toBe(true);
    await session.release();
  });

  it("loads at every optimisation level", async () => {
    for (const optimization of ["disabled", "basic", "extended", "all"] as const) {
      const session = await runner.load({ bytes: matMulModel(2, 2, [1, 0, 0, 1]) }, { optimization, threads: 1 });
      const { Y } = await session.run({ X: Tensor.floats([1, 2], [7, 8]) });
      expect([...(Y as Tensor).numbers()]).toEqual([7, 8]);
      await session.release();
    }
  });

  describe("refuses", () => {
    const X = Tensor.floats([1, 2], [1, 2]);
    const model = matMulModel(2, 2, [1, 0, 0, 1], 1);

    it.each([
      ["bytes that are not ONNX", new TextEncoder().encode("this is not a model"), ModelError, "MODEL_UNREADABLE"],
      ["an unknown op", tinyModel({ ...relu(), nodes: [{ op: "Frobnicate", in: ["X"], out: ["Y"] }] }), UnsupportedError, "RUNTIME_NO_OP"],
      ["an opset from the future", tinyModel({ ...relu(), opset: 99 }), UnsupportedError, "RUNTIME_VERSION"],
      ["an IR version from the future", tinyModel({ ...relu(), ir: 99 }), UnsupportedError, "RUNTIME_VERSION"],
      [
        "a domain without opset",
        tinyModel({ ...relu(), nodes: [{ op: "Relu", domain: "my.domain", in: ["X"], out: ["Y"] }] }),
        UnsupportedError,
        "RUNTIME_VERSION",
      ],
      ["an op with no kernel for the type", tinyModel({ ...relu(), opset: 1 }), UnsupportedError, "RUNTIME_NO_KERNEL"],
      ["a value nobody makes", tinyModel({ ...relu(), nodes: [{ op: "Relu", in: ["ghost"], out: ["Y"] }] }), ModelError, "MODEL_REFUSED"],
      [
        "shapes that do not fit",
        matMulModel(3, 2, [1, 2, 3, 4, 5, 6]).map((b, i, all) => (i === xRowsAt(all) ? 4 : b)),
        ModelError,
        "MODEL_REFUSED",
      ],
      ["a bfloat16 input", identityModel(16), UnsupportedError, "RUNTIME_DTYPE"],
    ] as const)("%s", async (_, bytes, type, code) => {
      const error: unknown = await runner.load({ bytes }).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(type);
      expect(error).toMatchObject({ code });
      expect((error as Error).cause).toBeInstanceOf(Error);
    });

    it("no bytes at all", async () => {
      await expect(runner.load({ bytes: new Uint8Array(0) })).rejects.toMatchObject({ code: "MODEL_UNREADABLE" });
    });

    it("a cycle and weights of the wrong length", async () => {
      const cycle = {
        ...relu(),
        nodes: [
          { op: "Add", in: ["X", "Z"], out: ["Y"] },
          { op: "Relu", in: ["Y"], out: ["Z"] },
        ],
      };
      await expect(runner.load({ bytes: tinyModel(cycle) })).rejects.toMatchObject({ code: "MODEL_REFUSED" });
      const short = {
        ...relu(),
        nodes: [{ op: "Add", in: ["X", "W"], out: ["Y"] }],
        weights: [{ name: "W", dims: [4], raw: new Uint8Array(3) }],
      };
      await expect(runner.load({ bytes: tinyModel(short) })).rejects.toMatchObject({ code: "MODEL_REFUSED" });
    });

    it("feeds that do not fit, naming the input", async () => {
      const session = await runner.load({ bytes: model });
      await expect(session.run({})).rejects.toMatchObject({ code: "FEED_MISSING", at: { value: "X" } });
      await expect(session.run({ X, Q: X })).rejects.toMatchObject({ code: "FEED_UNKNOWN", at: { value: "Q" } });
      await expect(session.run({ X: Tensor.ints([1, 2], [1, 2]) })).rejects.toMatchObject({ code: "FEED_DTYPE", at: { value: "X" } });
      await expect(session.run({ X }, ["nope"])).rejects.toMatchObject({ code: "FETCH_UNKNOWN", at: { value: "nope" } });
      const shape: unknown = await session.run({ X: Tensor.floats([1, 3], [1, 2, 3]) }).catch((e: unknown) => e);
      expect(shape).toBeInstanceOf(DataError);
      expect(shape).toMatchObject({ code: "FEED_SHAPE", at: { value: "X" } });
      const rank: unknown = await session.run({ X: Tensor.floats([2], [1, 2]) }).catch((e: unknown) => e);
      expect(rank).toMatchObject({ code: "FEED_SHAPE", at: { value: "X" } });
      // The session survives all of that.
      expect([...((await session.run({ X }))["Y"] as Tensor).numbers()]).toEqual([1, 2]);
      await session.release();
    });

    it("strings that are not UTF-8", async () => {
      const session = await runner.load({ bytes: identityModel(8) });
      await expect(session.run({ X: Tensor.ofStrings([1], [Uint8Array.of(0xff)]) })).rejects.toMatchObject({ code: "FEED_NOT_UTF8" });
      await session.release();
    });

    it("a released session, which may be released twice", async () => {
      const session = await runner.load({ bytes: model });
      await session.release();
      await session.release();
      const error: unknown = await session.run({ X }).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(RuntimeError);
      expect(error).toMatchObject({ code: "SESSION_RELEASED" });
    });
  });

  it("leaves the event loop free while it runs", async () => {
    const session = await runner.load({ bytes: slowModel(512, name === "onnxruntime-node" ? 40 : 10) });
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const start = performance.now();
    await session.run({ X: Tensor.floats([256, 512], new Float32Array(256 * 512)) });
    const took = performance.now() - start;
    clearInterval(timer);
    // On the main thread a run lets 0 or 1 tick through, however long it takes (runtime.md 2).
    expect(took).toBeGreaterThan(20);
    expect(ticks).toBeGreaterThan(5);
    await session.release();
  });

  it("rejects what waits and what comes when it is closed", async () => {
    const other = await open();
    const session = await other.load({ bytes: slowModel(512, 5) });
    const running = Promise.allSettled([1, 2, 3].map(() => session.run({ X: Tensor.floats([256, 512], new Float32Array(256 * 512)) })));
    await other.close();
    for (const r of await running) expect(r).toMatchObject({ status: "rejected", reason: { code: "RUNTIME_CLOSED" } });
    await expect(session.run({ X: Tensor.floats([1, 512], new Float32Array(512)) })).rejects.toMatchObject({ code: "RUNTIME_CLOSED" });
    await expect(other.load({ bytes: identityModel(1) })).rejects.toMatchObject({ code: "RUNTIME_CLOSED" });
    await session.release();
    await other.close();
  });
});

function relu() {
  return { nodes: [{ op: "Relu", in: ["X"], out: ["Y"] }], inputs: [{ name: "X", shape: [4] }], outputs: [{ name: "Y", shape: [4] }] };
}

/** Where the declared second dim of X ([N, 3]) is: the last "\x08\x03" before the output's name. */
function xRowsAt(bytes: Uint8Array): number {
  const y = bytes.lastIndexOf(0x59);
  for (let i = y; i > 0; i--) if (bytes[i - 1] === 8 && bytes[i] === 3) return i;
  throw new Error("no dim found");
}

it("wasm with threads of its own closes", async () => {
  const runner = await openWebRunner({ threads: 2 });
  const session = await runner.load({ bytes: slowModel(64, 2) });
  await session.run({ X: Tensor.floats([64, 64], new Float32Array(64 * 64)) });
  await runner.close();
});

it("native and wasm agree on a convolution to the last few bits", async () => {
  const node = await openNodeRunner({ threads: 1 });
  const web = await openWebRunner();
  const floats = Array.from({ length: 8 * 8 * 9 }, (_, i) => Math.sin(i * 1.7));
  const bytes = tinyModel({
    nodes: [{ op: "Conv", in: ["X", "W"], out: ["Y"] }],
    inputs: [{ name: "X", shape: [1, 8, 12, 12] }],
    outputs: [{ name: "Y", shape: [1, 8, 10, 10] }],
    weights: [{ name: "W", dims: [8, 8, 3, 3], floats }],
  });
  const X = Tensor.floats(
    [1, 8, 12, 12],
    Float32Array.from({ length: 8 * 144 }, (_, i) => Math.cos(i * 0.3)),
  );
  const [a, b] = await Promise.all([node, web].map(async (r) => (await (await r.load({ bytes })).run({ X }))["Y"] as Tensor));
  const worst = Math.max(...(a as Tensor).numbers().map((v, i) => Math.abs(v - ((b as Tensor).numbers()[i] as number))));
  // 72 products of magnitude <= 1: 72 · 2^-24 · 72 bounds the error of both orders of summation.
  expect(worst).toBeLessThan(72 * 72 * 2 ** -24);
  await node.close();
  await web.close();
});
