// Damaged model files, made from good ones: bytes flipped, cut and repeated, and edits that keep the file protobuf: fields
// dropped, doubled, reordered or swapped with those of another file, numbers and names replaced.
//
// It knows protobuf's wire format and which fields of ONNX are messages, and nothing of the code under test.

/** Fields that hold messages, by message: field number to the kind of message in it (onnx.proto). */
const MESSAGES = {
  Model: { 7: "Graph", 8: "OperatorSet", 25: "Function" },
  Graph: { 1: "Node", 5: "Tensor", 11: "ValueInfo", 12: "ValueInfo", 13: "ValueInfo", 15: "SparseTensor" },
  Node: { 5: "Attribute" },
  Attribute: { 5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor" },
  ValueInfo: { 2: "Type" },
  Type: { 1: "TensorType" },
  TensorType: { 2: "Shape" },
  Shape: { 1: "Dim" },
  Function: { 7: "Node", 9: "OperatorSet", 11: "Attribute", 12: "ValueInfo" },
  SparseTensor: { 1: "Tensor", 2: "Tensor" },
  Tensor: { 13: "Entry" },
};
/** Fields of text. */
const TEXTS = {
  Node: [1, 2, 3, 4, 7],
  Graph: [2],
  Tensor: [8],
  Attribute: [1, 4, 21],
  ValueInfo: [1],
  Dim: [2],
  Entry: [1, 2],
  OperatorSet: [1],
  Function: [1, 4, 5, 6, 10],
};
/** Fields of packed or single integers. */
const INTEGERS = {
  Tensor: [1, 2, 7, 14],
  Attribute: [3, 8, 20],
  Dim: [1],
  OperatorSet: [2],
  Model: [1],
  TensorType: [1],
  SparseTensor: [3],
};

const NUMBERS = [
  0n,
  1n,
  2n,
  3n,
  7n,
  64n,
  2n ** 31n - 1n,
  2n ** 31n,
  10n ** 9n,
  10n ** 12n,
  2n ** 40n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 64n - 1n,
  2n ** 64n - 2n,
  2n ** 63n,
];
const NAMES = [
  "",
  " ",
  "\u0000",
  "../../etc/passwd",
  "/dev/zero",
  "a\nb\u001b[31m",
  "\ufffd\ufffe",
  "x".repeat(5000),
  "__proto__",
  "constructor",
  "1",
];

/** Mulberry32: a number in [0, 1) at each call. */
export function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Mutant `seed` of the good files `sources` (Uint8Arrays), and how it was made. */
export function mutantOf(seed, sources) {
  const random = randomOf(seed);
  const below = (n) => Math.floor(random() * n);
  const one = (list) => list[below(list.length)];
  const source = one(sources);
  const edits = 1 + below(3);
  if (random() < 0.25) return { bytes: byteMutant(source, edits, below, random), how: "bytes" };
  const root = parse(source, "Model");
  const other = parse(one(sources), "Model");
  const how = [];
  for (let i = 0; i < edits; i++) how.push(edit(root, other, below, one));
  return { bytes: write(root), how: how.join(", ") };
}

function byteMutant(source, edits, below, random) {
  let bytes = Uint8Array.from(source);
  for (let i = 0; i < edits && bytes.length > 0; i++) {
    const at = below(bytes.length);
    const kind = below(4);
    if (kind === 0) bytes = bytes.slice(0, at);
    else if (kind === 1) for (let k = at; k < Math.min(bytes.length, at + 1 + below(8)); k++) bytes[k] = below(256);
    else if (kind === 2) bytes[at] ^= 1 << below(8);
    else {
      const to = Math.min(bytes.length, at + 1 + below(64));
      const piece = bytes.slice(at, to);
      bytes = random() < 0.5 ? join([bytes.slice(0, at), bytes.slice(to)]) : join([bytes.slice(0, to), piece, bytes.slice(to)]);
    }
  }
  return bytes;
}

/** One edit somewhere in the tree. Fields of deep and frequent messages are as likely as the few at the top. */
function edit(root, other, below, one) {
  const all = walk(root);
  const kinds = [...new Set(all.map((m) => m.kind))];
  const kind = one(kinds);
  const message = one(all.filter((m) => m.kind === kind));
  const { fields } = message;
  const what = below(8);
  if (fields.length === 0) return "nothing";
  const at = below(fields.length);
  const field = fields[at];
  if (what === 0) fields.splice(at, 1);
  else if (what === 1) fields.splice(below(fields.length + 1), 0, field);
  else if (what === 2) {
    const to = below(fields.length);
    [fields[at], fields[to]] = [fields[to], field];
  } else if (what === 3) {
    const donors = walk(other).filter((m) => m.kind === kind && m.fields.length > 0);
    if (donors.length === 0) return "nothing";
    fields[at] = one(one(donors).fields);
  } else if (what === 4 || what === 5) {
    const numbers = fields.filter((f) => (INTEGERS[kind] ?? []).includes(f.number));
    if (numbers.length === 0) return "nothing";
    const f = one(numbers);
    if (f.wire === 0) f.value = one(NUMBERS);
    else {
      const list = readVarints(f.content ?? new Uint8Array());
      const length = what === 5 && below(4) === 0 ? below(100_000) : list.length;
      const out = Array.from({ length: Math.max(1, length) }, (_, i) => list[i % Math.max(1, list.length)] ?? 1n);
      out[below(out.length)] = one(NUMBERS);
      f.content = join(out.map(varint));
    }
  } else if (what === 6) {
    const texts = fields.filter((f) => (TEXTS[kind] ?? []).includes(f.number) && f.content);
    if (texts.length === 0) return "nothing";
    const names = all.flatMap((m) => m.fields.filter((f) => (TEXTS[m.kind] ?? []).includes(f.number) && f.content).map((f) => f.content));
    one(texts).content = below(3) === 0 ? new TextEncoder().encode(one(NAMES)) : one(names);
  } else if (field.content) field.content = field.content.slice(0, below(field.content.length + 1));
  else fields.splice(at, 1);
  return `${["drop", "double", "swap", "splice", "number", "numbers", "text", "cut"][what]} in ${kind}`;
}

function walk(message, out = []) {
  out.push(message);
  for (const f of message.fields) if (f.message) walk(f.message, out);
  return out;
}

function parse(bytes, kind) {
  const fields = [];
  let at = 0;
  const number = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const b = bytes[at++];
      value |= BigInt(b & 127) << shift;
      if (b < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(number());
    const field = { number: tag >>> 3, wire: tag & 7 };
    if (field.wire === 0) field.value = number();
    else {
      const length = field.wire === 2 ? Number(number()) : field.wire === 1 ? 8 : 4;
      const content = bytes.subarray(at, at + length);
      at += length;
      const inner = field.wire === 2 ? MESSAGES[kind]?.[field.number] : undefined;
      if (inner) field.message = parse(content, inner);
      else field.content = content;
    }
    fields.push(field);
  }
  return { kind, fields };
}

function write({ fields }) {
  return join(
    fields.flatMap((f) => {
      const tag = varint(BigInt(f.number * 8 + f.wire));
      if (f.wire === 0) return [tag, varint(f.value)];
      const content = f.message ? write(f.message) : f.content;
      return f.wire === 2 ? [tag, varint(BigInt(content.length)), content] : [tag, content];
    }),
  );
}

function varint(value) {
  const out = [];
  for (let v = BigInt.asUintN(64, value); ; v >>= 7n) {
    if (v < 128n) return Uint8Array.from([...out, Number(v)]);
    out.push(Number(v & 127n) | 128);
  }
}

function readVarints(bytes) {
  const out = [];
  let value = 0n;
  let shift = 0n;
  for (const b of bytes) {
    value |= BigInt(b & 127) << shift;
    shift += 7n;
    if (b < 128) {
      out.push(value);
      value = 0n;
      shift = 0n;
    }
  }
  return out;
}

function join(parts) {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}
