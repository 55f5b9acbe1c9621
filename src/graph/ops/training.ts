/** The operators of ai.onnx.preview.training: they stand in training graphs only. Types come from value_info. */
import { defineOp, type OpSpec } from "../op.js";

const BARRIER = "training operators relate a model to its gradients, which removal does not follow";

function training(type: string, inputs: readonly string[]): OpSpec {
  return defineOp({ type, domain: "ai.onnx.preview.training", since: [1], inputs, outputs: ["outputs..."], barrier: BARRIER });
}

export const specs: readonly OpSpec[] = [
  training("Adagrad", ["R", "T", "inputs..."]),
  training("Adam", ["R", "T", "inputs..."]),
  training("Gradient", ["Inputs..."]),
  training("Momentum", ["R", "T", "inputs..."]),
];
