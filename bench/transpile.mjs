// Sources and test support as JavaScript in a folder, so that benchmarks can run what tests run, or a changed copy of it.
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

export const root = fileURLToPath(new URL("..", import.meta.url));
const FOLDERS = ["src", "test/support", "test/fixtures"];

/** The JavaScript of one source text. */
export function javascriptOf(text, fileName) {
  const { outputText } = ts.transpileModule(text, {
    fileName,
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true },
  });
  return outputText;
}

/** Writes all of it below `folder`, in the same tree, with the packages beside it; files that are no TypeScript are copied. */
export function transpileTo(folder) {
  for (const name of FOLDERS) {
    for (const path of filesIn(name)) {
      const to = join(folder, path.replace(/(?<!\.d)\.ts$/, ".js"));
      mkdirSync(dirname(to), { recursive: true });
      if (to.endsWith(".js") && path.endsWith(".ts")) writeFileSync(to, javascriptOf(readFileSync(join(root, path), "utf8"), path));
      else cpSync(join(root, path), to);
    }
  }
  cpSync(join(root, "package.json"), join(folder, "package.json"));
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
}

function filesIn(folder) {
  try {
    return readdirSync(join(root, folder)).flatMap((name) => {
      const path = join(folder, name);
      return statSync(join(root, path)).isDirectory() ? filesIn(path) : [path];
    });
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
}
