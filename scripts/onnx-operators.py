"""Writes test/fixtures/onnx-operators.json: every operator of the ONNX standard with the versions that (re)defined it.

    pip install onnx && python scripts/onnx-operators.py

A deprecated version is one in which the operator is no longer valid.
"""
import json
from pathlib import Path

import onnx
import onnx.defs

operators = {}
for schema in sorted(onnx.defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version)):
    # Preview domains but training are experiments that no exporter writes.
    if schema.domain == "ai.onnx.preview":
        continue
    entry = operators.setdefault(schema.domain or "ai.onnx", {}).setdefault(schema.name, {"since": []})
    entry["since"].append(schema.since_version)
    if schema.deprecated:
        entry.setdefault("deprecated", []).append(schema.since_version)

lines = ["{", f' "onnx": "{onnx.__version__}",', ' "domains": {']
for d, (domain, of) in enumerate(operators.items()):
    lines.append(f'  "{domain}": {{')
    rows = [f'   "{name}": {json.dumps(entry)}' for name, entry in of.items()]
    lines.append(",\n".join(rows))
    lines.append("  }" + ("," if d + 1 < len(operators) else ""))
lines += [" }", "}", ""]
target = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "onnx-operators.json"
target.write_text("\n".join(lines))
