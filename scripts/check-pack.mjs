/**
 * Packs the package, installs the tarball in an empty folder as a user would, and prunes a model there: with ONNX Runtime,
 * and without it (which must fail with the remedy, while inspect works). Needs the npm registry; takes minutes.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const npm = (args, cwd) =>
  execFileSync("npm", args, {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: "skip" },
  });
const work = mkdtempSync(join(tmpdir(), "onnx-prune-pack-"));
try {
  const [packed] = JSON.parse(npm(["pack", "--json", "--ignore-scripts", "--pack-destination", work], root));
  console.log(`${packed.filename}: ${packed.files.length} files, ${(packed.size / 2 ** 20).toFixed(2)} MiB`);
  npm(["init", "--yes"], work);
  npm(["install", "--no-audit", "--no-fund", join(work, packed.filename)], work);
  copyFileSync(join(root, "models/mnist_lenet5.onnx"), join(work, "in.onnx"));
  expect(["--help"], 0, /onnx-prune <in\.onnx> <out\.onnx>/);
  expect(["inspect", "in.onnx"], 0, /4 groups of channels/);
  expect(["in.onnx", "out.onnx", "--pass", "l1", "--macs", "0.5", "--no-latency"], 0, /ok {4}l1/);
  execFileSync(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      'import { readModel } from "onnx-prune"; import { print } from "onnx-prune/graph"; print(await readModel("out.onnx"))',
    ],
    { cwd: work, stdio: "inherit" },
  );

  rmSync(join(work, "node_modules/onnxruntime-node"), { recursive: true });
  expect(["inspect", "in.onnx"], 0, /4 groups of channels/);
  expect(["in.onnx", "out.onnx", "--pass", "l1", "--macs", "0.5"], 1, /ONNXRUNTIME_NODE_INSTALL=skip npm i onnxruntime-node/);
  console.log("The package works.");
} finally {
  rmSync(work, { recursive: true, force: true });
}

function expect(args, code, text) {
  const ran = spawnSync("npx", ["--no-install", "onnx-prune", ...args], { cwd: work, encoding: "utf8" });
  if (ran.status === code && text.test(ran.stdout + ran.stderr)) return;
  throw new Error(
    `onnx-prune ${args.join(" ")} should exit with ${code} and say ${text}; it exited with ${ran.status}:\n${ran.stdout}${ran.stderr}`,
  );
}
