/** float16 and bfloat16 bit patterns to numbers and back, round to nearest even. Node 20 has no Float16Array. */

const buffer = new DataView(new ArrayBuffer(4));

export function f16ToFloat(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 0x1f;
  const fraction = h & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

export function floatToF16(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const a = Math.abs(x);
  if (a >= 65520) return sign | 0x7c00;
  if (a < 2 ** -25) return sign;
  // The unit in the last place at this exponent; below 2^-14 numbers are subnormal and the unit stays 2^-24.
  const exponent = Math.max(-14, Math.floor(Math.log2(a)));
  const unit = 2 ** (exponent - 10);
  const q = roundEven(a / unit);
  // q in [1024, 2048] for normal numbers: 2048 carries into the exponent by plain addition.
  return sign | (exponent === -14 ? q : ((exponent + 14) << 10) + q);
}

export function bf16ToFloat(b: number): number {
  buffer.setUint32(0, b << 16);
  return buffer.getFloat32(0);
}

export function floatToBf16(x: number): number {
  if (Number.isNaN(x)) return 0x7fc0;
  buffer.setFloat32(0, x);
  const bits = buffer.getUint32(0);
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function roundEven(x: number): number {
  const f = Math.floor(x);
  const d = x - f;
  if (d > 0.5 || (d === 0.5 && f % 2 === 1)) return f + 1;
  return f;
}
