"""The compact record of a run: kilobytes per machine kind, committed; the raw JSON of pytest-benchmark is not.

``results/<machine kind>.json`` holds the runs it was cut from (command, date, versions) and one line per entry: ratios
with their quartiles, the peak of memory, what was asked. Absolute seconds are kept for context and compared by nobody.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

PACKAGES = (
    "torch",
    "transformers",
    "numpy",
    "tokenizers",
    "ctranslate2",
    "llama-cpp-python",
    "onnxruntime-genai",
    "seqeval",
)


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the ratios depend on: the kind of processor, how many, and the accelerator if there is one."""
    import torch

    described: dict[str, Any] = {
        "device": device,
        "arch": platform.machine(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    return described | {"kind": kind(described)}


def kind(described: Mapping[str, Any]) -> str:
    """A file name for a machine.

    >>> kind({"device": "cpu", "arch": "x86_64", "cores": 2, "instructions": "AVX512"})
    'x86_64-avx512-2-cores'
    >>> kind({"device": "NVIDIA H200"})
    'nvidia-h200'
    """
    if described["device"] != "cpu":
        return _slug(described["device"])
    return _slug(f"{described['arch']} {described['instructions']} {described['cores']} cores")


def versions() -> dict[str, str]:
    """The installed versions of what is measured and what it is measured against."""
    found = {"python": platform.python_version(), "afterlogits": _version("afterlogits") or "checkout"}
    return found | {package: version for package in PACKAGES if (version := _version(package))}


def summarise(raw: Mapping[str, Any], *, command: str) -> dict[str, Any]:
    """One run's raw JSON (``--benchmark-json``) as a summary of one run."""
    info = [benchmark["extra_info"] for benchmark in raw["benchmarks"]]
    run = raw.get("afterlogits", {}) or {}
    pairs = [compact(entry["pair"]) for entry in info if "pair" in entry]
    growths = [compact(entry["growth"]) for entry in info if "growth" in entry]
    grid = [compact(cell) for entry in info for cell in entry.get("grid", [])]
    device = next((entry["pair"]["device"] for entry in info if "pair" in entry), "cpu")
    record = {
        "command": command,
        "date": raw["datetime"][:10],
        "threads": next((entry["threads"] for entry in [*pairs, *grid]), None),
        "versions": run.get("versions") or versions(),
    }
    parts = {"pairs": pairs, "growth": growths, "grid": grid}
    return {"machine": run.get("machine") or machine(device), "runs": [record], **parts}


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """``old`` with the entries of ``new`` in place of those of the same name, and the runs that still count."""
    if old["machine"]["kind"] != new["machine"]["kind"]:
        raise ValueError(
            f"summaries must be of one machine kind; got {old['machine']['kind']!r} and {new['machine']['kind']!r}"
        )
    runs = [*old["runs"], *new["runs"]]
    merged: dict[str, Any] = {"machine": new["machine"]}
    shifted = [entry | {"run": entry.get("run", 0) + len(old["runs"])} for entry in [*new["pairs"], *new["growth"]]]
    kept = {part: {_key(entry): entry for entry in old[part]} for part in ("pairs", "growth")}
    for entry in shifted:
        part = "growth" if "exponent" in entry else "pairs"
        kept[part][_key(entry)] = entry
    fresh = [cell | {"run": cell.get("run", 0) + len(old["runs"])} for cell in new.get("grid", [])]
    cells = fresh or old.get("grid", [])
    entries = [*(entry for part in kept.values() for entry in part.values()), *cells]
    used = sorted({entry.get("run", 0) for entry in entries})
    for part, by_key in kept.items():
        merged[part] = [entry | {"run": used.index(entry.get("run", 0))} for entry in by_key.values()]
    merged["grid"] = [cell | {"run": used.index(cell.get("run", 0))} for cell in cells]
    return merged | {"runs": [runs[index] for index in used]}


def compact(value: Any) -> Any:
    """Floats to four significant digits, everything else as it is.

    >>> compact({"median": 12.34567, "met": True, "rounds": 20})
    {'median': 12.35, 'met': True, 'rounds': 20}
    """
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: compact(item) for key, item in value.items()}
    return [compact(item) for item in value] if isinstance(value, (list, tuple)) else value


def load(path: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return summary


def save(summary: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write one entry per line, so that a new measurement is a readable difference."""
    path = folder / f"{summary['machine']['kind']}.json"
    parts = [f'"machine": {json.dumps(summary["machine"])}']
    for part in ("runs", "pairs", "growth", "grid"):
        lines = ",\n    ".join(json.dumps(entry, ensure_ascii=False) for entry in summary.get(part, []))
        parts.append(f'"{part}": [\n    {lines}\n  ]')
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n  " + ",\n  ".join(parts) + "\n}\n", encoding="utf-8")
    return path


def stored(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Every committed summary, processors before accelerators."""
    summaries = [load(path) for path in sorted(folder.glob("*.json"))]
    return sorted(summaries, key=lambda summary: summary["machine"]["device"] != "cpu")


def _key(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return entry["table"], entry["name"], entry.get("axis", "")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.processor() or "unknown"


def figures(summary: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Every figure that was asked for, with the entry it belongs to."""
    return [
        bound | {"entry": entry["name"], "table": entry["table"]}
        for entry in summary["pairs"]
        for bound in entry["asked"]
    ]
