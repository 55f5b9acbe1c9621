// Time from file to groups of a ResNet-50 (25.5 M parameters, random weights, 224×224), each run in a process of its own.
//
//   npm run build && node bench/coupling/resnet50.mjs
import { execFileSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readModel } from "../../dist/export/read.js";
import { writeModel } from "../../dist/export/write.js";
import { int, ints } from "../../dist/graph/attribute.js";
import { findGroups } from "../../dist/graph/coupling/groups.js";
import { Graph, Model, Value } from "../../dist/graph/graph.js";
import { random } from "../../dist/graph/random.js";
import { Tensor } from "../../dist/graph/tensor.js";

if (process.argv[2] === "--measure") {
  const file = process.argv[3];
  const t0 = performance.now();
  const model = await readModel(file, { hash: false });
  const t1 = performance.now();
  const coupling = findGroups(model);
  const t2 = performance.now();
  console.log(
    JSON.stringify({
      parse: t1 - t0,
      couple: t2 - t1,
      total: t2 - t0,
      groups: coupling.groups.length,
      channels: coupling.groups.reduce((n, g) => n + g.choices.length, 0),
    }),
  );
} else {
  const file = join(tmpdir(), `onnx-prune-resnet50-${process.pid}.onnx`);
  try {
    if (!existsSync(file)) await writeModel(file, resnet50());
    const runs = Array.from({ length: 7 }, () =>
      JSON.parse(execFileSync(process.execPath, [fileURLToPath(import.meta.url), "--measure", file], { encoding: "utf8" })),
    );
    const median = (key) => [...runs.map((r) => r[key])].sort((a, b) => a - b)[3];
    console.log(
      `ResNet-50: ${runs[0].groups} groups, ${runs[0].channels} channels; medians of 7 processes: parse ${median("parse").toFixed(0)} ms, infer and couple ${median("couple").toFixed(0)} ms, together ${median("total").toFixed(0)} ms`,
    );
  } finally {
    rmSync(file, { force: true });
  }
}

/** He et al. 2016, table 1, BatchNormalization folded as exporters do: 53 convolutions and a Gemm. */
function resnet50() {
  const graph = new Graph("resnet50");
  const model = new Model(graph);
  model.opsets.set("", 13);
  model.irVersion = 7;
  const uniform = random("resnet50");
  const weight = (name, dims) => {
    const n = dims.reduce((a, b) => a * b, 1);
    return graph.addInitializer(
      name,
      Tensor.floats(
        dims,
        Float32Array.from({ length: n }, () => uniform() - 0.5),
      ),
    );
  };
  let count = 0;
  const conv = (x, from, to, k, stride, relu = true) => {
    const name = `conv${count++}`;
    const pad = (k - 1) / 2;
    const y = graph.insertNode("Conv", [x, weight(`${name}.weight`, [to, from, k, k]), weight(`${name}.bias`, [to])], {
      outputs: [`${name}.out`],
      attributes: { kernel_shape: ints([k, k]), strides: ints([stride, stride]), pads: ints([pad, pad, pad, pad]) },
    }).outputs[0];
    return relu ? graph.insertNode("Relu", [y], { outputs: [`${name}.relu`] }).outputs[0] : y;
  };
  const input = graph.addInput(new Value("input", { kind: "tensor", dtype: "float32", shape: ["N", 3, 224, 224] }));
  let x = conv(input, 3, 64, 7, 2);
  x = graph.insertNode("MaxPool", [x], {
    outputs: ["pool"],
    attributes: { kernel_shape: ints([3, 3]), strides: ints([2, 2]), pads: ints([1, 1, 1, 1]) },
  }).outputs[0];
  let width = 64;
  for (const [stage, blocks] of [3, 4, 6, 3].entries()) {
    const inner = 64 * 2 ** stage;
    for (let b = 0; b < blocks; b++) {
      const stride = stage > 0 && b === 0 ? 2 : 1;
      const y = conv(conv(conv(x, width, inner, 1, 1), inner, inner, 3, stride), inner, inner * 4, 1, 1, false);
      const skip = b === 0 ? conv(x, width, inner * 4, 1, stride, false) : x;
      const sum = graph.insertNode("Add", [y, skip], { outputs: [`add${stage}_${b}`] }).outputs[0];
      x = graph.insertNode("Relu", [sum], { outputs: [`relu${stage}_${b}`] }).outputs[0];
      width = inner * 4;
    }
  }
  x = graph.insertNode("GlobalAveragePool", [x], { outputs: ["gap"] }).outputs[0];
  x = graph.insertNode("Flatten", [x], { outputs: ["flat"], attributes: { axis: int(1) } }).outputs[0];
  const fc = graph.insertNode("Gemm", [x, weight("fc.weight", [1000, 2048]), weight("fc.bias", [1000])], {
    outputs: ["logits"],
    attributes: { transB: int(1) },
  }).outputs[0];
  fc.type = { kind: "tensor", dtype: "float32", shape: ["N", 1000] };
  graph.addOutput(fc);
  return model;
}
