// VGG-16 with random weights: for timing, where what is computed does not matter.
import { network } from "./layers.mjs";

/** VGG-16 (Simonyan, Zisserman 2015, table 1, column D) for 224×224 images, random weights of He's scale: 13 convolutions, 3 Gemms. */
export function vgg16() {
  const { input, conv, pool, relu, flatten, linear, finish } = network("vgg16");
  let x = input;
  let width = 3;
  for (const [stage, convs] of [2, 2, 3, 3, 3].entries()) {
    const to = Math.min(512, 64 * 2 ** stage);
    for (let c = 0; c < convs; c++) {
      x = conv(x, width, to, 3, 1);
      width = to;
    }
    x = pool(x, 2, 0, `pool${stage}`);
  }
  x = relu(linear(flatten(x), width * 7 * 7, 4096, "fc0", "fc0.out"), "fc0.relu");
  x = relu(linear(x, 4096, 4096, "fc1", "fc1.out"), "fc1.relu");
  return finish(linear(x, 4096, 1000, "fc2", "logits"), 1000);
}
