// Compiles src to dist and copies what the compiler leaves alone (the generated protobuf code).
import { execFileSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
rmSync(at("dist"), { recursive: true, force: true });
execFileSync(process.execPath, [at("node_modules/typescript/bin/tsc"), "-p", at("tsconfig.json")], { stdio: "inherit" });
cpSync(at("src/graph/proto/generated"), at("dist/graph/proto/generated"), {
  recursive: true,
  filter: (path) => !/\.(?<!d\.)ts$/.test(path),
});
