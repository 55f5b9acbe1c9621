/** Folders depend one way: each imports from those before it, never from those after. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../src/", import.meta.url));
const files = readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((f) => f.endsWith(".ts"))
  .sort();

/** From the bottom up; names in one row may not import each other, save their own files. */
const ORDER = [
  ["errors.ts", "suggest.ts", "version.ts"],
  ["graph"],
  ["gradient"],
  ["runtime"],
  ["calibrate"],
  ["score"],
  ["passes"],
  ["report.ts"],
  ["recover"],
  ["verify"],
  ["gates"],
  ["compare"],
  ["export"],
  ["planning.ts"],
  ["pipeline.ts"],
  ["cli", "index.ts"],
] as const;

const layerOf = (file: string) => ORDER.findIndex((names) => (names as readonly string[]).includes(topOf(file)));
const topOf = (file: string) => file.split("/")[0] as string;

/** Modules a file imports, types and dynamic imports included: inside src by path, others by name. */
function importsOf(file: string): string[] {
  const info = ts.preProcessFile(readFileSync(join(root, file), "utf8"), true, true);
  return info.importedFiles.map(({ fileName }) =>
    fileName.startsWith(".") ? normalize(join(dirname(file), fileName)).replace(/\.js$/, ".ts") : fileName,
  );
}

function identifiersOf(file: string): Set<string> {
  const found = new Set<string>();
  const visit = (node: ts.Node): void => {
    const isMember =
      node.parent && ((ts.isPropertyAccessExpression(node.parent) && node.parent.name === node) || ts.isPropertySignature(node.parent));
    if (ts.isIdentifier(node) && !isMember) found.add(node.text);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, readFileSync(join(root, file), "utf8"), ts.ScriptTarget.Latest, true));
  return found;
}

describe("architecture", () => {
  it("every file of src is in a folder of the order", () => {
    expect(files.filter((f) => layerOf(f) < 0)).toEqual([]);
  });

  it("imports lead downwards", () => {
    const upward = files.flatMap((file) =>
      importsOf(file)
        .filter((to) => to.endsWith(".ts") && (layerOf(to) > layerOf(file) || (layerOf(to) === layerOf(file) && topOf(to) !== topOf(file))))
        .map((to) => `${file} imports ${to}`),
    );
    expect(upward).toEqual([]);
  });

  it("src/graph runs in a browser: no Node module, no Node global, no package but the protobuf reader", () => {
    const graph = files.filter((f) => topOf(f) === "graph" || layerOf(f) === 0);
    expect(
      graph.flatMap((f) =>
        importsOf(f)
          .filter((to) => !to.endsWith(".ts") && to !== "protobufjs/minimal.js")
          .map((to) => `${f} imports ${to}`),
      ),
    ).toEqual([]);
    const globals = ["Buffer", "process", "require", "__dirname", "setImmediate"];
    expect(graph.flatMap((f) => globals.filter((g) => identifiersOf(f).has(g)).map((g) => `${f} uses ${g}`))).toEqual([]);
  });

  it("only src/runtime loads ONNX Runtime, and never eagerly", () => {
    const loads = files.flatMap((f) =>
      importsOf(f)
        .filter((to) => to.startsWith("onnxruntime-"))
        .map((to) => `${topOf(f)}: ${to}`),
    );
    expect([...new Set(loads)].filter((l) => !/^runtime: onnxruntime-common$/.test(l))).toEqual([]);
  });

  it("only src/cli touches the process and prints", () => {
    // Temporary files say whose they are (export/replace.ts): that names the process, and asks whether another still runs.
    const outside = files.filter((f) => topOf(f) !== "cli" && topOf(f) !== "runtime" && f !== "export/replace.ts");
    expect(outside.filter((f) => identifiersOf(f).has("console") || identifiersOf(f).has("process"))).toEqual([]);
  });
});
