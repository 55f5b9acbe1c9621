"""Torch-Pruning on the shared nets: its criteria and scopes, MACs met by bisection, no fine-tuning. Called by run.mjs with a job file.

A variant is <criterion>/<scope>/<recovery>.
  criterion  l1, bn-scale, taylor: MagnitudeImportance(p=1), BNScaleImportance, TaylorImportance with their defaults. Taylor gets the labels of
             the calibration images and the gradient of the cross-entropy over the first TAYLOR_IMAGES of them.
  scope      local, global, isomorphic: BasePruner's own three, in one step;
             progressive: global in steps of 5 % of the channels, scores (and gradients) taken anew before each.
  recovery   none; bn: running mean and variance of every BatchNorm2d taken anew from the calibration images, which is the first thing
             a user without a training loop would do. Torch-Pruning itself has no recovery.
The final classifier is ignored, as its README says. In residual nets also the layers that make the residual stream: `everything` is the
variant without that, which shows what happens then.
"""

import copy
import time
import warnings

import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional as F

import nets
from job import Job, attempt, nearest, say

TAYLOR_IMAGES = 256
STEP = 0.05
CRITERIA = {
    "l1": lambda: tp.importance.MagnitudeImportance(p=1),
    "bn-scale": lambda: tp.importance.BNScaleImportance(),
    "taylor": lambda: tp.importance.TaylorImportance(),
}


def gradients(net: nn.Module, job: Job) -> None:
    net.eval().zero_grad()
    for start in range(0, TAYLOR_IMAGES, 64):
        images = torch.from_numpy(job.inputs[start : start + 64])
        labels = torch.from_numpy(job.labels[start : start + 64]).long()
        (F.cross_entropy(net(images), labels, reduction="sum") / TAYLOR_IMAGES).backward()


def ignored(net: nn.Module, everything: bool) -> list[nn.Module]:
    layers = [[m for m in net.modules() if isinstance(m, nn.Linear)][-1]]
    if isinstance(net, nets.ResNet) and not everything:
        layers += [net.conv1] + [block.conv2 for block in net.blocks()]
    return layers


def pruned(net: nn.Module, job: Job, criterion: str, scope: str, ratio: float, everything: bool = False):
    """A copy of `net` with `ratio` of its channels removed, and its MACs. Gradients that `net` has go with the copy, which deepcopy leaves."""
    copied = copy.deepcopy(net)
    for own, theirs in zip(copied.parameters(), net.parameters()):
        own.grad = None if theirs.grad is None else theirs.grad.clone()
    net = copied
    pruner = tp.pruner.BasePruner(
        net, torch.zeros(1, *job.shape), importance=CRITERIA[criterion](), pruning_ratio=ratio, ignored_layers=ignored(net, everything),
        global_pruning=scope != "local", isomorphic=scope == "isomorphic",
    )  # fmt: skip
    pruner.step()
    return net, nets.macs(net, job.shape)


def one_step(net: nn.Module, job: Job, criterion: str, scope: str, target: float, everything: bool = False):
    if criterion == "taylor":
        gradients(net, job)
    return nearest(lambda ratio: pruned(net, job, criterion, scope, ratio, everything), target)


class Progressive:
    """Steps of one criterion, kept for the next budget: each net with its MACs and the share of channels that is left."""

    def __init__(self, net: nn.Module, job: Job, criterion: str):
        self.job, self.criterion = job, criterion
        self.steps = [(net, nets.macs(net, job.shape), 1.0)]

    def reach(self, target: float):
        while self.steps[-1][1] > target:
            net, _, left = self.steps[-1]
            if self.criterion == "taylor":
                gradients(net, self.job)
            self.steps.append((*pruned(net, self.job, self.criterion, "global", STEP), left * (1 - STEP)))
        net, _, left = [step for step in self.steps if step[1] > target][-1]
        small, macs, ratio = nearest(lambda r: pruned(net, self.job, self.criterion, "global", r), target, 0.0, STEP, steps=10)
        return small, macs, 1 - left * (1 - ratio)


def re_estimate(net: nn.Module, job: Job) -> nn.Module:
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # The mean over all batches.
    net.train()
    with torch.no_grad():
        for start in range(0, len(job.inputs), 200):
            net(torch.from_numpy(job.inputs[start : start + 200]))
    return net.eval()


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # Of the exporter: the newer one does not fold BatchNormalization.
    job = Job()
    net = nets.read(job.model_bn)
    for path in (job.model_bn, job.model):
        say(difference=nets.check(net, path, job.inputs[:64]))
    whole = nets.macs(net, job.shape)
    asked, trajectories = {}, {}
    for want in job.want:
        criterion, scope, recovery = want["variant"].split("/")
        asked.setdefault((want["keep"], criterion, scope), []).append(recovery)
    for (keep, criterion, scope), recoveries in asked.items():

        def work():
            start = time.monotonic()
            source = copy.deepcopy(net)
            target = keep * whole
            if scope == "progressive":
                if criterion not in trajectories:
                    trajectories[criterion] = Progressive(source, job, criterion)
                small, macs, ratio = trajectories[criterion].reach(target)
            else:
                everything = scope == "everything"
                small, macs, ratio = one_step(source, job, criterion, "local" if everything else scope, target, everything)
            for recovery in recoveries:
                variant = f"{criterion}/{scope}/{recovery}"
                file = job.files(keep, variant)
                nets.write(re_estimate(small, job) if recovery == "bn" else small, file, job.shape)
                say(keep=keep, variant=variant, file=file, macs=macs / whole, ratio=ratio, seconds=time.monotonic() - start)

        attempt(keep, [f"{criterion}/{scope}/{r}" for r in recoveries], work)


main()
