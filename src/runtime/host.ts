/** A Runner whose runtime lives in a worker thread: starts it, talks to it, ends it. */
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { Worker } from "node:worker_threads";
import { DataError, internal, ModelError, type OnnxPruneError, RuntimeError } from "../errors.js";
import type { DType } from "../graph/dtype.js";
import type { Tensor } from "../graph/tensor.js";
import { type Doing, failure } from "./failure.js";
import type { Feeds, LoadOptions, ModelSource, Port, Provider, Runner, Session } from "./runner.js";
import { sessionOptions } from "./session-options.js";
import {
  BUSY,
  buffersOf,
  type Calls,
  CLOSING,
  fromWire,
  isCarried,
  type Kind,
  notCarried,
  type Ready,
  type Reply,
  toWire,
  type WireModel,
  type WirePort,
  type WireTensor,
  type WorkerSettings,
} from "./wire.js";
import { serve } from "./worker.js";

export interface HostOptions {
  readonly provider: Provider;
  /** npm name of the runtime package, or the path of a module that has its interface. */
  readonly package: string;
  /** What to do when the package is not installed. */
  readonly install: string;
  /** What to do when the package is there but does not load. */
  readonly otherwise: string;
  readonly threads: number;
  /** CUDA: the number of the device; default 0. */
  readonly device?: number | undefined;
}

/**
 * Absolute path of the entry of an installed package.
 * @throws RuntimeError RUNTIME_MISSING with `install` as the hint.
 */
export function locate(name: string, install: string): string {
  try {
    return createRequire(import.meta.url).resolve(name);
  } catch (cause) {
    throw new RuntimeError("RUNTIME_MISSING", `The package ${name} is needed to run models, and is not installed.`, {
      hint: install,
      cause,
    });
  }
}

/**
 * All WebGPU sessions of a process share one device context, and two threads that run at once crash the process (SIGSEGV,
 * measured with onnxruntime-node 1.30). So their runners take turns.
 */
const WEBGPU_TURN = new Int32Array(new SharedArrayBuffer(4));
let lastThread = 0;

/**
 * Starts the worker and waits until the runtime is loaded in it.
 * @throws RuntimeError RUNTIME_MISSING or RUNTIME_UNLOADABLE.
 */
export async function openHost(options: HostOptions): Promise<Runner> {
  const settings: WorkerSettings = {
    module: locate(options.package, options.install),
    wasm: options.provider === "wasm",
    threads: options.threads,
    state: new Int32Array(new SharedArrayBuffer(8)),
    thread: ++lastThread,
    ...(options.provider === "webgpu" ? { turn: WEBGPU_TURN } : {}),
  };
  // esbuild and tsx wrap inner functions in `__name` calls, which the text of `serve` then mentions.
  const source = `const { parentPort, workerData } = require("node:worker_threads");
const __name = (f) => f;
(${serve})(require(workerData.module), parentPort, workerData);`;
  // Flags of the parent such as --input-type or a loader are not for this script.
  const worker = new Worker(source, { eval: true, execArgv: [], workerData: settings, name: options.package });
  // A thread that broke off in the middle of its turn.
  worker.once("exit", () => {
    if (Atomics.compareExchange(WEBGPU_TURN, 0, settings.thread, 0) === settings.thread) Atomics.notify(WEBGPU_TURN, 0, 1);
  });
  const { version } = await started(worker, options);
  return new Host(worker, options, version, settings.state);
}

function started(worker: Worker, options: HostOptions): Promise<Ready> {
  return new Promise((done, fail) => {
    const refuse = (why: string, cause?: unknown) => {
      const message = `${options.package} is installed but does not load on ${process.platform}/${process.arch}: ${why}`;
      fail(new RuntimeError("RUNTIME_UNLOADABLE", message, { hint: options.otherwise, cause }));
    };
    const failed = (e: Error) => refuse(e.message.split("\n")[0] as string, e);
    const ended = (code: number) => refuse(`its thread ended with code ${code}.`);
    worker.on("error", failed);
    worker.on("exit", ended);
    worker.once("message", (ready: Ready) => {
      // One by one: removeAllListeners() would also remove those by which ref() and unref() work.
      worker.off("error", failed);
      worker.off("exit", ended);
      done(ready);
    });
  });
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: OnnxPruneError): void;
  readonly doing: Doing;
}

