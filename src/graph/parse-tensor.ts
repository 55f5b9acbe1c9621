/**
 * Tensor literals of ONNX text: `{1, 2.5}`, `{"a", "b"}`, `{...}`.
 *
 * An integer given for a float16 or bfloat16 element is its bit pattern, as in onnx.parser; one with a point or an
 * exponent (`1.0`), inf and nan are values. 8-bit and 4-bit floats are always bit patterns. Complex elements are two
 * numbers each. bool takes 0, 1, true and false.
 */
import { bitsOf, byteLengthOf, type DType, isFloat } from "./dtype.js";
import { floatToBf16, floatToF16 } from "./half.js";
import type { Lexer, Token } from "./parse-lexer.js";
import { random } from "./random.js";
import { type NumericArray, Tensor } from "./tensor.js";
import { numberOf, typeName, unquoteBytes } from "./text-syntax.js";

/** The tensor whose data come next in `lex`. `name` seeds elided data. @throws ModelError MODEL_TEXT_SYNTAX. */
export function parseTensor(lex: Lexer, dtype: DType, dims: readonly number[], name: string): Tensor {
  const start = lex.peek();
  lex.expect("{");
  if (lex.accept("...")) {
    lex.expect("}");
    return dtype === "string" ? elided(dtype, dims, name) : Tensor.lazy(dtype, dims, () => elided(dtype, dims, name).bytes);
  }
  const tokens: Token[] = [];
  if (!lex.accept("}")) {
    do tokens.push(lex.next());
    while (lex.accept(","));
    if (!lex.accept("}")) lex.fail('"," or "}"');
  }
  const size = dims.reduce((a, b) => a * b, 1);
  const perElement = dtype.startsWith("complex") ? 2 : 1;
  if (tokens.length !== size * perElement) {
    lex.fail(`${size * perElement} elements for ${typeName(dtype)}[${dims.join(",")}]`, { ...start, text: `${tokens.length}` });
  }
  return new Literal(lex, dtype).tensor(dims, tokens);
}

class Literal {
  readonly #lex: Lexer;
  readonly #dtype: DType;

  constructor(lex: Lexer, dtype: DType) {
    this.#lex = lex;
    this.#dtype = dtype;
  }

