// Where the time of a model goes, by the profile that ONNX Runtime writes: nodes as its optimiser left them.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sourceOf } from "../../dist/runtime/source.js";

/** Nodes in order of execution: { name, op, milliseconds } with the least of `runs` runs. */
export async function nodesOf(runner, model, feeds, runs = 15) {
  const folder = mkdtempSync(join(tmpdir(), "onnx-prune-bench-"));
  try {
    const session = await runner.load(sourceOf(model), { profile: join(folder, "run") });
    await session.time(feeds, runs);
    await session.release();
    const [file] = readdirSync(folder);
    const nodes = new Map();
    for (const { cat, name, dur, args } of JSON.parse(readFileSync(join(folder, file), "utf8"))) {
      if (cat !== "Node" || !name?.endsWith("_kernel_time")) continue;
      const of = name.slice(0, -"_kernel_time".length);
      const node = nodes.get(of) ?? {
        name: of,
        op: args.op_name,
        input: args.input_type_shape,
        output: args.output_type_shape,
        milliseconds: Number.POSITIVE_INFINITY,
      };
      node.milliseconds = Math.min(node.milliseconds, dur / 1000);
      nodes.set(of, node);
    }
    return [...nodes.values()];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Milliseconds by kind of node: convolutions by kernel, depthwise apart; other operators by type. */
export async function kindsOf(runner, model, feeds) {
  const kinds = {};
  for (const n of await nodesOf(runner, model, feeds)) {
    const kind = kindOf(n);
    kinds[kind] = Number(((kinds[kind] ?? 0) + n.milliseconds).toFixed(3));
  }
  return kinds;
}

function kindOf({ op, input }) {
  const weight = input?.[1] && Object.values(input[1])[0];
  if (!op.includes("Conv") || !weight) return op;
  const [, perGroup, k] = weight;
  return `${op} ${k}×${k}${perGroup === 1 ? " depthwise" : ""}`;
}
