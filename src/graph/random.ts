/** Seeded pseudo-random numbers: the same seed gives the same stream on every machine and in every version. */

/**
 * A stream of uniform numbers in [0, 1), each a multiple of 2^-32.
 * The seed may be any number (its low 32 bits count) or text. The generator is sfc32.
 *
 * @see Chris Doty-Humphrey, PractRand, RNG/sfc.
 */
export function random(seed: number | string): () => number {
  let a = 0;
  let b = 0;
  let c = typeof seed === "string" ? hash(seed) : seed >>> 0;
  let counter = 1;
  const next = () => {
    const out = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + out) | 0;
    return (out >>> 0) / 2 ** 32;
  };
  // Neighbouring seeds start out alike; some rounds part them.
  for (let round = 0; round < 15; round++) next();
  return next;
}

/** One number of the standard normal distribution, from two numbers of `uniform` (Box–Muller). */
export function normal(uniform: () => number): number {
  // 1 - u lies in (0, 1]: the logarithm stays finite.
  const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
  return radius * Math.cos(2 * Math.PI * uniform());
}

/** 32-bit FNV-1a of the text's UTF-16 units. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}