class Host implements Runner {
  readonly provider: Provider;
  readonly runtime: string;
  readonly #worker: Worker;
  readonly #threads: number;
  readonly #device: number | undefined;
  /** See WorkerSettings. */
  readonly #state: Int32Array;
  readonly #exit: Promise<void>;
  readonly #waiting = new Map<number, Waiting>();
  /** Why no more calls are taken. */
  #ended: OnnxPruneError | undefined;
  #lastId = 0;

  constructor(worker: Worker, options: HostOptions, version: string, state: Int32Array) {
    this.#state = state;
    this.provider = options.provider;
    this.runtime = `${options.package} ${version}`;
    this.#threads = options.threads;
    this.#device = options.device;
    this.#worker = worker;
    worker.on("message", (reply: Reply) => this.#settle(reply));
    worker.on("messageerror", (e) => this.#end(internal(`A reply of ${this.runtime} could not be read: ${e.message}`)));
    worker.on("error", (cause) =>
      this.#end(
        new RuntimeError("RUNTIME_CRASHED", `The thread of ${this.runtime} (${this.provider}) failed: ${cause.message}`, { cause }),
      ),
    );
    this.#exit = new Promise((done) => {
      worker.on("exit", (code) => {
        this.#end(
          new RuntimeError("RUNTIME_CRASHED", `The thread of ${this.runtime} (${this.provider}) ended unexpectedly with code ${code}.`),
        );
        process.off("exit", this.#letFinish);
        done();
      });
    });
    // An idle runner somebody forgot to close must not keep the process alive; call() holds it while a call waits.
    worker.unref();
    process.on("exit", this.#letFinish);
  }

