// Lines of the core analysis: src/graph/coupling, and what the op files add to it (axis equations, what they change when
// an axis shrinks, and the functions these share). Lines without a token (blank, comment) do not count.
//
//   node bench/lines.mjs [--json]
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const at = (path) => fileURLToPath(new URL(`../src/graph/${path}`, import.meta.url));
const sources = (folder) =>
  readdirSync(at(folder))
    .filter((f) => f.endsWith(".ts"))
    .sort()
    .map((f) => ts.createSourceFile(f, readFileSync(at(`${folder}/${f}`), "utf8"), ts.ScriptTarget.Latest, true));

/** Lines on which a token of `node` stands. */
function linesOf(node, source, lines = new Set()) {
  const children = node.getChildren(source).filter((c) => c.kind < ts.SyntaxKind.FirstJSDocNode || c.kind > ts.SyntaxKind.LastJSDocNode);
  if (children.length === 0 && node.getWidth(source) > 0) {
    const first = source.getLineAndCharacterOfPosition(node.getStart(source)).line;
    const last = source.getLineAndCharacterOfPosition(node.getEnd()).line;
    for (let line = first; line <= last; line++) lines.add(line);
  }
  for (const c of children) linesOf(c, source, lines);
  return lines;
}

/** Parameter types that make a function of an op file part of the analysis. */
const ANALYSIS = /\b(Axis|AxisContext|ResizeContext|Slot)\b/;

/** In an op file: the `axes` and `resize` of its specs, and functions over axes. */
function analysisOf(source) {
  const lines = new Set();
  const visit = (node) => {
    const isRule = ts.isObjectLiteralElement(node) && ["axes", "resize"].includes(node.name?.getText(source));
    const isFunction = ts.isFunctionDeclaration(node) || ts.isArrowFunction(node);
    const isShared = isFunction && node.parameters.some((p) => ANALYSIS.test(p.type?.getText(source) ?? ""));
    if (isRule || isShared) linesOf(node, source, lines);
    else ts.forEachChild(node, visit);
  };
  visit(source);
  return lines;
}

const coupling = sources("coupling").map((s) => ({ file: `coupling/${s.fileName}`, lines: linesOf(s, s).size }));
const ops = sources("ops").map((s) => ({ file: `ops/${s.fileName}`, lines: analysisOf(s).size }));
const sum = (list) => list.reduce((n, f) => n + f.lines, 0);
const result = {
  coupling: sum(coupling),
  ops: sum(ops),
  total: sum(coupling) + sum(ops),
  files: [...coupling, ...ops.filter((f) => f.lines > 0)],
};

if (process.argv.includes("--json")) console.log(JSON.stringify(result));
else {
  for (const f of result.files) console.log(`${String(f.lines).padStart(6)}  ${f.file}`);
  console.log(`${String(result.total).padStart(6)}  core analysis: ${result.coupling} in coupling, ${result.ops} in the op files`);
}
