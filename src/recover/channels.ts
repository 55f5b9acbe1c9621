/** Means and covariances of the channels of a value, over all its positions and samples. */
import { int, ints } from "../graph/attribute.js";
import { Graph, type Model, Value } from "../graph/graph.js";
import { Tensor } from "../graph/tensor.js";
import type { Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import { give, modelAround } from "./little.js";

/**
 * Sums of [x; 1]·[x; 1]ᵀ in float64, x the channels at one position. A layer's own moments will not do: their patches hold the zeros of
 * padding and of a transposed convolution's gaps, which no map of channels makes.
 */
export class ChannelSums {
  readonly channels: number;
  readonly #session: Session;
  readonly #sums: Float64Array;

  private constructor(session: Session, channels: number) {
    this.#session = session;
    this.channels = channels;
    this.#sums = new Float64Array((channels + 1) ** 2);
  }

  /** For values like `x`, [N, C, …] or, with `channelsLast`, [N, …, C]. */
  static async open(runner: Runner, x: Tensor, channelsLast: boolean): Promise<ChannelSums> {
    const channels = (channelsLast ? x.dims.at(-1) : x.dims[1]) as number;
    return new ChannelSums(await runner.load(sourceOf(gram(x, channels, channelsLast))), channels);
  }

  async add(x: Tensor): Promise<void> {
    const rows = x.size / this.channels;
    const ones = Tensor.fromNumbers("float64", [1, rows], new Float64Array(rows).fill(1));
    const { sums } = await this.#session.run({ x, ones });
    const numbers = (sums as Tensor).numbers();
    for (let i = 0; i < this.#sums.length; i++) this.#sums[i] = (this.#sums[i] as number) + (numbers[i] as number);
  }

  /** [C] and, row-major, [C, C]. */
  moments(): { readonly mean: Float64Array; readonly covariance: Float64Array } {
    const { channels: C } = this;
    const D = C + 1;
    const n = this.#sums[D * D - 1] as number;
    const mean = Float64Array.from({ length: C }, (_, c) => (this.#sums[c * D + C] as number) / n);
    const covariance = new Float64Array(C * C);
    for (let c = 0; c < C; c++) {
      for (let d = 0; d < C; d++) {
        covariance[c * C + d] = (this.#sums[c * D + d] as number) / n - (mean[c] as number) * (mean[d] as number);
      }
    }
    return { mean, covariance };
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

function gram(like: Tensor, channels: number, channelsLast: boolean): Model {
  const graph = new Graph("channels");
  const input = (name: string, dtype: Tensor["dtype"]) => graph.addInput(new Value(name, { kind: "tensor", dtype, shape: undefined }));
  const node = (opType: string, inputs: readonly Value[], attributes: Parameters<typeof graph.insertNode>[2] = {}) =>
    graph.insertNode(opType, inputs, attributes).outputs[0] as Value;
  const reshaped = (v: Value, dims: readonly number[]) => node("Reshape", [v, graph.addInitializer("dims", Tensor.ints(dims))]);
  const transposed = (v: Value, perm: readonly number[]) => node("Transpose", [v], { attributes: { perm: ints(perm) } });
  const [x, ones] = [input("x", like.dtype), input("ones", "float64")];
  // [C, positions of all samples]
  const rows = channelsLast
    ? transposed(reshaped(x, [-1, channels]), [1, 0])
    : reshaped(transposed(reshaped(x, [0, channels, -1]), [1, 0, 2]), [channels, -1]);
  const v = node("Concat", [node("Cast", [rows], { attributes: { to: int(11) } }), ones], { attributes: { axis: int(0) } });
  const out = node("MatMul", [v, transposed(v, [1, 0])], { outputs: ["sums"] });
  give(graph, out, "float64");
  return modelAround(graph);
}
