"""The common ground of all benchmarks: machine, versions, date, and timing."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parents[1] / "docs" / "results"
RESULTS.mkdir(parents=True, exist_ok=True)
PACKAGES = "torch", "astra-toolbox"


def provenance() -> dict[str, str]:
    """Command, machine in words, versions and date of a measurement."""
    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.processor(),
    )
    flags = next((line for line in _cpuinfo() if line.startswith("flags")), "")
    bf16 = "with" if "avx512_bf16" in flags else "without"
    return {
        "command": "python -m " + " ".join([_module(), *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores of {model}, {bf16} AVX-512 bf16, no GPU"
        if not torch.cuda.is_available()
        else torch.cuda.get_device_name(),
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(_version(p) for p in PACKAGES)]
        ),
        "date": date.today().isoformat(),
    }


def medians(work: dict[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Median seconds of each piece of work, interleaved, after one call each to warm up."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for call in work.values():
        call()
    for _ in range(rounds):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def synchronised(work: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Work that ends when the device has done it."""

    def whole() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return whole


def on_this_device(name: str) -> str:
    """A result's name: GPUs' stand beside CPUs'."""
    return f"{name}-gpu" if torch.cuda.is_available() else name


def report(name: str, title: str, rows: list[dict[str, Any]], notes: str = "") -> None:
    """Print a table, and write it as docs/results/NAME.json and NAME.md."""
    head = list(dict.fromkeys(k for row in rows for k in row))
    lines = [
        f"# {title}",
        "",
        *(f"- {k}: `{v}`" if k == "command" else f"- {k}: {v}" for k, v in provenance().items()),
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(_text(row.get(k, "")) for k in head) + " |" for row in rows),
        *(["", notes.strip()] if notes else []),
    ]
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")
    data = {**provenance(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n")
    print("\n".join(lines))


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def _module() -> str:
    main = sys.modules["__main__"].__spec__
    return main.name if main else Path(sys.argv[0]).stem


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
