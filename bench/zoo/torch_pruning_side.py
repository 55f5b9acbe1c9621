"""Torch-Pruning on the nets of the zoo, judged by value.

    python bench/zoo/torch_pruning_side.py --cache <folder> [--only <regular expression>] [--seconds 300]
    python bench/zoo/torch_pruning_side.py --cache <folder> --time

One process per net. Torch-Pruning prunes 1 - sqrt(1/2) of the channels of every group by magnitude (about half of the MACs), with the
layers its own example ignores. Then its net must compute what the original computes with the removed channels made ineffective: every
layer that lost input channels reads zeros there, every LayerNorm normalises over the channels that are left. Results:
<cache>/<net>/torch-pruning.json.
"""

import argparse
import copy
import json
import math
import re
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import nn

import nets as zoo
from export import built

TIMED = ("torchvision/resnet50", "torchvision/densenet121", "torchvision/swin_t")
TOLERANCE = 1e-4


def ignored(net: nn.Module, name: str) -> list[nn.Module]:
    """What Torch-Pruning's example of these nets leaves alone: classifiers and what makes boxes."""
    keep = [m for m in net.modules() if isinstance(m, nn.Linear) and m.out_features in (1000, 91, 400)]
    inner = getattr(net, "net", net)
    parts = {
        "ssd": ["head"],
        "raft": ["corr_block", "update_block", "mask_predictor"],
        "fasterrcnn": ["rpn.head.cls_logits", "rpn.head.bbox_pred", "backbone.fpn", "roi_heads"],
        "fcos": ["head.classification_head.cls_logits", "head.regression_head.bbox_reg", "head.regression_head.bbox_ctrness"],
        "keypointrcnn": ["rpn.head.cls_logits", "rpn.head.bbox_pred", "backbone.fpn.layer_blocks", "roi_heads.box_head",
                         "roi_heads.box_predictor", "roi_heads.keypoint_predictor"],
        "maskrcnn": ["rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor", "roi_heads.mask_predictor"],
        "retinanet": ["head.classification_head.cls_logits", "head.regression_head.bbox_reg"],
        "fcn_": ["classifier.4"], "deeplab": ["classifier.4"], "lraspp": ["classifier"],
    }
    for key, names in parts.items():
        if key in name:
            keep += [inner.get_submodule(n) for n in names]
    convolutions = [m for m in inner.modules() if isinstance(m, nn.Conv2d) and m.out_channels in (1000,)]
    return keep + convolutions


class Removed:
    """The original channels that each module has lost, as groups are carried out one after the other."""

    def __init__(self) -> None:
        self.left: dict[tuple[nn.Module, str], list[int]] = {}

    def take(self, module: nn.Module, side: str, size: int, lost: list[int]) -> None:
        left = self.left.setdefault((module, side), list(range(size)))
        gone = set(lost)
        self.left[(module, side)] = [c for k, c in enumerate(left) if k not in gone]


def mask_inputs(module: nn.Module, left: list[int], channel_axis: int) -> None:
    """The module reads zeros where a channel was removed."""

    def hook(_, args):
        x = args[0]
        mask = torch.zeros(x.shape[channel_axis])
        mask[left] = 1
        shape = [1] * x.dim()
        shape[channel_axis] = -1
        return (x * mask.view(shape), *args[1:])

    module.register_forward_pre_hook(hook)


def mask_norm(module: nn.LayerNorm, left: list[int]) -> None:
    """The norm takes its statistics over what is left."""
    index = torch.tensor(left)

    def hook(m, args, _):
        # torchvision's LayerNorm2d takes channels first.
        first = type(m).__name__ == "LayerNorm2d"
        x = args[0].movedim(1, -1) if first else args[0]
        y = torch.zeros_like(x)
        weight = m.weight[index] if m.weight is not None else None
        bias = m.bias[index] if m.bias is not None else None
        y[..., index] = nn.functional.layer_norm(x[..., index], (len(left),), weight, bias, m.eps)
        return y.movedim(-1, 1) if first else y

    module.register_forward_hook(hook)


def flat(output) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, dict):
        output = output.values()
    return [t for o in output for t in flat(o)]


