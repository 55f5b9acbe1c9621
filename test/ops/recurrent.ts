import { int, string } from "../../src/graph/attribute.js";
import { type OpCase, x } from "./case.js";

const H = 3;
const X = x([5, 2, 4]);
const weights = (directions: number, gates: number) => [x([directions, gates * H, 4]), x([directions, gates * H, H])];
const macs = (directions: number, gates: number) => 5 * 2 * directions * gates * H * (4 + H);
const both = string("bidirectional");

export const cases: readonly OpCase[] = [
  {
    op: "LSTM",
    opset: [7, 14, 22],
    name: "forward",
    attributes: { hidden_size: int(H) },
    inputs: [X, ...weights(1, 4)],
    outputs: 3,
    macs: macs(1, 4),
  },
  {
    op: "LSTM",
    opset: 14,
    name: "bidirectional, bias",
    attributes: { hidden_size: int(H), direction: both },
    inputs: [X, ...weights(2, 4), x([2, 8 * H])],
    outputs: 3,
    macs: macs(2, 4),
  },
  {
    op: "LSTM",
    opset: 14,
    name: "initial state",
    attributes: { hidden_size: int(H) },
    inputs: [X, ...weights(1, 4), undefined, undefined, x([1, 2, H]), x([1, 2, H], 2)],
    outputs: 3,
  },
  {
    op: "GRU",
    opset: [7, 14, 22],
    name: "forward",
    attributes: { hidden_size: int(H) },
    inputs: [X, ...weights(1, 3)],
    outputs: 2,
    macs: macs(1, 3),
  },
  {
    op: "GRU",
    opset: 14,
    name: "bidirectional, linear_before_reset",
    attributes: { hidden_size: int(H), direction: both, linear_before_reset: int(1) },
    inputs: [X, ...weights(2, 3), x([2, 6 * H])],
    outputs: 2,
  },
  {
    op: "RNN",
    opset: [7, 14, 22],
    name: "reverse",
    attributes: { hidden_size: int(H), direction: string("reverse") },
    inputs: [X, ...weights(1, 1)],
    outputs: 2,
    macs: macs(1, 1),
  },
];
