// Networks of published shapes with random weights: for timing, where what is computed does not matter.
import { network } from "./layers.mjs";

/**
 * ResNet-18 or -50 (He et al. 2016, table 1) for 224×224 images, random weights of He's scale, BatchNormalization folded as
 * exporters do: 20 or 53 convolutions and a Gemm.
 */
export function resnet(depth) {
  const isDeep = depth === 50;
  const { input, conv, pool, node, relu, flatten, linear, finish } = network(`resnet${depth}`);
  let x = pool(conv(input, 3, 64, 7, 2), 3, 1, "pool");
  let width = 64;
  for (const [stage, blocks] of (isDeep ? [3, 4, 6, 3] : [2, 2, 2, 2]).entries()) {
    const inner = 64 * 2 ** stage;
    for (let b = 0; b < blocks; b++) {
      const stride = stage > 0 && b === 0 ? 2 : 1;
      const out = isDeep ? inner * 4 : inner;
      const y = isDeep
        ? conv(conv(conv(x, width, inner, 1, 1), inner, inner, 3, stride), inner, out, 1, 1, false)
        : conv(conv(x, width, inner, 3, stride), inner, out, 3, 1, false);
      const skip = stride > 1 || width !== out ? conv(x, width, out, 1, stride, false) : x;
      x = relu(node("Add", [y, skip], `add${stage}_${b}`), `relu${stage}_${b}`);
      width = out;
    }
  }
  x = flatten(node("GlobalAveragePool", [x], "gap"));
  return finish(linear(x, width, 1000, "fc", "logits"), 1000);
}
