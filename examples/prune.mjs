// The library: node examples/prune.mjs in.onnx out.onnx [data]
import { modelInputs, openSamples, prune, readModel, writeModel } from "onnx-prune";

const [input, output, where] = process.argv.slice(2);
const model = await readModel(input);
const data = where === undefined ? undefined : await openSamples(where, modelInputs(model));
const { model: pruned, report } = await prune(model, {
  passes: ["l1"],
  target: { macs: 0.7 },
  data,
});
await writeModel(output, pruned);

const { before, after } = report.cost;
console.log(`MACs ${before.macs} -> ${after.macs}, parameters ${before.parameters} -> ${after.parameters}`);
for (const { what, maxRel } of report.equality) console.log(`${what}: relative error ${maxRel}`);
if (report.accuracy) console.log(`top-1 ${report.accuracy.before.top1} -> ${report.accuracy.after.top1}`);
