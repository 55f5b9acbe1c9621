// A shared network, and the samples its recovery is fitted to and judged by.
import { join } from "node:path";
import { modelInputs, openSamples, readModel } from "../../dist/index.js";

const MNIST = { data: "data/mnist#test", calibrate: "data/mnist#train[:50000]" };
// One image of every second class: a quarter calibrates, the rest reports.
const IMAGENET = { data: "data/imagenet_sample[1::4,2::4,3::4]", calibrate: "data/imagenet_sample[::4]" };

/** `split` is of CIFAR-10: val to choose, test to report. Calibration samples come from train. */
export async function opened({ shared, net, split, samples, seed = 0 }) {
  if (!shared) throw new Error("Give --shared, the folder with the models and data sets.");
  const cifar = { data: `data/cifar10/${split}.bin.gz`, calibrate: "data/cifar10/train.bin.gz" };
  const source = net.startsWith("mnist") ? MNIST : net.startsWith("imagenet") ? IMAGENET : cifar;
  const file = join(shared, "models", `${net}.onnx`);
  const model = await readModel(file);
  const open = (where, more = {}) =>
    openSamples(join(shared, where), { ...modelInputs(model), preprocess: file.replace(/\.onnx$/, ".json"), ...more });
  const data = await open(source.data);
  const calibration = await open(source.calibrate, { limit: Number(samples), balanced: source !== IMAGENET, seed: Number(seed) });
  return { model, data, calibration };
}
