import { int, ints } from "../../src/graph/attribute.js";
import { between, type OpCase, x } from "./case.js";

const shape = ints([2, 3]);
const double = int(11);

export const cases: readonly OpCase[] = [
  { op: "RandomNormal", opset: 1, name: "float32 by default", attributes: { shape }, inputs: [], macs: 0 },
  { op: "RandomUniform", opset: 1, name: "double", attributes: { shape, dtype: double }, inputs: [], macs: 0 },
  { op: "RandomNormalLike", opset: 1, name: "of the input's type", inputs: [x([2, 3])], macs: 0 },
  { op: "RandomUniformLike", opset: 1, name: "double", attributes: { dtype: double }, inputs: [x([2, 3])], macs: 0 },
  { op: "Bernoulli", opset: 15, name: "of the input's type", inputs: [between(0, 1, [2, 3])], macs: 0 },
  {
    op: "Multinomial",
    opset: 7,
    name: "four draws of int64",
    attributes: { dtype: int(7), sample_size: int(4) },
    inputs: [x([2, 3])],
    macs: 0,
  },
];
