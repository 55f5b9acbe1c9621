// How the time of analysis grows with a graph: CPU time of decoding, inference, coupling and grouping, each size in a process of its own.
//
//   npm run build && node bench/coupling/scale.mjs [--rounds 3] [--only residual,dense,gather]
//
// Graphs: "residual", a chain of blocks of Conv, Relu, Conv, Add with a change of width every 50 blocks (5,000 and 50,000
// nodes); "dense", one block of a DenseNet, where layer k reads the concatenation of all before it (200 and 800 layers);
// "gather", 1,000 random permutations of 512 channels in a row. Goal: 10 times the nodes take at most 12 times as long.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readModel } from "../../dist/export/read.js";
import { writeModel } from "../../dist/export/write.js";
import { int } from "../../dist/graph/attribute.js";
import { cost } from "../../dist/graph/cost.js";
import { couple } from "../../dist/graph/coupling/couple.js";
import { findGroups } from "../../dist/graph/coupling/groups.js";
import { Graph, Model, Node, Value } from "../../dist/graph/graph.js";
import { infer } from "../../dist/graph/infer.js";
import { random } from "../../dist/graph/random.js";
import { Tensor } from "../../dist/graph/tensor.js";

const GRAPHS = {
  residual: { sizes: [5_000, 50_000], make: residual },
  dense: { sizes: [200, 800], make: dense },
  gather: { sizes: [100, 1_000], make: gathers },
};
const STEPS = ["decode", "infer", "couple", "groups", "cost"];

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    only: { type: "string", default: Object.keys(GRAPHS).join(",") },
    measure: { type: "string" },
  },
});
if (values.measure) await measure(values.measure);
else {
  const folder = mkdtempSync(join(tmpdir(), "onnx-prune-scale-"));
  try {
    for (const name of values.only.split(",")) await compare(name, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function compare(name, folder) {
  const { sizes, make } = GRAPHS[name];
  const totals = [];
  for (const size of sizes) {
    const file = join(folder, `${name}-${size}.onnx`);
    await writeModel(file, make(size));
    const runs = Array.from({ length: Number(values.rounds) }, () =>
      JSON.parse(execFileSync(process.execPath, [fileURLToPath(import.meta.url), "--measure", file], { encoding: "utf8" })),
    );
    const median = (key) => runs.map((r) => r[key]).sort((a, b) => a - b)[Math.floor(runs.length / 2)];
    totals.push(median("total"));
    const parts = STEPS.map((s) => `${s} ${median(s).toFixed(0)}`).join(", ");
    console.log(`${name} ${size}: ${runs[0].nodes} nodes, ${runs[0].found} groups, ${median("total").toFixed(0)} ms CPU (${parts})`);
  }
  const growth = totals[1] / totals[0];
  console.log(`${name}: ${(sizes[1] / sizes[0]).toFixed(0)} times the size, ${growth.toFixed(1)} times the time`);
}

async function measure(file) {
  const out = {};
  let last = process.cpuUsage();
  const step = (name) => {
    const used = process.cpuUsage(last);
    out[name] = (used.user + used.system) / 1000;
    last = process.cpuUsage();
  };
  const model = await readModel(file, { hash: false });
  step("decode");
  const types = infer(model);
  step("infer");
  const typing = couple(model, types);
  step("couple");
  const coupling = findGroups(model, typing);
  step("groups");
  cost(model, types);
  step("cost");
  out.total = STEPS.reduce((n, s) => n + out[s], 0);
  console.log(JSON.stringify({ ...out, nodes: model.graph.nodes.length, found: coupling.groups.length }));
}

function builder(shape) {
  const graph = new Graph("scale");
  const model = new Model(graph);
  model.opsets.set("", 17);
  model.irVersion = 8;
  const input = graph.addInput(new Value("x", { kind: "tensor", dtype: "float32", shape }));
  // Names are unique by construction, so nodes are appended without looking for free ones.
  const add = (type, inputs, name, attributes = {}) => {
    const node = new Node(type, { name });
    for (const [i, v] of inputs.entries()) node.setInput(i, v);
    for (const [k, a] of Object.entries(attributes)) node.setAttribute(k, a);
    const y = new Value(`${name}.y`);
    node.addOutput(y);
    graph.appendNode(node);
    return y;
  };
  const weight = (name, dims) =>
    graph.addInitializer(name, Tensor.floats(dims, new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(0.5)));
  const conv = (x, from, to, name) => add("Conv", [x, weight(`${name}.w`, [to, from, 1, 1])], name);
  const finish = (y, channels) => {
    const z = add("GlobalAveragePool", [y], "gap");
    const out = conv(z, channels, 4, "head");
    graph.addOutput(out);
    return model;
  };
  return { graph, input, add, weight, conv, finish };
}

function residual(nodes) {
  const { input, add, conv, finish } = builder(["N", 4, 8, 8]);
  let width = 8;
  let x = conv(input, 4, width, "stem");
  for (let b = 0; b < nodes / 4; b++) {
    if (b % 50 === 49) {
      const next = width === 8 ? 12 : 8;
      x = conv(x, width, next, `down${b}`);
      width = next;
    }
    const y = conv(add("Relu", [conv(x, width, width, `a${b}`)], `r${b}`), width, width, `b${b}`);
    x = add("Add", [x, y], `s${b}`);
  }
  return finish(x, width);
}

function dense(layers) {
  const { input, add, conv, finish } = builder(["N", 4, 8, 8]);
  let x = conv(input, 4, 8, "stem");
  let width = 8;
  for (let k = 0; k < layers; k++) {
    const y = conv(add("Relu", [x], `r${k}`), width, 4, `c${k}`);
    x = add("Concat", [x, y], `cat${k}`, { axis: int(1) });
    width += 4;
  }
  return finish(x, width);
}

function gathers(count) {
  const { graph, input, add, conv, finish } = builder(["N", 4, 8, 8]);
  const C = 512;
  let x = conv(input, 4, C, "stem");
  const uniform = random("gathers");
  for (let k = 0; k < count; k++) {
    const order = Array.from({ length: C }, (_, i) => i);
    for (let i = C - 1; i > 0; i--) {
      const j = Math.floor(uniform() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    x = add("Gather", [x, graph.addInitializer(`i${k}`, Tensor.ints(order))], `g${k}`, { axis: int(1) });
  }
  return finish(x, C);
}