def judge(name: str) -> dict:
    import torch_pruning as tp

    net = next(n for n in zoo.nets() if n.name == name)
    module, inputs, _, _ = built(net)
    inputs = tuple(x[:1] if x.shape[0] == 2 else x for x in inputs)
    original = copy.deepcopy(module)
    macs, parameters = tp.utils.count_ops_and_params(module, inputs if len(inputs) > 1 else inputs[0])
    with torch.no_grad():
        before = flat(original(*inputs))
    for p in module.parameters():
        p.requires_grad_(True)
    heads = {m: m.num_heads for m in module.modules() if isinstance(m, nn.MultiheadAttention)}
    vit = next((m for m in module.modules() if type(m).__name__ == "VisionTransformer" and hasattr(m, "hidden_dim")), None)
    cpu = time.process_time()
    pruner = tp.pruner.MagnitudePruner(
        module, example_inputs=inputs if len(inputs) > 1 else inputs[0], importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=1 - math.sqrt(0.5), ignored_layers=ignored(module, name.split("/")[1]), num_heads=heads,
        round_to=vit.encoder.layers[0].num_heads if vit is not None else None,
    )
    build_seconds = time.process_time() - cpu
    removed = Removed()
    groups = 0
    for group in pruner.step(interactive=True):
        groups += 1
        sizes = {}
        for dep, idxs in group:
            fn = dep.handler.__name__
            side = "in" if "in_channels" in fn else "out"
            sizes[(dep.target.module, side)] = getattr(pruner.DG, f"get_{side}_channels")(dep.target.module)
        lost: dict = {}
        for dep, idxs in group:
            side = "in" if "in_channels" in dep.handler.__name__ else "out"
            lost.setdefault((dep.target.module, side), set()).update(int(i) for i in idxs)
        for (m, side), idxs in lost.items():
            if sizes[(m, side)] is None:  # an operation without parameters
                continue
            removed.take(m, side, sizes[(m, side)], sorted(idxs))
        group.prune()
    if vit is not None:
        vit.hidden_dim = vit.conv_proj.out_channels
    names = {m: n for n, m in module.named_modules()}
    for (m, side), left in removed.left.items():
        if m not in names:
            continue
        twin = original.get_submodule(names[m])
        if isinstance(twin, nn.LayerNorm):
            mask_norm(twin, left)
        elif side == "in" and isinstance(twin, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)):
            mask_inputs(twin, left, 1)
        elif side == "in" and isinstance(twin, nn.Linear):
            mask_inputs(twin, left, -1)
    module.eval()
    after_macs, after_parameters = tp.utils.count_ops_and_params(module, inputs if len(inputs) > 1 else inputs[0])
    with torch.no_grad():
        got = flat(module(*inputs))
        try:
            want = flat(original(*inputs))
        except Exception as error:  # our masking, not Torch-Pruning
            return {"verdict": "not judged", "why": f"{type(error).__name__}: {str(error)[:300]}"}
    result = {
        "groups": groups, "macs": after_macs / macs, "parameters": after_parameters / parameters, "buildSeconds": build_seconds,
    }
    if [t.shape for t in got] != [t.shape for t in want]:
        return result | {"verdict": "wrong", "why": f"shapes {[tuple(t.shape) for t in got]} instead of {[tuple(t.shape) for t in want]}"}
    error = max((distance(g, w) for g, w in zip(got, want)), default=0.0)
    drift = max((distance(b, w) for b, w in zip(before, want) if b.shape == w.shape), default=0.0)
    if groups == 0:
        return result | {"verdict": "nothing removed", "error": error, "drift": drift}
    return result | {"verdict": "equal" if error <= TOLERANCE else "wrong", "error": error, "drift": drift}


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    if b.numel() == 0 or not b.is_floating_point():
        return 0.0
    scale = b.abs().max().item()
    return (a - b).abs().max().item() / scale if scale > 0 else (a - b).abs().max().item()


def timed(name: str) -> dict:
    """CPU seconds of dependency graph and all groups, weights loaded before."""
    import torch_pruning as tp

    net = next(n for n in zoo.nets() if n.name == name)
    module, inputs, _, _ = built(net)
    for p in module.parameters():
        p.requires_grad_(True)
    cpu, started = time.process_time(), time.time()
    graph = tp.DependencyGraph().build_dependency(module, example_inputs=inputs[0][:1])
    groups = list(graph.get_all_groups())
    return {"cpuSeconds": time.process_time() - cpu, "seconds": time.time() - started, "groups": len(groups)}


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--cache", type=Path, required=True)
    args.add_argument("--only", default="^torchvision/[^@]*$")
    args.add_argument("--seconds", type=int, default=300)
    args.add_argument("--time", action="store_true")
    args.add_argument("--net", help="judge one net in this process; the last line is the result")
    options = args.parse_args()
    warnings.simplefilter("ignore")
    if options.net:
        try:
            result = timed(options.net) if options.time else judge(options.net)
        except Exception as error:
            result = {"verdict": "crash", "why": f"{type(error).__name__}: {str(error)[:400]}"}
        print(json.dumps(result))
        return

    def run(name: str) -> dict:
        command = [sys.executable, __file__, "--cache", str(options.cache), "--net", name, *(["--time"] if options.time else [])]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds)
            return json.loads(done.stdout.strip().split("\n")[-1]) if done.stdout.strip() else {"verdict": "crash", "why": done.stderr[-400:]}
        except subprocess.TimeoutExpired:
            return {"verdict": "timeout", "why": f"not done in {options.seconds} s"}

    names = [n for n in TIMED if re.search(options.only, n)] if options.time else [n.name for n in zoo.nets() if re.search(options.only, n.name)]
    for name in names:
        file = options.cache / name / ("torch-pruning-time.json" if options.time else "torch-pruning.json")
        if file.exists() and not options.time:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        if options.time:
            runs = [run(name) for _ in range(5)]
            result = {k: statistics.median(r[k] for r in runs) for k in ("cpuSeconds", "seconds", "groups")} if all("groups" in r for r in runs) else runs[0]
        else:
            result = run(name)
        file.write_text(json.dumps(result, indent=1))
        print(name, result, flush=True)


if __name__ == "__main__":
    main()
