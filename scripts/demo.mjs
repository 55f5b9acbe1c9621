// The main job on a model and data of this repository: prunes ResNet-56 to 80 % of its multiply-accumulates and writes out/.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const args = [
  "models/cifar10_resnet56.onnx",
  "out/resnet56.onnx",
  "--pass",
  "similar",
  "--macs",
  "0.8",
  "--data",
  "models/data/cifar10-50.bin.gz",
];
mkdirSync(`${root}out`, { recursive: true });
console.log(`onnx-prune ${args.join(" ")}\n`);
process.exitCode = spawnSync(process.execPath, ["bin/onnx-prune.js", ...args], { cwd: root, stdio: "inherit" }).status ?? 1;
