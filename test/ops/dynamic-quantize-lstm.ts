import { int } from "../../src/graph/attribute.js";
import { f32, type OpCase, of, x } from "./case.js";

const bytes = (dims: readonly number[]) =>
  of(
    "uint8",
    Array.from({ length: dims.reduce((a, b) => a * b) }, (_, i) => (i * 11) % 256),
    dims,
  );
const none = [undefined, undefined, undefined, undefined] as const;

export const cases: readonly OpCase[] = [
  {
    op: "DynamicQuantizeLSTM",
    domain: "com.microsoft",
    opset: 17,
    name: "one direction",
    attributes: { hidden_size: int(4) },
    inputs: [
      x([5, 2, 3]),
      bytes([1, 3, 16]),
      bytes([1, 4, 16]),
      x([1, 32]),
      ...none,
      f32(0.01),
      of("uint8", [100]),
      f32(0.01),
      of("uint8", [90]),
    ],
    outputs: 3,
    macs: 5 * 2 * 4 * 4 * 7,
  },
];
