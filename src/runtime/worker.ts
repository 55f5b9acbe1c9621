/** The thread beside ONNX Runtime: `run` and `create` block the thread that calls them (measured: no timer fires meanwhile). */
import type { MessagePort } from "node:worker_threads";
import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-common";
import type { Close, Reply, Request, WirePort, WireTensor, WireTensors, WorkerSettings } from "./wire.js";

type Ort = typeof import("onnxruntime-common");

/**
 * Answers requests on `port`, one at a time, in the order they came.
 *
 * The runner starts the worker from this function's own source text, so that it runs the same from TypeScript, from
 * dist and from a bundle, with no second file to find. Hence it must not mention anything outside itself but types.
 */
export function serve(ort: Ort, port: MessagePort, settings: WorkerSettings): void {
  const ARRAYS = {
    float32: Float32Array,
    float64: Float64Array,
    float16: Uint16Array,
    int8: Int8Array,
    uint8: Uint8Array,
    int16: Int16Array,
    uint16: Uint16Array,
    int32: Int32Array,
    uint32: Uint32Array,
    int64: BigInt64Array,
    uint64: BigUint64Array,
    bool: Uint8Array,
  };
  // The indices of wire.ts, whose values cannot be imported here.
  const CLOSING = 0 satisfies typeof import("./wire.js").CLOSING;
  const BUSY = 1 satisfies typeof import("./wire.js").BUSY;
  const sessions = new Map<number, InferenceSession>();
  /** Feeds that are the same in every run of a session. */
  const fixed = new Map<number, Record<string, OrtTensor>>();

  // The first session of a process fixes the level of the default logger. Every failure reaches us as an exception too.
  ort.env.logLevel = "fatal";
  if (settings.wasm) ort.env.wasm.numThreads = settings.threads;

  function toOrt(t: WireTensor): OrtTensor {
    // The constructor is overloaded per type; the pairs in ARRAYS are the ones it accepts.
    const make = ort.Tensor as unknown as new (type: string, data: unknown, dims: readonly number[]) => OrtTensor;
    if (!(t.data instanceof Uint8Array)) return new make("string", t.data, t.dims);
    const array = ARRAYS[t.type as keyof typeof ARRAYS];
    return new make(t.type, new array(t.data.buffer as ArrayBuffer, 0, t.data.byteLength / array.BYTES_PER_ELEMENT), t.dims);
  }
  function allToOrt(feeds: WireTensors): Record<string, OrtTensor> {
    return Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, toOrt(t)]));
  }

  /** What is sent away must have its buffer for itself: a view of a larger one may be the memory of the runtime. */
  function toWire(t: OrtTensor): WireTensor {
    const data: unknown = t.data;
    if (!ArrayBuffer.isView(data)) return { type: t.type, dims: [...t.dims], data: data as string[] };
    const own = data.byteLength === data.buffer.byteLength;
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    return { type: t.type, dims: [...t.dims], data: own ? bytes : bytes.slice() };
  }

  function portsOf(metadata: readonly InferenceSession.ValueMetadata[]): WirePort[] {
    return metadata.map((m) =>
      m.isTensor ? { name: m.name, type: m.type, shape: [...m.shape] } : { name: m.name, type: undefined, shape: [] },
    );
  }

  function sessionOf(id: number): InferenceSession {
    const session = sessions.get(id);
    if (!session) throw new Error("Session already disposed.");
    return session;
  }

  async function answer(request: Request): Promise<{ value: unknown; move?: ArrayBuffer[] }> {
    switch (request.kind) {
      case "load": {
        const external = typeof request.model === "string" ? [] : request.model.external;
        const options = { ...request.options, ...(external.length > 0 ? { externalData: external } : {}) };
        // Two calls because `create` is overloaded for paths and bytes.
        const session =
          typeof request.model === "string"
            ? await ort.InferenceSession.create(request.model, options)
            : await ort.InferenceSession.create(request.model.bytes, options);
        sessions.set(request.session, session);
        fixed.set(request.session, allToOrt(request.fixed));
        return { value: { inputs: portsOf(session.inputMetadata), outputs: portsOf(session.outputMetadata) } };
      }
      case "run": {
        const session = sessionOf(request.session);
        const results = await session.run(
          { ...fixed.get(request.session), ...allToOrt(request.feeds) },
          request.fetch ?? session.outputNames,
        );
        const value: Record<string, WireTensor> = {};
        const move = new Set<ArrayBuffer>();
        for (const [name, t] of Object.entries(results)) {
          const wire = toWire(t as OrtTensor);
          if (wire.data instanceof Uint8Array) {
            // Two names of one buffer cannot both be moved.
            if (move.has(wire.data.buffer as ArrayBuffer)) value[name] = { ...wire, data: wire.data.slice() };
            else value[name] = wire;
            move.add((value[name].data as Uint8Array).buffer as ArrayBuffer);
          } else value[name] = wire;
        }
        return { value, move: [...move] };
      }
      case "time": {
        const session = sessionOf(request.session);
        const feeds = { ...fixed.get(request.session), ...allToOrt(request.feeds) };
        const times = new Float64Array(request.runs);
        for (let i = 0; i < times.length && !closing(); i++) {
          const start = performance.now();
          await session.run(feeds);
          times[i] = performance.now() - start;
        }
        return { value: times, move: [times.buffer] };
      }
      case "release": {
        const session = sessions.get(request.session);
        sessions.delete(request.session);
        fixed.delete(request.session);
        await session?.release();
        return { value: undefined };
      }
      default: {
        const never: never = request;
        throw new Error(`Unknown request ${JSON.stringify(never)}`);
      }
    }
  }

  function closing(): boolean {
    return Atomics.load(settings.state, CLOSING) === 1;
  }

  async function busy(work: () => Promise<void>): Promise<void> {
    // Busy first, then the look at CLOSING: the host does the two in the other order, so one of us sees the other.
    Atomics.store(settings.state, BUSY, 1);
    await alone(async () => {
      if (!closing()) await work();
    });
    Atomics.store(settings.state, BUSY, 0);
    Atomics.notify(settings.state, BUSY);
  }

  /** Does `work` while no other thread holds `turn`; blocks this thread until then, which has nothing else to do. */
  async function alone(work: () => Promise<void>): Promise<void> {
    const { turn, thread } = settings;
    if (!turn) return work();
    const take = () => Atomics.compareExchange(turn, 0, 0, thread);
    for (let holder = take(); holder !== 0; holder = take()) Atomics.wait(turn, 0, holder);
    try {
      await work();
    } finally {
      Atomics.store(turn, 0, 0);
      Atomics.notify(turn, 0, 1);
    }
  }

  async function end(): Promise<void> {
    await alone(async () => {
      for (const session of sessions.values()) await session.release();
    });
    port.close();
  }

  async function reply(request: Request): Promise<void> {
    try {
      const { value, move } = await answer(request);
      port.postMessage({ id: request.id, ok: true, value } as Reply, move ?? []);
    } catch (e) {
      // Wasm builds throw plain numbers and strings when they abort.
      const error = e instanceof Error ? e : new Error(String(e));
      port.postMessage({ id: request.id, ok: false, name: error.name, message: error.message } satisfies Reply);
    }
  }

  let last: Promise<void> = Promise.resolve();
  port.on("message", (request: Request | Close) => {
    last = last.then(() => (request.kind === "close" ? end() : busy(() => reply(request))));
  });
  const versions = ort.env.versions as { readonly node?: string; readonly web?: string; readonly common: string };
  port.postMessage({ version: versions.node ?? versions.web ?? versions.common });
}
