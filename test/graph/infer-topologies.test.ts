import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { compareWithRun } from "../support/actual-shapes.js";

const folder = new URL("../fixtures/topologies/", import.meta.url);

describe("inferred types of the topology fixtures", () => {
  for (const file of readdirSync(folder).filter((f) => f.endsWith(".onnx"))) {
    for (const batch of [2, 3]) {
      it(`every value of ${file} has the shape that ONNX Runtime gives it at batch ${batch}`, async () => {
        const report = await compareWithRun(readFileSync(new URL(file, folder)), { input: [batch, 3, 8, 8] });
        expect(report.wrong).toEqual([]);
        expect(report.unknown).toEqual([]);
        expect(report.symbolic).toBe(report.values);
      });
    }
  }
});
