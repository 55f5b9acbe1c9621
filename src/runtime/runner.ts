/** What the rest of the library knows of ONNX Runtime: a Runner loads models, a Session runs one. */
import type { DType } from "../graph/dtype.js";
import type { Tensor } from "../graph/tensor.js";

export type Provider = "cpu" | "cuda" | "webgpu" | "wasm";

/**
 * A model as bytes, with the external data it names (`path` as written in the model), or as a file.
 * Bytes are copied, unless `handedOver` says that nobody else needs them: then they are detached. External data beside a file is found by the native providers only.
 */
export type ModelSource =
  | {
      readonly bytes: Uint8Array;
      readonly external?: readonly { readonly path: string; readonly data: Uint8Array }[];
      readonly handedOver?: boolean;
    }
  | { readonly path: string };

export interface LoadOptions {
  /** ONNX Runtime's graph optimisation level; default "all". */
  readonly optimization?: "disabled" | "basic" | "extended" | "all";
  /** Threads inside one operator; default: the runner's. */
  readonly threads?: number;
  /**
   * Inputs that are the same in every run of the session, which then has them no more: weights given so take their bytes
   * of memory once, where an initializer takes them three times while a model is loaded.
   */
  readonly fixed?: Feeds;
  /** Spare memory rather than time: weights are not copied into the layout of kernels. Results may differ in rounding. */
  readonly lean?: boolean;
  /** Path with which the file of a profile begins, which the session writes when it is released; native providers only. */
  readonly profile?: string;
}

/** An input or output as the model declares it. A symbolic dim is its name, "" if it has none. */
export interface Port {
  readonly name: string;
  /** "undefined" for sequences, maps and optionals, which cannot be fed or fetched. */
  readonly dtype: DType;
  /** Empty for a scalar and for an undeclared rank: ONNX Runtime does not tell them apart. */
  readonly shape: readonly (number | string)[];
}

export type Feeds = Readonly<Record<string, Tensor>>;

/** Runs models on one execution provider. All its sessions take turns; open a second runner to run two at once. */
export interface Runner {
  readonly provider: Provider;
  /** Package and version, for reports: "onnxruntime-node 1.30.0". */
  readonly runtime: string;
  /**
   * @throws ModelError if ONNX Runtime refuses the model; UnsupportedError if it does not know an op, opset or type of it;
   *   RuntimeError if the provider cannot be used.
   */
  load(model: ModelSource, options?: LoadOptions): Promise<Session>;
  /** Ends everything: calls that still wait are rejected. May be called twice. */
  close(): Promise<void>;
}

export interface Session {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /**
   * Runs the model. `fetch` names the wanted outputs (default: all). The result owns its memory.
   * @throws DataError if feeds do not fit the inputs or `fetch` names no output; UnsupportedError for element types
   *   ONNX Runtime does not take from JavaScript (bfloat16, fp8, complex …).
   */
  run(feeds: Feeds, fetch?: readonly string[]): Promise<Record<string, Tensor>>;
  /** Milliseconds of each of `runs` runs with the same feeds, taken beside the runtime: no messages or copies of feeds in them. */
  time(feeds: Feeds, runs: number): Promise<Float64Array>;
  /** Frees the model's memory. May be called twice. */
  release(): Promise<void>;
}
