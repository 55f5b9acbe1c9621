"""onnxsim's structured pruning on the shared nets, MACs met by bisecting its sparsity as far as it can. Called by run.mjs with a job file.

A variant is <criterion>/<scope>/<recovery>.
  criterion  l1, l2: apply_structured_pruning by importance_norm; wanda: apply_structured_wanda_pruning on calibration images
  scope      local, global: global_sparsity (which leaves residual groups whole, as its documentation says)
  recovery   what onnxsim 0.8.1 itself offers after pruning: none;
             finetune: apply_pruning_finetune, its ridge regression (MatMul and Gemm only);
             bias: correct_bias against the original;
             bn: recover_batch_norm with the original as target, at convolutions that kept all their channels (it compares by channel, and
             makes the others white).
The files with BatchNormalization folded are given: onnxsim expects it fused, and leaves all convolutions of the others whole.
"""

import time

import numpy as np
import onnx
import onnxsim
from onnxsim import pruning

from job import Job, attempt, nearest, say

IMAGES = 256


def batches(job: Job) -> list[dict]:
    return [{"input": job.inputs[start : start + 64]} for start in range(0, IMAGES, 64)]


def weights_of(model: onnx.ModelProto) -> dict:
    return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


class Counter:
    """MACs of Conv and Gemm by the shapes of the original's outputs, which keep their names and positions."""

    def __init__(self, model: onnx.ModelProto):
        inferred = onnx.shape_inference.infer_shapes(model)
        self.positions = {
            value.name: int(np.prod([d.dim_value for d in value.type.tensor_type.shape.dim[2:]] or [1]))
            for value in inferred.graph.value_info
        }

    def __call__(self, model: onnx.ModelProto) -> int:
        weights = weights_of(model)
        return sum(
            int(np.prod(weights[node.input[1]])) * (self.positions[node.output[0]] if node.op_type == "Conv" else 1)
            for node in model.graph.node
            if node.op_type in ("Conv", "Gemm")
        )


def prune(model: onnx.ModelProto, job: Job, criterion: str, scope: str, sparsity: float) -> onnx.ModelProto:
    everywhere = scope == "global"
    if criterion == "wanda":
        return pruning.apply_structured_wanda_pruning(
            model, calibration_data=batches(job), sparsity=sparsity, global_sparsity=everywhere
        )
    return pruning.apply_structured_pruning(model, sparsity=sparsity, importance_norm=criterion, global_sparsity=everywhere)


def recover(original: onnx.ModelProto, small: onnx.ModelProto, job: Job, recovery: str) -> onnx.ModelProto:
    if recovery == "none":
        return small
    if recovery == "finetune":
        return onnxsim.apply_pruning_finetune(original, small, calibration_data=batches(job))
    if recovery == "bias":
        return onnxsim.correct_bias(original, small, calibration_data=batches(job))
    before, after = weights_of(original), weights_of(small)
    whole = [n.output[0] for n in small.graph.node if n.op_type == "Conv" and before[n.input[1]][0] == after[n.input[1]][0]]
    if not whole:
        raise ValueError("Not applicable: no convolution kept all its channels, and recover_batch_norm compares by channel.")
    return onnxsim.recover_batch_norm(small, whole, calibration_data=batches(job), target_model=original)


def main() -> None:
    job = Job()
    original = onnx.load(job.model)
    count = Counter(original)
    whole = count(original)
    asked = {}
    for want in job.want:
        criterion, scope, recovery = want["variant"].split("/")
        asked.setdefault((want["keep"], criterion, scope), []).append(recovery)
    for (keep, criterion, scope), recoveries in asked.items():
        variant_of = lambda recovery: f"{criterion}/{scope}/{recovery}"  # noqa: E731
        start = time.monotonic()
        made = {}

        def search():
            def make(sparsity):
                small = prune(original, job, criterion, scope, sparsity)
                return small, count(small)

            made["small"], made["macs"], made["sparsity"] = nearest(make, keep * whole)
            before, after = weights_of(original), weights_of(made["small"])
            made["cut"] = sum(1 for name, shape in after.items() if before[name] != shape)
            if made["cut"] == 0:
                raise ValueError("Declined without a message: it gave the net back as it was.")

        attempt(keep, [variant_of(r) for r in recoveries], search)
        if "cut" not in made or made["cut"] == 0:
            continue
        for recovery in recoveries:

            def work():
                file = job.files(keep, variant_of(recovery))
                onnx.save(recover(original, made["small"], job, recovery), file)
                say(
                    keep=keep, variant=variant_of(recovery), file=file, macs=made["macs"] / whole, ratio=made["sparsity"],
                    seconds=time.monotonic() - start,
                )  # fmt: skip

            attempt(keep, [variant_of(recovery)], work)


main()
