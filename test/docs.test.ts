/** Generated documents say what the code says. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { version } from "../src/version.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (file: string) => readFileSync(root + file, "utf8");

describe("documents", () => {
  it("docs/ops.md, passes.md and errors.md are what `npm run docs` makes", () => {
    expect(() => execFileSync(process.execPath, ["scripts/docs.mjs", "--check"], { cwd: root, stdio: "pipe" })).not.toThrow();
  });

  it("every relative link of the documents leads to a file of the repository", () => {
    for (const document of [
      "README.md",
      "CONTRIBUTING.md",
      "CHANGELOG.md",
      "docs/compare.md",
      "docs/data.md",
      "docs/widths.md",
      "docs/providers.md",
    ]) {
      for (const [, target] of read(document).matchAll(/\]\((?!https?:|#)([^)#]+)/g))
        expect(() => readFileSync(root + target), `${document}: ${target}`).not.toThrow("ENOENT");
    }
  });

  it("the version of the library is that of the package", () => {
    expect(version).toBe((JSON.parse(read("package.json")) as { version: string }).version);
  });

  it("the test command of the README is the one continuous integration runs", () => {
    expect(read("README.md")).toContain("npm ci && npm test");
    expect(read(".ci/run")).toMatch(/npm ci[\s\S]*npm test/);
  });
});
