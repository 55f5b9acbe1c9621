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
import { findGroups } from "../../dist/graph/coupling/groups.js";
import { resnet } from "../nets/resnet.mjs";

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
    if (!existsSync(file)) await writeModel(file, resnet(50));
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