  /**
   * At process.exit() Node terminates the thread, and a native call of onnxruntime-node that returns into a terminated
   * thread throws through C++: the process aborts with "terminate called after throwing an instance of 'Napi::Error'".
   * So the call is awaited here, synchronously, for as long as a user who pressed Ctrl-C may be patient.
   */
  readonly #letFinish = (): void => {
    Atomics.store(this.#state, CLOSING, 1);
    Atomics.wait(this.#state, BUSY, 1, 5000);
  };

  async load(model: ModelSource, options: LoadOptions = {}): Promise<Session> {
    const session = ++this.#lastId;
    const file = "path" in model ? model.path : undefined;
    const { wire, move } = toWireModel(model);
    const doing: Doing = { what: "load", provider: this.provider, ...(file === undefined ? {} : { file }) };
    const fixed = Object.fromEntries(Object.entries(options.fixed ?? {}).map(([name, t]) => [name, toWire(t, name)]));
    const { inputs, outputs } = await this.call(
      "load",
      {
        session,
        model: wire,
        options: sessionOptions({
          provider: this.provider,
          optimization: options.optimization ?? "all",
          threads: options.threads ?? this.#threads,
          lean: options.lean ?? false,
          device: this.#device,
          profile: options.profile,
        }),
        fixed,
      },
      doing,
      [...move, ...buffersOf(fixed)],
    );
    const surplus = Object.keys(fixed).find((name) => !inputs.some((i) => i.name === name));
    if (surplus !== undefined) {
      await this.call("release", { session }, doing);
      throw unknownName("FEED_UNKNOWN", "input", surplus, inputs.map(port));
    }
    const open = inputs.filter((i) => fixed[i.name] === undefined);
    return new HostSession(this, session, open.map(port), outputs.map(port), { ...doing, what: "run" });
  }

  /** Asks the thread to end after the native call it is in. Not `terminate()`: see #letFinish. */
  async close(): Promise<void> {
    this.#end(new RuntimeError("RUNTIME_CLOSED", `The runner of ${this.runtime} (${this.provider}) is closed.`));
    Atomics.store(this.#state, CLOSING, 1);
    this.#worker.ref();
    this.#worker.postMessage({ id: 0, kind: "close" });
    await this.#exit;
  }

  /** True once nothing can be asked any more. */
  get ended(): boolean {
    return this.#ended !== undefined;
  }

  call<K extends Kind>(kind: K, ask: Calls[K]["ask"], doing: Doing, move: readonly ArrayBuffer[] = []): Promise<Calls[K]["answer"]> {
    if (this.#ended) return Promise.reject(this.#ended);
    const id = ++this.#lastId;
    return new Promise<Calls[K]["answer"]>((done, reject) => {
      // The worker answers a request of kind K with the answer of kind K.
      this.#waiting.set(id, { resolve: done as (value: unknown) => void, reject, doing });
      if (this.#waiting.size === 1) this.#worker.ref();
      this.#worker.postMessage({ id, kind, ...ask }, move);
    });
  }

  #settle(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    // An answer that came after close(), which holds the thread until its end.
    if (!waiting) return;
    this.#waiting.delete(reply.id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if (reply.ok) waiting.resolve(reply.value);
    else {
      const original = new Error(reply.message);
      original.name = reply.name;
      waiting.reject(failure(original, waiting.doing));
    }
  }

  #end(why: OnnxPruneError): void {
    this.#ended ??= why;
    for (const waiting of this.#waiting.values()) waiting.reject(this.#ended);
    this.#waiting.clear();
  }
}

class HostSession implements Session {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly #host: Host;
  readonly #id: number;
  readonly #doing: Doing;
  #released = false;

  constructor(host: Host, id: number, inputs: readonly Port[], outputs: readonly Port[], doing: Doing) {
    this.#host = host;
    this.#id = id;
    this.inputs = inputs;
    this.outputs = outputs;
    this.#doing = doing;
  }

  async run(feeds: Feeds, fetch?: readonly string[]): Promise<Record<string, Tensor>> {
    for (const name of fetch ?? []) {
      if (!this.outputs.some((o) => o.name === name)) throw unknownName("FETCH_UNKNOWN", "output", name, this.outputs);
    }
    const wanted = fetch === undefined ? this.outputs : this.outputs.filter((o) => fetch.includes(o.name));
    for (const o of wanted) if (!isCarried(o.dtype)) throw notCarried(o.dtype, o.name);
    const wire = this.#feeds(feeds);
    const answer = await this.#host.call("run", { session: this.#id, feeds: wire, fetch }, this.#doing, buffersOf(wire));
    return Object.fromEntries(Object.entries(answer).map(([name, t]) => [name, fromWire(t)]));
  }

  async time(feeds: Feeds, runs: number): Promise<Float64Array> {
    const wire = this.#feeds(feeds);
    return this.#host.call("time", { session: this.#id, feeds: wire, runs }, this.#doing, buffersOf(wire));
  }

  async release(): Promise<void> {
    if (this.#released || this.#host.ended) return;
    this.#released = true;
    await this.#host.call("release", { session: this.#id }, this.#doing);
  }

  /** Names and element types are checked here: ONNX Runtime ignores surplus feeds and does not name the input of a wrong type. */
  #feeds(feeds: Feeds): Record<string, WireTensor> {
    for (const name of Object.keys(feeds)) {
      if (!this.inputs.some((i) => i.name === name)) throw unknownName("FEED_UNKNOWN", "input", name, this.inputs);
    }
    const wire: Record<string, WireTensor> = {};
    for (const { name, dtype } of this.inputs) {
      const tensor = feeds[name];
      if (!tensor) throw new DataError("FEED_MISSING", `The model's input "${name}" was not given.`, { at: { value: name } });
      if (tensor.dtype !== dtype) {
        if (!isCarried(dtype)) throw notCarried(dtype, name);
        throw new DataError("FEED_DTYPE", `Input "${name}" takes ${dtype}, but was given ${tensor.dtype} of dims [${tensor.dims}].`, {
          at: { value: name },
        });
      }
      wire[name] = toWire(tensor, name);
    }
    return wire;
  }
}

/** Copies: the caller's weights are slices of the buffers given here, and must not be detached. */
function toWireModel(model: ModelSource): { wire: WireModel; move: ArrayBuffer[] } {
  if ("path" in model) return { wire: resolve(model.path), move: [] };
  // The wasm build answers with an error about its own memory.
  if (model.bytes.length === 0) throw new ModelError("MODEL_UNREADABLE", "The model is empty: it has no bytes.");
  // Only a view of all of its buffer can be moved.
  const own = (b: Uint8Array) =>
    model.handedOver && b.byteLength === b.buffer.byteLength ? (b as Uint8Array<ArrayBuffer>) : new Uint8Array(b);
  const bytes = own(model.bytes);
  const external = (model.external ?? []).map(({ path, data }) => ({ path, data: own(data) }));
  return { wire: { bytes, external }, move: [bytes.buffer, ...external.map((e) => e.data.buffer)] };
}

function unknownName(code: string, what: string, name: string, have: readonly Port[]): DataError {
  return new DataError(code, `The model has no ${what} "${name}"; it has ${have.map((p) => `"${p.name}"`).join(", ") || "none"}.`, {
    at: { value: name },
  });
}

function port(p: WirePort): Port {
  return { name: p.name, dtype: (p.type ?? "undefined") as DType, shape: p.shape };
}
