import { f32, i64, type OpCase, of, scalar, x } from "./case.js";

const three = [x([2, 1, 4]), x([3, 1], 2), x([4], 3)];

export const cases: readonly OpCase[] = ["Sum", "Mean", "Max", "Min"]
  .flatMap((op): OpCase[] => [
    { op, opset: [8, 13], name: "three tensors broadcast", inputs: three },
    { op, opset: [7, 8, 13], name: "two of one shape", inputs: [x([2, 3]), x([2, 3], 2)] },
    { op, opset: 13, name: "one tensor", inputs: [x([2, 3])] },
  ])
  .concat(
    ["Max", "Min"].flatMap((op): OpCase[] => [
      { op, opset: [12, 13], name: "int64 vectors", inputs: [i64(3, 8, -2), i64(5, 8, 1)] },
      { op, opset: 13, name: "int64 with a scalar", inputs: [i64(3, 8, 12), scalar(5)] },
      { op, opset: 13, name: "NaN", inputs: [f32(1, Number.NaN, 3), f32(Number.NaN, 2, 1)] },
      { op, opset: 13, name: "uint8", inputs: [of("uint8", [3, 200]), of("uint8", [100])] },
    ]),
  );
