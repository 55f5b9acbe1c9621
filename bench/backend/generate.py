"""Writes the node cases of ONNX's backend tests, which the wheel holds as code, into a folder like those it holds as files.

    python bench/backend/generate.py <folder>

Each case becomes <folder>/node/<name>/model.onnx with test_data_set_0/input_0.pb, output_0.pb, ...
"""

import pathlib
import sys

import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_node_model_tests


def as_message(data, value_type):
    if isinstance(data, onnx.TensorProto):
        return data
    if value_type.HasField("sequence_type"):
        return numpy_helper.from_list(data)
    if value_type.HasField("optional_type"):
        return numpy_helper.from_optional(data)
    return numpy_helper.from_array(data)


def main(folder: pathlib.Path) -> None:
    written, skipped = 0, []
    for case in load_node_model_tests():
        target = folder / "node" / case.name
        target.mkdir(parents=True, exist_ok=True)
        (target / "model.onnx").write_bytes(case.model.SerializeToString())
        written += 1
        for i, (inputs, outputs) in enumerate(case.data_sets):
            data = target / f"test_data_set_{i}"
            data.mkdir(exist_ok=True)
            try:
                for kind, values, declared in (("input", inputs, case.model.graph.input), ("output", outputs, case.model.graph.output)):
                    for j, (value, info) in enumerate(zip(values, declared)):
                        message = as_message(value, info.type)
                        (data / f"{kind}_{j}.pb").write_bytes(message.SerializeToString())
            except Exception as error:  # A case whose data has no file form still counts as a model.
                skipped.append(f"{case.name}: {error}")
    print(f"{written} node cases written to {folder / 'node'}; data of {len(skipped)} left out")
    for line in skipped:
        print(" ", line)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
