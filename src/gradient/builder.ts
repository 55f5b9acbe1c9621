/** Building the graphs in which ONNX Runtime computes for us, node by node. */
import { type Attribute, int } from "../graph/attribute.js";
import { type DType, wireOfDtype } from "../graph/dtype.js";
import { Graph, Model, Value } from "../graph/graph.js";
import { Tensor } from "../graph/tensor.js";

export type Attributes = Readonly<Record<string, Attribute>>;

/** The opset its nodes are of: ScatterElements adds since 16, Pad takes axes since 18. */
const OPSET = 18;

/** A graph of float32 values that never leaves the process: extents are known to the run alone. */
export class Builder {
  readonly graph = new Graph("computed");
  readonly #numbers = new Map<string, Value>();

  input(name: string, dtype: DType = "float32"): Value {
    return this.graph.addInput(new Value(name, { kind: "tensor", dtype, shape: undefined }));
  }

  node(opType: string, inputs: readonly (Value | undefined)[], attributes: Attributes = {}): Value {
    return this.nodes(opType, inputs, attributes, 1)[0] as Value;
  }

  /** All `count` outputs of one node. */
  nodes(opType: string, inputs: readonly (Value | undefined)[], attributes: Attributes, count: number): readonly Value[] {
    const outputs = new Array<string>(count).fill(opType.toLowerCase());
    return this.graph.insertNode(opType, inputs, { attributes, outputs }).outputs as Value[];
  }

  floats(dims: readonly number[], numbers: ArrayLike<number>): Value {
    return this.graph.addInitializer("floats", Tensor.fromNumbers("float32", dims, numbers));
  }

  /** A list of int64: equal ones are one value. */
  ints(numbers: readonly number[]): Value {
    const key = numbers.join(",");
    const value = this.#numbers.get(key) ?? this.graph.addInitializer("ints", Tensor.ints(numbers));
    this.#numbers.set(key, value);
    return value;
  }

  scalar(x: number): Value {
    return this.floats([], [x]);
  }

  reshape(v: Value, to: readonly number[]): Value {
    return this.node("Reshape", [v, this.ints(to)]);
  }

  /** 1 where `condition` holds, else 0. */
  indicator(condition: Value): Value {
    return this.node("Cast", [condition], { to: int(wireOfDtype("float32")) });
  }

  /** Sum over `axes`, which go; over all without them. */
  total(v: Value, axes?: readonly number[]): Value {
    return this.node("ReduceSum", [v, axes && this.ints(axes)], { keepdims: int(0) });
  }

  /** Makes `value` an output called `name`. */
  give(name: string, value: Value, dtype: DType = "float32"): void {
    const out = this.graph.insertNode("Identity", [value], { outputs: [name] }).outputs[0] as Value;
    out.type = { kind: "tensor", dtype, shape: undefined };
    this.graph.addOutput(out);
  }

  get model(): Model {
    const model = new Model(this.graph);
    model.opsets.set("", OPSET);
    return model;
  }
}
