"""Exports the zoo to ONNX with random weights: <cache>/<library>/<net>/model.onnx and export.json beside it.

    python bench/zoo/export.py --cache <folder> [--only <regular expression>] [--again] [--seconds 300]

What is there is not exported again. Needs torch, torchvision, timm, transformers, onnx and onnxscript; downloads nothing.
"""

import argparse
import gc
import json
import re
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch
from torch import nn

import nets as zoo

# The fused attention kernel of torch.nn has no ONNX form; without it the same modules compute the same from plain operators.
torch.backends.mha.set_fastpath_enabled(False)
# One thread: what is exported must not depend on the machine, and the zoo is made beside other work.
torch.set_num_threads(1)

# Beyond this, protobuf cannot hold the weights: they go to one file beside the model.
LARGEST_FILE = 1_900_000_000


def randomise(net: nn.Module, inputs) -> None:
    """Gives every parameter that is constant (zeros, ones, layer scales) varied values, and BN the statistics of its inputs.

    A net as it is built would hide mistakes: zero biases, unit scales and zero-initialised last layers compute alike whatever is cut.
    """
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.numel() < 2 or not parameter.is_floating_point():
                continue
            low, high = parameter.min(), parameter.max()
            if low != high:
                continue
            if low == 0:
                nn.init.normal_(parameter, std=0.05)
            else:
                nn.init.uniform_(parameter, 0.5, 1.5)
        norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for m in norms:
            if m.running_mean is not None:
                nn.init.normal_(m.running_mean, std=0.1)
                nn.init.uniform_(m.running_var, 0.5, 1.5)
        momenta = [m.momentum for m in norms]
        try:
            for m in norms:
                m.train()
                m.momentum = 1.0
            net(*inputs)
        except ValueError:
            pass  # One value per channel: the statistics drawn above stay.
        finally:
            for m, momentum in zip(norms, momenta):
                m.momentum = momentum
            net.eval()
        for m in norms:
            # A channel that was constant over the calibration input would be divided by nearly nothing.
            if m.running_var is not None:
                m.running_var.clamp_(min=1e-2)


def built(net: zoo.Net):
    torch.manual_seed(0)
    module, inputs, names, axes = net.build()
    module.eval()
    randomise(module, inputs)
    return module, inputs, names, axes


def export(net: zoo.Net, exporter: str, file: Path) -> None:
    module, inputs, names, axes = built(net)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "script":
            torch.onnx.export(module, inputs, str(file), opset_version=net.opset, dynamo=False, input_names=names, dynamic_axes=axes)
        else:
            auto = torch.export.Dim.AUTO
            shapes = tuple({axis: auto for axis in axes.get(name, {})} for name in names)
            # The wrapper takes *inputs: the exporter wants the shapes as one tuple for it.
            shapes = (shapes,) if isinstance(module, zoo.Wrapped) else shapes
            torch.onnx.export(
                module, inputs, str(file), dynamo=True, input_names=names, external_data=False, verbose=False,
                dynamic_shapes=shapes if axes else None,
            )


def parameters(net: zoo.Net) -> int:
    return sum(p.numel() for p in net.build()[0].parameters())


def one_external_file(file: Path) -> None:
    import onnx

    if not file.exists() or (sum(f.stat().st_size for f in file.parent.iterdir()) < LARGEST_FILE):
        return
    model = onnx.load(str(file))
    for f in file.parent.iterdir():
        f.unlink()
    onnx.save_model(model, str(file), save_as_external_data=True, all_tensors_to_one_file=True, location="model.onnx.data")


class TooLong(Exception):
    pass


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--cache", type=Path, required=True)
    args.add_argument("--only", default="")
    args.add_argument("--again", action="store_true", help="also what failed before")
    args.add_argument("--seconds", type=int, default=300)
    args.add_argument("--list", action="store_true")
    options = args.parse_args()
    chosen = [n for n in zoo.nets() if re.search(options.only, n.name)]
    if options.list:
        print("\n".join(n.name for n in chosen))
        return

    def on_alarm(*_):
        raise TooLong(f"not done in {options.seconds} s")

    signal.signal(signal.SIGALRM, on_alarm)
    for net in chosen:
        folder = options.cache / net.name
        report = folder / "export.json"
        if report.exists() and (json.loads(report.read_text())["ok"] or not options.again):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "model.onnx"
        failures: dict[str, str] = {}
        done = None
        started = time.time()
        for exporter in net.exporters:
            for f in folder.iterdir():
                f.unlink()
            signal.alarm(options.seconds)
            try:
                export(net, exporter, file)
                one_external_file(file)
                done = exporter
                break
            except BaseException as error:  # an exporter may fail in any way; the next one is tried
                if isinstance(error, KeyboardInterrupt):
                    raise
                failures[exporter] = f"{type(error).__name__}: {str(error).strip()[:600]}"
                if "-v" in sys.argv:
                    traceback.print_exc()
            finally:
                signal.alarm(0)
                gc.collect()
        result = {
            "name": net.name, "family": net.family, "ok": done is not None, "exporter": done, "opset": net.opset,
            "reduced": net.reduced, "seconds": round(time.time() - started, 1), "failures": failures, "torch": torch.__version__,
        }
        report.write_text(json.dumps(result, indent=1))
        size = sum(f.stat().st_size for f in folder.iterdir()) / 2**20
        print(f"{'ok  ' if done else 'FAIL'} {net.name} {done or ''} {size:.0f} MiB {time.time() - started:.1f} s {failures or ''}", flush=True)


if __name__ == "__main__":
    main()
