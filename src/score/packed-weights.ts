/** The real numbers of a weight that several numbers to a byte are packed into: MatMulNBits of com.microsoft. */
import type { Use } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";

export interface Unpacked {
  readonly numbers: () => Float64Array;
  /** Those of the tensor, its last axis counting numbers instead of bytes. */
  readonly dims: readonly number[];
}

/**
 * B [N, blocks, bytes] of MatMulNBits as numbers (q − z)·s, the lowest bits of a byte first; 0 behind the end of K, where the
 * last block is short. undefined for other reads, and where scales or zero points are no constants.
 */
export function unpacked(tensor: Tensor, { node, index }: Use): Unpacked | undefined {
  if (node.qualifiedType !== "com.microsoft.MatMulNBits" || index !== 1 || tensor.dims.length !== 3) return undefined;
  const [N, blocks, bytes] = tensor.dims as unknown as readonly [number, number, number];
  const bits = node.int("bits", 4);
  const size = node.int("block_size", 0);
  const perByte = 8 / bits;
  const scale = node.inputs[2]?.constant?.numbers();
  const zero = zeroPoints(node.inputs[3]?.constant, N, blocks, bits);
  if (!scale || scale.length !== N * blocks || bytes * perByte !== size || (node.inputs[3] && !zero)) return undefined;
  const K = node.int("K", blocks * size);
  const numbers = (): Float64Array => {
    const packed = tensor.numbers();
    return Float64Array.from({ length: N * blocks * size }, (_, i) => {
      const block = Math.floor(i / size);
      if ((block % blocks) * size + (i % size) >= K) return 0;
      const byte = packed[Math.floor(i / perByte)] as number;
      const q = (byte >> ((i % perByte) * bits)) & ((1 << bits) - 1);
      return (q - (zero?.(block) ?? 1 << (bits - 1))) * (scale[block] as number);
    });
  };
  return { numbers, dims: [N, blocks, size] };
}

/** Zero points by block (n·blocks + b): one number each, or packed row by row as the weight is. */
function zeroPoints(tensor: Tensor | undefined, N: number, blocks: number, bits: number): ((block: number) => number) | undefined {
  if (!tensor) return undefined;
  const numbers = tensor.numbers();
  if (tensor.dtype !== "uint8") return numbers.length === N * blocks ? (block) => numbers[block] as number : undefined;
  const perRow = Math.ceil((blocks * bits) / 8);
  if (numbers.length !== N * perRow) return undefined;
  return (block) => {
    const at = (block % blocks) * bits;
    const byte = numbers[Math.floor(block / blocks) * perRow + Math.floor(at / 8)] as number;
    return (byte >> (at % 8)) & ((1 << bits) - 1);
  };
}
