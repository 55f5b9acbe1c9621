// A pass of your own: onnx-prune in.onnx out.onnx --pass ./examples/own-pass.mjs
import { definePass, z } from "onnx-prune";

/** Relu(Relu(x)) is Relu(x): readers of the second read the first. */
export default definePass({
  name: "merge-relus",
  summary: "merge a Relu into the Relu before it",
  options: z.strictObject({}),
  effect: "exact",

  run(model, { note }) {
    let changed = false;
    for (const node of [...model.graph.nodes]) {
      const [input] = node.inputs;
      if (node.qualifiedType !== "Relu" || input?.producer?.qualifiedType !== "Relu") continue;
      if (!model.graph.bypass(node.outputs[0], input)) {
        note({ code: "RELU_KEPT", about: node.label, why: "its output and its input both have names that others rely on" });
        continue;
      }
      model.graph.removeNode(node);
      changed = true;
    }
    return changed;
  },
});