  tensor(dims: readonly number[], tokens: readonly Token[]): Tensor {
    const dtype = this.#dtype;
    const bytes = (data: NumericArray) => Tensor.ofBytes(dtype, dims, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    switch (dtype) {
      case "string":
        return Tensor.ofStrings(
          dims,
          tokens.map((t) => (t.kind === "string" ? unquoteBytes(t.text) : this.#lex.fail('a string in "…"', t))),
        );
      case "float32":
      case "complex64":
        return bytes(Float32Array.from(tokens, (t) => this.#float(t)));
      case "float64":
      case "complex128":
        return bytes(Float64Array.from(tokens, (t) => this.#float(t)));
      case "float16":
        return bytes(Uint16Array.from(tokens, (t) => (t.kind === "int" ? this.#int(t, 0, 0xffff) : floatToF16(this.#float(t)))));
      case "bfloat16":
        return bytes(Uint16Array.from(tokens, (t) => (t.kind === "int" ? this.#int(t, 0, 0xffff) : floatToBf16(this.#float(t)))));
      case "int64":
        return bytes(BigInt64Array.from(tokens, (t) => this.#big(t, -(2n ** 63n), 2n ** 63n - 1n)));
      case "uint64":
        return bytes(BigUint64Array.from(tokens, (t) => this.#big(t, 0n, 2n ** 64n - 1n)));
      case "bool":
        return bytes(Uint8Array.from(tokens, (t) => this.#bool(t)));
      case "undefined":
        return this.#lex.fail("a tensor of a defined element type");
      default:
        return this.#integers(dims, tokens);
    }
  }

  /** Integers of at most 32 bits, and the bit patterns of small floats. */
  #integers(dims: readonly number[], tokens: readonly Token[]): Tensor {
    const bits = bitsOf(this.#dtype);
    const signed = this.#dtype.startsWith("int");
    const least = signed ? -(2 ** (bits - 1)) : 0;
    const numbers = tokens.map((t) => this.#int(t, least, least + 2 ** bits - 1));
    if (!isFloat(this.#dtype)) return Tensor.fromNumbers(this.#dtype, dims, numbers);
    return Tensor.ofBytes(this.#dtype, dims, Tensor.fromNumbers(bits === 4 ? "uint4" : "uint8", dims, numbers).bytes);
  }

  #float(t: Token): number {
    const x = t.kind === "string" || t.kind === "mark" ? undefined : numberOf(t.text);
    return x ?? this.#lex.fail(`a number of type ${typeName(this.#dtype)}`, t);
  }

  #int(t: Token, least: number, most: number): number {
    const x = t.kind === "int" ? Number(t.text) : Number.NaN;
    return x >= least && x <= most ? x : this.#lex.fail(`an integer of type ${typeName(this.#dtype)}, ${least} to ${most}`, t);
  }

  #big(t: Token, least: bigint, most: bigint): bigint {
    const x = t.kind === "int" ? BigInt(t.text) : undefined;
    return x !== undefined && x >= least && x <= most ? x : this.#lex.fail(`an integer of type ${this.#dtype}, ${least} to ${most}`, t);
  }

  #bool(t: Token): number {
    if (t.text === "1" || t.text === "true") return 1;
    return t.text === "0" || t.text === "false" ? 0 : this.#lex.fail("0, 1, true or false", t);
  }
}

/**
 * Data for `{...}`: pseudo-random, decided by name, dtype and dims alone, so that a short text is a whole, runnable model.
 *
 * Floats of rank 2 and more are uniform in ±√(3 / fan-in), fan-in = elements per index of axis 0, which keeps variances
 * through layers; vectors and scalars are uniform in [0.5, 1.5), so that they also serve as scale and variance.
 * int8 and int4 are in [-8, 8), uint8 and uint4 in [0, 16), int2 and uint2 take all their values, wider integers are in
 * [0, 8), bool is 0 or 1, strings are "name.0", "name.1" …, small floats are positive and at most 2.
 */
function elided(dtype: DType, dims: readonly number[], name: string): Tensor {
  const size = dims.reduce((a, b) => a * b, 1);
  const uniform = random(name);
  const draw = (low: number, high: number, count = size) => Array.from({ length: count }, () => low + (high - low) * uniform());
  const integers = (low: number, high: number) => draw(low, high).map(Math.floor);
  const floats = (count = size) => {
    const bound = Math.sqrt((3 * (dims[0] ?? 1)) / size);
    return dims.length < 2 ? draw(0.5, 1.5, count) : draw(-bound, bound, count);
  };
  switch (dtype) {
    case "string":
      return Tensor.ofStrings(
        dims,
        Array.from({ length: size }, (_, i) => new TextEncoder().encode(`${name}.${i}`)),
      );
    case "float32":
    case "float64":
    case "float16":
    case "bfloat16":
      return Tensor.fromNumbers(dtype, dims, floats());
    case "complex64":
      return Tensor.ofBytes(dtype, dims, new Uint8Array(Float32Array.from(floats(2 * size)).buffer));
    case "complex128":
      return Tensor.ofBytes(dtype, dims, new Uint8Array(Float64Array.from(floats(2 * size)).buffer));
    case "bool":
    case "uint2":
      return Tensor.fromNumbers(dtype, dims, integers(0, dtype === "bool" ? 2 : 4));
    case "int2":
      return Tensor.fromNumbers(dtype, dims, integers(-2, 2));
    case "int8":
    case "int4":
      return Tensor.fromNumbers(dtype, dims, integers(-8, 8));
    case "uint8":
    case "uint4":
      return Tensor.fromNumbers(dtype, dims, integers(0, 16));
    case "int16":
    case "uint16":
    case "int32":
    case "uint32":
    case "int64":
    case "uint64":
      return Tensor.fromNumbers(dtype, dims, integers(0, 8));
    case "float4e2m1":
      // Bit patterns 0 to 3 are 0, 0.5, 1 and 1.5.
      return Tensor.ofBytes(dtype, dims, Tensor.fromNumbers("uint4", dims, integers(0, 4)).bytes);
    case "float8e4m3fn":
    case "float8e4m3fnuz":
    case "float8e5m2":
    case "float8e5m2fnuz":
    case "float8e8m0":
      // Below 0x40 all four formats and the bare exponent lie in [0, 2].
      return Tensor.ofBytes(dtype, dims, Uint8Array.from(integers(0, 0x40)));
    case "undefined":
      return Tensor.ofBytes(dtype, dims, new Uint8Array(byteLengthOf(dtype, size)));
    default:
      return dtype satisfies never;
  }
}
