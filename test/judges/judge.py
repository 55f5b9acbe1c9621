"""Judges pruned ONNX files with tools that others wrote. Each file is compared with the one it was made from.

    python judge.py pairs.json > verdicts.json
    python judge.py --decorate list.json        copies of files ({"from", "to"}) that say all that a file can say

pairs.json is a list of {"name", "before", "after"}: paths of the original and of what was emitted. Verdicts are a list of
{"name", "judges": {judge: {"verdict", "detail"}}} with verdicts

    ok       nothing to object
    as-was   objects, and objects to the original in the same words
    left     could not be asked, for the reason given
    FAIL     objects to the emitted file only, or values differ

run.mjs makes the pairs and prints the table. Each pair is judged in a child process: a judge that crashes is a verdict too.
"""

import json
import queue
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

TIMEOUT = 600
# float32 through optimised kernels, relative to an output's largest value.
TOLERANCE = 1e-3
# What optimised and unoptimised graphs of one file differ by on the original is allowed to the emitted file ten times.
SLACK = 10
HALF = 5e-2


def main(pairs_file: str) -> None:
    pairs = json.loads(Path(pairs_file).read_text())
    verdicts, worker = [], None
    for i, pair in enumerate(pairs):
        worker = worker or Worker()
        verdict, alive = worker.judge(pair)
        if not alive:
            worker = None
        verdicts.append(verdict)
        print(f"{i + 1} of {len(pairs)} {pair['name']}", file=sys.stderr, flush=True)
    if worker:
        worker.close()
    print(json.dumps({"versions": versions(), "verdicts": verdicts}, indent=1))


class Worker:
    """A child process that judges pairs, and a thread that hears what it says."""

    def __init__(self):
        command = [sys.executable, __file__, "--worker"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def judge(self, pair: dict) -> tuple[dict, bool]:
        """The verdict, and whether the worker can go on. One line per judge: a crash loses one judge and those after it."""
        judges = {}
        self.process.stdin.write(json.dumps(pair) + "\n")
        self.process.stdin.flush()
        while True:
            try:
                line = self.lines.get(timeout=TIMEOUT)
                why = "the process died"
            except queue.Empty:
                line, why = "", f"took more than {TIMEOUT} s"
            if not line:
                self.process.kill()
                self.process.wait()
                pending = next((n for n in JUDGES if n not in judges), "judge.py")
                judges[pending] = {"verdict": "FAIL", "detail": f"{why} (exit {self.process.returncode})"}
                return {"name": pair["name"], "judges": judges}, False
            message = json.loads(line)
            if message.get("done"):
                return {"name": pair["name"], "judges": judges}, True
            judges[message["judge"]] = {"verdict": message["verdict"], "detail": message["detail"]}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def work() -> None:
    # Judges print; only the protocol may reach stdout.
    import os

    protocol = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        pair = json.loads(line)
        context = Pair(pair)
        for name, judge in JUDGES.items():
            try:
                verdict, detail = judge(context)
            except Exception as error:
                verdict, detail = "FAIL", f"{type(error).__name__}: {short(error)}"
            protocol.write(json.dumps({"judge": name, "verdict": verdict, "detail": detail}) + "\n")
            protocol.flush()
        protocol.write('{"done": true}\n')
        protocol.flush()


def short(error) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:300]


class Pair:
    def __init__(self, pair: dict):
        import onnx

        self.before_path, self.after_path = pair["before"], pair["after"]
        self.before = onnx.load(self.before_path)
        self.after = onnx.load(self.after_path)
        self.feeds = random_feeds(self.before)
        self.bare = {"before": unsaturated(self.before), "after": unsaturated(self.after)}
        self._outputs = {}

    def run(self, which: str, optimised: bool):
        """Outputs of "before" or "after", less saturating activations; an Exception where ONNX Runtime refuses."""
        key = (which, optimised)
        if key not in self._outputs:
            try:
                self._outputs[key] = run(self.bare[which].SerializeToString(), self.feeds, optimised)
            except Exception as error:
                self._outputs[key] = error
        return self._outputs[key]


