"""What the two peers share: the job that run.mjs wrote, the search for a budget, and one line of JSON per result."""

import json
import sys
import time
import traceback

import numpy as np


class Job:
    """The file named on the command line: `model`, `modelBn`, `calibration` {inputs, labels, shape}, `out`, `want` [{keep, variant}]."""

    def __init__(self):
        with open(sys.argv[1], encoding="utf8") as file:
            given = json.load(file)
        self.model, self.model_bn, self.out, self.want = given["model"], given["modelBn"], given["out"], given["want"]
        at = given["calibration"]
        self.shape = tuple(at["shape"][1:])
        self.inputs = np.fromfile(at["inputs"], np.float32).reshape(at["shape"])
        self.labels = np.fromfile(at["labels"], np.int32)

    def files(self, keep: float, variant: str) -> str:
        return f"{self.out}/{variant.replace('/', '-')}-{keep}.onnx"


def say(**result) -> None:
    for name in ("ratio", "seconds"):
        if name in result:
            result[name] = round(result[name], 4 if name == "ratio" else 1)
    print(json.dumps(result), flush=True)


def attempt(keep: float, variants: list[str], work) -> None:
    """Runs `work`, which says its results itself; what it raises becomes the result of all `variants`."""
    start = time.monotonic()
    try:
        work()
    except Exception as error:  # A peer's own message is a result, whatever its kind.
        traceback.print_exc(limit=-1)
        for variant in variants:
            say(keep=keep, variant=variant, error=f"{type(error).__name__}: {error}"[:600], seconds=time.monotonic() - start)


def nearest(make, target: float, low: float = 0.0, high: float = 0.98, tolerance: float = 0.004, steps: int = 16):
    """Bisects the ratio of `make(ratio) -> (result, macs)` and returns the (result, macs, ratio) whose macs are nearest to `target`."""
    best = None
    for _ in range(steps):
        ratio = (low + high) / 2
        result, macs = make(ratio)
        if best is None or abs(macs - target) < abs(best[1] - target):
            best = (result, macs, ratio)
        if abs(best[1] - target) <= tolerance * target:
            break
        if macs > target:
            low = ratio
        else:
            high = ratio
    return best
