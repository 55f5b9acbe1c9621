"""The shared CIFAR-10 nets as PyTorch modules, with the weights of their ONNX files.

Only the files that keep BatchNormalization as nodes are read: BN-scale criteria need them. A file without Add becomes an nn.Sequential of its
nodes; one with Add must be a CIFAR ResNet of basic blocks whose shortcuts take every other position and pad channels with zeros
("option A" of He et al. 2016), its weights named layer<stage>.<block>.conv1.weight and so on. `check` says whether the module is the file.
"""

import re

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)); the shortcut pads `before` and `after` zero channels."""

    def __init__(self, channels: int, inner: int, out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride = stride
        self.before = (out - channels) // 2
        self.after = out - channels - self.before

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1 or self.before + self.after > 0:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))
        return F.relu(y + x)


class ResNet(nn.Module):
    def __init__(self, weights: dict):
        super().__init__()
        width = weights["conv1.weight"].shape[0]
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages = 1 + max(int(m[1]) for m in (re.match(r"layer(\d+)\.", name) for name in weights) if m)
        for stage in range(1, stages):
            blocks = 1 + max(int(m[1]) for m in (re.match(rf"layer{stage}\.(\d+)\.", name) for name in weights) if m)
            made = []
            for block in range(blocks):
                inner = weights[f"layer{stage}.{block}.conv1.weight"].shape[0]
                out = weights[f"layer{stage}.{block}.conv2.weight"].shape[0]
                made.append(Block(width, inner, out, 2 if stage > 1 and block == 0 else 1))
                width = out
            setattr(self, f"layer{stage}", nn.Sequential(*made))
        self.stages = [f"layer{stage}" for stage in range(1, stages)]
        self.linear = nn.Linear(width, weights["linear.weight"].shape[0])
        self.load(weights)

    def load(self, weights: dict) -> None:
        missing, unexpected = self.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in weights.items()}, strict=False)
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if missing or unexpected:
            raise ValueError(f"Not a CIFAR ResNet: without {missing}, with {unexpected}.")

    def blocks(self) -> list[Block]:
        return [block for stage in self.stages for block in getattr(self, stage)]

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def sequential(graph: onnx.GraphProto, weights: dict) -> nn.Sequential:
    """The nodes of a plain chain, one module each."""
    modules = []
    for node in graph.node:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        tensors = [torch.from_numpy(weights[name].copy()) for name in node.input[1:]]
        if node.op_type == "Conv":
            weight, bias = tensors[0], tensors[1] if len(tensors) > 1 else None
            module = nn.Conv2d(
                weight.shape[1] * given["group"], weight.shape[0], given["kernel_shape"], given["strides"], given["pads"][:2],
                given["dilations"], given["group"], bias is not None,
            )  # fmt: skip
        elif node.op_type == "BatchNormalization":
            weight, bias = tensors[:2]
            module = nn.BatchNorm2d(weight.shape[0], eps=given["epsilon"])
            module.running_mean.copy_(tensors[2])
            module.running_var.copy_(tensors[3])
        elif node.op_type == "Gemm":
            weight, bias = tensors
            module = nn.Linear(weight.shape[1], weight.shape[0])
        else:
            make = {
                "Relu": nn.ReLU,
                "Flatten": nn.Flatten,
                "MaxPool": lambda: nn.MaxPool2d(given["kernel_shape"], given["strides"], given["pads"][:2]),
            }
            modules.append(make[node.op_type]())
            continue
        with torch.no_grad():
            module.weight.copy_(weight)
            if bias is not None:
                module.bias.copy_(bias)
        modules.append(module)
    return nn.Sequential(*modules)


def read(path: str) -> nn.Module:
    graph = onnx.load(path).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    net = ResNet(weights) if any(node.op_type == "Add" for node in graph.node) else sequential(graph, weights)
    return net.eval()


def check(net: nn.Module, path: str, inputs: np.ndarray, tolerance: float = 1e-4) -> float:
    """The largest difference of logits between the module and the file. Raises if it is past the tolerance."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: inputs})[0]
    with torch.no_grad():
        came = net(torch.from_numpy(inputs)).numpy()
    worst = float(np.abs(expected - came).max())
    if not worst <= tolerance:
        raise AssertionError(f"Expected the logits of {path} within {tolerance}; the PyTorch net differs by {worst}.")
    return worst


def macs(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of convolutions and linear layers at batch 1: what onnx-prune counts for these nets."""
    total = 0

    def count(module, _inputs, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        net(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return total


def write(net: nn.Module, path: str, shape: tuple[int, ...]) -> None:
    """The net as ONNX, by the exporter that folds BatchNormalization into the convolutions, as the shared files have it."""
    torch.onnx.export(
        net.eval(), torch.zeros(1, *shape), path, opset_version=13, dynamo=False, input_names=["input"], output_names=["logits"],
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
    )  # fmt: skip