SATURATING = {"Sigmoid", "Softmax", "Tanh", "HardSigmoid"}


def unsaturated(model):
    """A copy whose outputs are what the activations that end it read: a sigmoid of 1e-7 everywhere is rounding, not a value."""
    import copy

    model = copy.deepcopy(model)
    makers = {o: n for n in model.graph.node for o in n.output}
    inputs = {i.name for i in model.graph.input}
    for output in model.graph.output:
        maker = makers.get(output.name)
        if maker is None or maker.op_type not in SATURATING or maker.input[0] not in makers or maker.input[0] in inputs:
            continue
        if any(o.name == maker.input[0] for o in model.graph.output):
            continue
        # These activations keep type and shape.
        output.name = maker.input[0]
    names = {o.name for o in model.graph.output}
    for info in [v for v in model.graph.value_info if v.name in names]:
        model.graph.value_info.remove(info)
    read = names_read(model.graph)
    dead = [n for n in model.graph.node if n.op_type in SATURATING and not set(n.output) & read]
    for n in dead:
        model.graph.node.remove(n)
    return model


def random_feeds(model):
    """Normal floats and small integers for every input; symbolic extents are 2, or 32 past axis 0 of images."""
    import numpy as np
    import onnx

    random = np.random.default_rng(7)
    given = {t.name for t in model.graph.initializer}
    symbols, feeds = {}, {}
    for value in model.graph.input:
        if value.name in given:
            continue
        tensor = value.type.tensor_type
        dims = []
        for axis, d in enumerate(tensor.shape.dim):
            if d.HasField("dim_value"):
                dims.append(d.dim_value)
            else:
                extent = 2 if axis == 0 or len(tensor.shape.dim) < 4 else 64
                dims.append(symbols.setdefault(d.dim_param or f"{value.name}.{axis}", extent))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if np.issubdtype(dtype, np.floating):
            feeds[value.name] = random.standard_normal(dims).astype(dtype)
        else:
            feeds[value.name] = random.integers(0, 2 if dtype == bool else 8, dims).astype(dtype)
    return feeds


def session(model, optimised: bool):
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model, feeds: dict, optimised: bool) -> dict:
    s = session(model, optimised)
    names = [o.name for o in s.get_outputs()]
    return dict(zip(names, s.run(names, feeds)))


def difference(got: dict, want: dict) -> float:
    """The largest difference of any output relative to its largest finite value; infinite where only one is finite."""
    import numpy as np

    worst = 0.0
    for name, y in want.items():
        x = got.get(name)
        if x is None or not isinstance(y, np.ndarray) or x.shape != y.shape:
            return float("inf")
        if y.dtype.kind not in "fiub" or y.size == 0:
            continue
        x, y = x.astype(np.float64), y.astype(np.float64)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        if same.all():
            continue
        finite = np.abs(y[np.isfinite(y)])
        scale = finite.max() if finite.size else 1.0
        gap = np.abs(x - y)[~same] / (scale or 1.0)
        worst = max(worst, float("inf") if not np.isfinite(gap).all() else float(gap.max()))
    return worst


def tolerance(pair: Pair) -> float:
    """At least TOLERANCE; more where the optimiser moves the original itself (cancelling sums, discontinuous operators)."""
    loose, tight = pair.run("before", True), pair.run("before", False)
    types = {t.data_type for t in pair.before.graph.initializer}
    least = HALF if types & {10, 16} else TOLERANCE
    if isinstance(loose, Exception) or isinstance(tight, Exception):
        return least
    return max(least, SLACK * difference(loose, tight))


# The judges: each takes a Pair and returns (verdict, detail).


