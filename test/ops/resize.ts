import { floats, ints, string } from "../../src/graph/attribute.js";
import { f32, i64, type OpCase, x } from "./case.js";

const X = x([1, 2, 5, 7]);
const nearest = { mode: string("nearest") };
const asymmetric = { mode: string("nearest"), coordinate_transformation_mode: string("asymmetric"), nearest_mode: string("floor") };
const none = f32();

export const cases: readonly OpCase[] = [
  { op: "Upsample", opset: 7, name: "scales attribute", attributes: { ...nearest, scales: floats([1, 1, 2, 1.5]) }, inputs: [X] },
  { op: "Upsample", opset: 9, name: "scales input", attributes: nearest, inputs: [X, f32(1, 1, 2, 1.5)] },
  { op: "Resize", opset: 10, name: "scales", attributes: nearest, inputs: [X, f32(1, 1, 0.5, 2)] },
  { op: "Resize", opset: [11, 13, 18, 19], name: "scales up", attributes: asymmetric, inputs: [X, none, f32(1, 1, 2, 2)], macs: 0 },
  { op: "Resize", opset: [11, 13], name: "scales that round", attributes: asymmetric, inputs: [X, none, f32(1, 1, 1.7, 0.3)] },
  {
    op: "Resize",
    opset: 11,
    name: "sizes with empty scales",
    attributes: { mode: string("linear") },
    inputs: [X, none, none, i64(1, 2, 9, 6)],
  },
  {
    op: "Resize",
    opset: [13, 18, 19],
    name: "sizes",
    attributes: { mode: string("linear") },
    inputs: [X, undefined, undefined, i64(1, 2, 9, 6)],
  },
  {
    op: "Resize",
    opset: 13,
    name: "sizes only a run knows",
    attributes: { mode: string("linear") },
    inputs: [X, undefined, undefined, i64(1, 2, 9, 6)],
    hidden: [3],
  },
  {
    op: "Resize",
    opset: [18, 19],
    name: "axes with scales",
    attributes: { ...asymmetric, axes: ints([3, 2]) },
    inputs: [X, undefined, f32(3, 2)],
  },
  {
    op: "Resize",
    opset: 18,
    name: "axes with sizes",
    attributes: { ...asymmetric, axes: ints([-2, -1]) },
    inputs: [X, undefined, undefined, i64(11, 4)],
  },
  {
    op: "Resize",
    opset: 18,
    name: "not_larger",
    attributes: { ...asymmetric, axes: ints([2, 3]), keep_aspect_ratio_policy: string("not_larger") },
    inputs: [X, undefined, undefined, i64(12, 11)],
  },
  {
    op: "Resize",
    opset: 19,
    name: "not_smaller",
    attributes: { ...asymmetric, axes: ints([2, 3]), keep_aspect_ratio_policy: string("not_smaller") },
    inputs: [X, undefined, undefined, i64(12, 11)],
  },
];
