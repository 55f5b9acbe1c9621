/** insert-gates: squeeze-and-excitation gates that change nothing yet. */
import { z } from "zod";
import { ConfigError } from "../errors.js";
import { findGroups } from "../graph/coupling/groups.js";
import { closest } from "../suggest.js";
import { emitGate, hiddenWidth, identityGate } from "./gates/emit.js";
import { gateSites } from "./gates/sites.js";
import { definePass } from "./pass.js";

/**
 * X ← X·2σ(W2·relu(W1·GAP(X) + b1) + b2) with W2 = 0, b1 = b2 = 0: 2·σ(0) is exactly 1. What is added is a place to train or fit
 * attention (src/gates); on tokens [N, T, C] the mean is over T.
 *
 * ONNX Runtime gives the same bits at every optimisation level, with one exception under `where: "all"`: at level "all" its blocked
 * convolution (com.microsoft.nchwc.Conv) starts its sum from a residual operand, and with a gate on the skip it adds it last.
 *
 * Source: that attention follows the removal of structures is in the abstract of Chen 2020 (see dominos); this form, its places and
 * its start are a reconstruction.
 *
 * @see Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018
 * @throws ConfigError GATE_UNKNOWN for a name under `at` that no place for a gate has.
 */
export const insertGates = definePass({
  name: "insert-gates",
  summary: "put squeeze-and-excitation gates, the exact identity until trained, on feature maps",
  options: z.strictObject({
    where: z
      .enum(["inner", "all"])
      .default("inner")
      .describe("inner: maps of channels that meet no others in a residual sum; all: every map that weights read"),
    reduction: z.number().min(1).default(4).describe("r: the hidden layer of a gate on C channels has C/r"),
    at: z.array(z.string()).optional().describe("only on values of these names"),
    seed: z.int().default(0).describe("seed of the first layer's weights"),
  }),
  effect: "exact",

  run(model, { options, note }) {
    if (model.opset < 7) {
      note({ code: "GATE_DECLINED", about: "the model", why: "before opset 7 Mul does not broadcast as gates need it" });
      return false;
    }
    const { sites, declined } = gateSites(findGroups(model), options.where);
    const names = [...sites.map((s) => s.value.name), ...declined.map((d) => d.about)];
    for (const name of options.at ?? []) {
      if (names.includes(name)) continue;
      const near = closest(name, names);
      throw new ConfigError("GATE_UNKNOWN", `No gate can stand at "${name}": weights do not read channels from such a value.`, {
        hint: near ? `Did you mean "${near}"?` : "Without `at`, gates go wherever they can.",
      });
    }
    const isWanted = (name: string) => options.at?.includes(name) ?? true;
    for (const d of declined) if (isWanted(d.about)) note(d);
    const wanted = sites.filter((s) => isWanted(s.value.name));
    for (const site of wanted) {
      const { channels, value } = site;
      emitGate(model, site, identityGate(channels, hiddenWidth(channels, options.reduction), `${options.seed}:${value.name}`));
    }
    return wanted.length > 0;
  },
});
