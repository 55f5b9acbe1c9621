import { f32, type OpCase } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "Inverse", domain: "com.microsoft", opset: 17, name: "a batch", inputs: [f32(2, 1, 1, 3, 1, 0, 0, 4).reshape([2, 2, 2])], macs: 0 },
];
