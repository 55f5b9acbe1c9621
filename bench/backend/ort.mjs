// ONNX Runtime beside the library: loads and runs models as bytes, and compares what came out.
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { decode, encode, joinChunks } from "../../dist/graph/index.js";

// What ONNX Runtime 1.30 loads. Newer files are run with these versions instead: an operator that is newer than its opset
// is refused there, and of the others the old definition is compared with itself.
const HIGHEST_IR = 11;
const HIGHEST_OPSET = 26;

/** Bytes for running: a copy whose versions ONNX Runtime takes, all node outputs of the main graph added as outputs if `all`. */
export function runnable(bytes, { all = false, types } = {}) {
  const model = decode(bytes);
  if (model.irVersion <= HIGHEST_IR && model.opset <= HIGHEST_OPSET && !all) return bytes;
  model.irVersion = Math.min(model.irVersion, HIGHEST_IR);
  model.opsets.set("", Math.min(model.opset, HIGHEST_OPSET));
  if (all) {
    for (const node of model.graph.nodes) {
      for (const v of node.outputs) {
        if (!v || v.isOutput || types(v.name)?.kind !== "tensor") continue;
        // Whatever the file says of it must not reach the runtime, which would refuse a stale shape.
        v.type = undefined;
        v.origin = undefined;
        model.graph.addOutput(v);
      }
    }
  }
  return joinChunks(encode(model));
}

/** Outputs by name: { type, dims, data }. */
export async function run(bytes, feeds, fetch) {
  const session = await InferenceSession.create(bytes, { graphOptimizationLevel: "disabled", logSeverityLevel: 4, intraOpNumThreads: 1 });
  try {
    const given = {};
    for (const name of session.inputNames) if (feeds[name]) given[name] = toOrt(feeds[name]);
    return fetch ? await session.run(given, fetch) : await session.run(given);
  } finally {
    await session.release();
  }
}

function toOrt(t) {
  const dims = [...t.dims];
  if (t.dtype === "string")
    return new OrtTensor(
      "string",
      t.strings.map((s) => Buffer.from(s).toString("utf8")),
      dims,
    );
  if (t.dtype === "bool") return new OrtTensor("bool", Uint8Array.from(t.data), dims);
  return new OrtTensor(t.dtype, t.data, dims);
}

/** undefined when both runs gave the same bits; else the first difference in words. */
export function firstDifference(a, b) {
  for (const [name, x] of Object.entries(a)) {
    const y = b[name];
    if (!y) return `output "${name}" is missing`;
    if (x.type !== y.type || x.dims.join() !== y.dims.join()) return `output "${name}": ${x.type}[${x.dims}] against ${y.type}[${y.dims}]`;
    for (let i = 0; i < x.data.length; i++)
      if (!Object.is(x.data[i], y.data[i])) return `output "${name}"[${i}]: ${x.data[i]} against ${y.data[i]}`;
  }
  return Object.keys(a).length === Object.keys(b).length ? undefined : "more outputs than before";
}

/** max|a - b| over max|b|, the largest over all outputs; Infinity where only one is finite or shapes differ. */
export function relative(a, b) {
  let worst = 0;
  for (const [name, y] of Object.entries(b)) {
    const x = a[name];
    if (!x || x.dims.join() !== y.dims.join()) return Number.POSITIVE_INFINITY;
    let scale = 0;
    for (const v of y.data) if (Math.abs(Number(v)) > scale && Number.isFinite(Number(v))) scale = Math.abs(Number(v));
    for (let i = 0; i < y.data.length; i++) {
      if (Object.is(x.data[i], y.data[i])) continue;
      const d = Math.abs(Number(x.data[i]) - Number(y.data[i])) / (scale || 1);
      if (!(d <= worst)) worst = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d;
    }
  }
  return worst;
}

/** Whether any element of any output is a number. */
export function isTelling(outputs) {
  return Object.values(outputs).some(
    (t) => t.type !== "string" && Array.from(t.data).some((v) => Number.isFinite(Number(v)) && Number(v) !== 0),
  );
}
