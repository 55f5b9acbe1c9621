// A criterion of your own: onnx-prune in.onnx out.onnx --pass ./examples/own-criterion.mjs --macs 0.5
import { defineCriterion, z } from "onnx-prune";

/** Channels are ranked by the largest weight of their filters. */
export default defineCriterion({
  name: "largest-weight",
  summary: "the largest absolute weight of their filters",
  source: "an example",
  options: z.strictObject({ power: z.number().gt(0).default(1).describe("exponent of the score") }),
  needs: ["weights"],
  comparable: false,

  prepare({ power }) {
    return (group) => {
      const scores = new Float64Array(group.choices.length);
      for (const slot of group.slots.filter((s) => s.role === "producer")) {
        const tensor = slot.value.constant;
        for (let k = 0; k < scores.length; k++) {
          const filter = tensor.take(slot.axis, slot.positions(k)).numbers();
          for (const w of filter) scores[k] = Math.max(scores[k], Math.abs(w) ** power);
        }
      }
      return { scores };
    };
  },
});