def against_original(judge, pair: Pair):
    """`judge(model, path)` raises or returns an objection; the original's objection excuses the same one."""

    def objection(which):
        try:
            return judge(getattr(pair, which), getattr(pair, f"{which}_path"))
        except Exception as error:
            return f"{type(error).__name__}: {short(error)}"

    after = objection("after")
    if not after:
        return "ok", ""
    before = objection("before")
    # Extents differ, names of values do not.
    alike = lambda text: re.sub(r"-?\d+", "#", text or "")
    return ("as-was" if alike(before) == alike(after) else "FAIL"), after if alike(before) == alike(after) else f"{after} (original: {before or 'no objection'})"


def check(pair: Pair):
    import onnx

    return against_original(lambda m, path: onnx.checker.check_model(path, full_check=True), pair)


def strict(pair: Pair):
    import onnx

    return against_original(
        lambda m, path: None if onnx.shape_inference.infer_shapes(m, check_type=True, strict_mode=True, data_prop=True) else "no model", pair
    )


def ort(pair: Pair):
    before = pair.run("before", False)
    if isinstance(before, Exception):
        return "left", f"ONNX Runtime refuses the original: {short(before)}"
    outputs = pair.run("after", False)
    if isinstance(outputs, Exception):
        return "FAIL", short(outputs)
    run(pair.after_path, pair.feeds, True)
    optimised = pair.run("after", True)
    if isinstance(optimised, Exception):
        return ("as-was" if isinstance(pair.run("before", True), Exception) else "FAIL"), short(optimised)
    gap = difference(optimised, outputs)
    return ("ok", f"{gap:.1e}") if gap <= tolerance(pair) else ("FAIL", f"optimised differs by {gap:.1e}")


def round_trip(pair: Pair, rewrite):
    """`rewrite(model)` of the emitted file computes what the emitted file does."""
    want = pair.run("after", False)
    if isinstance(want, Exception):
        return "left", "ONNX Runtime does not run the emitted file"

    def judged(which):
        import copy

        rewritten = rewrite(copy.deepcopy(pair.bare[which]))
        target = pair.run(which, False)
        gap = difference(run(rewritten.SerializeToString(), pair.feeds, False), target)
        return None if gap <= tolerance(pair) else f"values differ by {gap:.1e}"

    try:
        after = judged("after")
    except Exception as error:
        after = f"{type(error).__name__}: {short(error)}"
    if not after:
        return "ok", ""
    try:
        before = judged("before")
    except Exception as error:
        before = f"{type(error).__name__}: {short(error)}"
    return ("as-was" if before else "FAIL"), f"{after} (original: {before or 'no objection'})"


def slim(pair: Pair):
    import onnxslim

    return round_trip(pair, onnxslim.slim)


def sim(pair: Pair):
    import onnxsim

    return round_trip(pair, lambda m: onnxsim.simplify(m, check_n=0)[0])


