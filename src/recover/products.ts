/** Products of large float64 matrices by ONNX Runtime: some ten times as fast as loops in JavaScript (bench/recovery/cholesky.mjs). */
import { ints } from "../graph/attribute.js";
import { Graph, type Model, Value } from "../graph/graph.js";
import { Tensor } from "../graph/tensor.js";
import type { Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import { give, modelAround } from "./little.js";

/** One little session, opened when it is first needed. */
export class Products {
  readonly #runner: Runner;
  #session: Promise<Session> | undefined;

  constructor(runner: Runner) {
    this.#runner = runner;
  }

  /** a·bᵀ, [m, n] row-major, of a [m, k] and b [n, k]. */
  async timesTransposed(a: Float64Array, b: Float64Array, m: number, n: number, k: number): Promise<Float64Array> {
    if (m * n * k === 0) return new Float64Array(m * n);
    this.#session ??= this.#runner.load(sourceOf(productModel()));
    const { product } = await (await this.#session).run({ a: doubles(a, [m, k]), b: doubles(b, [n, k]) });
    return (product as Tensor).numbers() as Float64Array;
  }

  async release(): Promise<void> {
    await (await this.#session)?.release();
    this.#session = undefined;
  }
}

function doubles(numbers: Float64Array, dims: readonly number[]): Tensor {
  return Tensor.ofBytes("float64", dims, new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
}

function productModel(): Model {
  const graph = new Graph("product");
  const [a, b] = ["a", "b"].map((name) => graph.addInput(new Value(name, { kind: "tensor", dtype: "float64", shape: undefined })));
  const transposed = graph.insertNode("Transpose", [b], { attributes: { perm: ints([1, 0]) } }).outputs[0];
  const out = graph.insertNode("MatMul", [a, transposed], { outputs: ["product"] }).outputs[0] as Value;
  give(graph, out, "float64");
  return modelAround(graph);
}