def lint(pair: Pair):
    """Errors of `polygraphy check lint`, counted: the emitted file must not have more, nor of other kinds."""
    try:
        import onnx_graphsurgeon  # noqa: F401
        import polygraphy  # noqa: F401
    except ImportError as error:
        return "left", short(error)

    def findings(path):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "lint.json"
            program = str(Path(sys.executable).with_name("polygraphy"))
            command = [program, "check", "lint", path, "-o", str(report)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
            if not report.exists():
                return None, f"no report: {short(done.stderr[-200:] or done.stdout[-200:])}"
            entries = json.loads(report.read_text()).get("lint_entries", [])
            kinds = lambda level: sorted({re.sub(r"'[^']*'|\d+", "#", e["message"])[:160] for e in entries if e["level"] == level})
            return (kinds("exception"), kinds("warning")), None

    after, why = findings(pair.after_path)
    if why:
        return "left", why
    if not any(after):
        return "ok", ""
    before, why = findings(pair.before_path)
    if why:
        return "left", why
    fresh = [[m for m in now if m not in was] for now, was in zip(after, before)]
    if not any(fresh):
        return ("as-was", f"{len(after[0])} kinds of errors, {len(after[1])} of warnings, as in the original") if after[0] else ("ok", "")
    return ("FAIL" if fresh[0] else "ok"), "; ".join(fresh[0] + [f"warning: {m}" for m in fresh[1]])[:300]


def declared(pair: Pair):
    """Every declared type of the emitted file is what a run makes: stale value_info is the classic failure of rewriters."""
    import copy

    import numpy as np
    import onnx

    if isinstance(pair.run("after", False), Exception):
        return "left", "ONNX Runtime does not run the emitted file"
    model = copy.deepcopy(pair.after)
    infos = {v.name: v for v in [*model.graph.value_info, *model.graph.output]}
    produced = {o for n in model.graph.node for o in n.output if o}
    stale = [v.name for v in model.graph.value_info if v.name not in produced and v.name not in {t.name for t in model.graph.initializer}]
    was_stale = {v.name for v in pair.before.graph.value_info} - {o for n in pair.before.graph.node for o in n.output}
    wrong = [f'value_info of "{n}", which no node makes' for n in stale if n not in was_stale]
    for t in model.graph.initializer:
        info = next((v for v in [*model.graph.value_info, *model.graph.input] if v.name == t.name), None)
        if info and info.type.tensor_type.HasField("shape"):
            dims = [d.dim_value if d.HasField("dim_value") else None for d in info.type.tensor_type.shape.dim]
            if len(dims) != len(t.dims) or any(d is not None and d != n for d, n in zip(dims, t.dims)):
                wrong.append(f'"{t.name}" is declared {dims}, stored {list(t.dims)}')
    there = {o.name for o in model.graph.output}
    del model.graph.value_info[:]
    kept = [n for n in infos if n in produced and infos[n].type.HasField("tensor_type")]
    for name in kept:
        if name not in there:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    try:
        values = run(model.SerializeToString(), pair.feeds, False)
    except Exception as error:
        return "left", short(error)
    for name in kept:
        tensor, value = infos[name].type.tensor_type, values[name]
        if not isinstance(value, np.ndarray) or not tensor.HasField("shape"):
            continue
        dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
        if len(dims) != value.ndim or any(d is not None and d != n for d, n in zip(dims, value.shape)):
            wrong.append(f'"{name}" is declared {dims}, a run makes {list(value.shape)}')
    return ("FAIL", "; ".join(wrong)[:300]) if wrong else ("ok", f"{len(kept)} declarations")


def kept(pair: Pair):
    """What pruning must not touch: versions, producer, texts, metadata, interface, functions; and no weight that nothing reads."""
    b, a = pair.before, pair.after
    wrong = []
    for field in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        if getattr(b, field) != getattr(a, field):
            wrong.append(f"{field}: {getattr(b, field)!r} became {getattr(a, field)!r}")
    for what, f in {
        "opset_import": lambda m: sorted((o.domain, o.version) for o in m.opset_import),
        "metadata_props": lambda m: [(p.key, p.value) for p in m.metadata_props],
        "functions": lambda m: sorted((f.domain, f.name) for f in m.functions),
        "graph name and text": lambda m: (m.graph.name, m.graph.doc_string, [(p.key, p.value) for p in m.graph.metadata_props]),
        "outputs": lambda m: [o.SerializeToString() for o in m.graph.output],
        "inputs": lambda m: [i.SerializeToString() for i in m.graph.input if i.name not in {t.name for t in m.graph.initializer}],
    }.items():
        if f(b) != f(a):
            wrong.append(f"{what} changed")
    texts = {n.name: (n.doc_string, [(p.key, p.value) for p in n.metadata_props]) for n in b.graph.node if n.name}
    for n in a.graph.node:
        if n.name in texts and texts[n.name] != (n.doc_string, [(p.key, p.value) for p in n.metadata_props]):
            wrong.append(f'text or metadata of node "{n.name}" changed')
    for what, of in (("value_info", lambda g: [*g.value_info, *g.input, *g.output]), ("initializer", lambda g: g.initializer)):
        said = {v.name: v.doc_string for v in of(b.graph)}
        wrong += [f'text of {what} "{v.name}" changed' for v in of(a.graph) if v.name in said and said[v.name] != v.doc_string][:3]
    lost = {v.name for v in b.graph.value_info} - {v.name for v in a.graph.value_info}
    lost &= {o for n in a.graph.node for o in n.output}
    if lost:
        wrong.append(f"types are no longer declared: {sorted(lost)[:5]}")
    unread = lambda m: {t.name for t in m.graph.initializer} - names_read(m.graph)
    fresh = unread(a) - unread(b)
    if fresh:
        wrong.append(f"weights that nothing reads: {sorted(fresh)[:5]}")
    return ("FAIL", "; ".join(wrong)[:300]) if wrong else ("ok", "")


def names_read(graph) -> set:
    names = {o.name for o in graph.output}
    for n in graph.node:
        names.update(n.input)
        for attribute in n.attribute:
            for body in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
                names |= names_read(body)
    return names


def smaller(pair: Pair):
    """The file is smaller and the function another: pruning that changes nothing would satisfy every other judge."""
    before, after = pair.run("before", False), pair.run("after", False)
    if isinstance(before, Exception) or isinstance(after, Exception):
        return "left", "ONNX Runtime does not run both"
    sizes = [sum(elements(t) for t in m.graph.initializer) + sum(elements(a.t) for n in m.graph.node for a in n.attribute if a.HasField("t")) for m in (pair.before, pair.after)]
    return ("ok" if sizes[1] < sizes[0] else "FAIL"), f"{sizes[0]} to {sizes[1]} stored numbers, drift {difference(after, before):.1e}"


def elements(tensor) -> int:
    n = 1
    for d in tensor.dims:
        n *= d
    return n


JUDGES = {
    "checker, full": check,
    "strict inference": strict,
    "ONNX Runtime": ort,
    "declared types": declared,
    "kept": kept,
    "smaller": smaller,
    "onnxslim": slim,
    "onnxsim": sim,
    "polygraphy lint": lint,
}


def versions() -> dict:
    from importlib import metadata

    out = {}
    for package in ("onnx", "onnxruntime", "onnxslim", "onnxsim", "polygraphy", "numpy"):
        try:
            out[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            out[package] = "not installed"
    return out


def decorate(list_file: str) -> None:
    """Fills in what a file may say beyond its graph: inferred types of every value, texts and metadata at every level."""
    import onnx

    for item in json.loads(Path(list_file).read_text()):
        model = onnx.load(item["from"])
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except onnx.shape_inference.InferenceError:
            pass  # Files of newer operators keep the types they declare.
        model.doc_string = "a model with a text"
        model.domain, model.model_version = "org.example.judges", 7
        if model.ir_version >= 10:
            for thing, what in [(model.graph, "graph"), *[(n, "node") for n in model.graph.node]]:
                thing.metadata_props.add(key=f"{what}.origin", value="judges")
        model.metadata_props.add(key="classes", value='{"0": "cat"}')
        model.graph.doc_string = "a graph with a text"
        for i, node in enumerate(model.graph.node):
            node.doc_string = f"node {i}: made by a layer\nof some class"
            node.name = node.name or f"node {i}"
        for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
            value.doc_string = f"value {value.name}"
        for tensor in model.graph.initializer:
            tensor.doc_string = f"weights {tensor.name}"
        onnx.save(model, item["to"])


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        work()
    elif len(sys.argv) == 3 and sys.argv[1] == "--decorate":
        decorate(sys.argv[2])
    elif len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        sys.exit(__doc__)
