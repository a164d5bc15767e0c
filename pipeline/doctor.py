"""Findings about this machine: what a run needs of it, and what it has beyond that."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from ddgm.core.process_memory import available_bytes
from ddgm.core.projectors.cache import cache_folder
from ddgm.pipeline.errors import one_line
from ddgm.pipeline.terminal import plural

NEEDED = "cloudvolume", "cryptography", "distributed", "pyarrow", "zarr"  # beside torch and ASTRA
EXTRAS = {"train": "lightning", "s3": "s3fs", "view": "neuroglancer", "compare": "deepinv"}
LITTLE_ROOM = 2e9  # bytes: an eigenbasis, or what Dask spills, may take as much
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}  # of /proc/cpuinfo


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of it.
        text: what was found.
        facts: the same for programs.
        remedy: what to do where something is missing; empty where nothing is.
        broken: whether no run can do without.
    """

    name: str
    text: str
    facts: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""
    broken: bool = False


def findings() -> Iterator[Finding]:
    """Yield all findings, one after the other: some take seconds."""
    yield _versions()
    yield _packages()
    yield _checked("torch", _torch, "install torch again: https://pytorch.org/get-started")
    yield _checked("ASTRA", _astra, "install it again: pip install --force-reinstall astra-toolbox")
    yield _gpu()
    yield _precisions()
    yield _slurm()
    yield _folder("cache", cache_folder(), "DDGM_CACHE", needed=False)
    yield _folder("temporary folder", Path(tempfile.gettempdir()), "TMPDIR", needed=True)
    yield _machine()
    yield from map(_extra, EXTRAS)


def _checked(name: str, look: Callable[[], Finding], remedy: str) -> Finding:
    try:
        return look()
    except Exception as error:  # a package that is built for another machine fails in many ways
        return Finding(name, one_line(error), {name: None}, remedy, broken=True)


def _versions() -> Finding:
    ddgm, python = version("ddgm"), platform.python_version()
    text = f"{ddgm}, Python {python} at {sys.executable}"
    return Finding("ddgm", text, {"ddgm": ddgm, "python": python})


def _packages() -> Finding:
    failed = {}
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed[name] = one_line(error)
    text = "; ".join(f"{name}: {why}" for name, why in failed.items()) or "all can be imported"
    remedy = "install ddgm again: pip install --force-reinstall ddgm" if failed else ""
    return Finding("packages", text, {"failed_packages": failed}, remedy, broken=bool(failed))


def _torch() -> Finding:
    import torch

    x = torch.ones(8, 8)
    assert float((x @ x).sum()) == 512.0
    cuda = torch.version.cuda
    text = f"{torch.__version__}, {f'for CUDA {cuda}' if cuda else 'without CUDA'}"
    return Finding("torch", text, {"torch": torch.__version__, "torch_cuda": cuda})


def _astra() -> Finding:
    import astra

    from ddgm.core.geometry import TiltGeometry
    from ddgm.core.projectors.astra_matrix import projection_matrix

    assert projection_matrix(TiltGeometry.uniform(8, 8)).nnz
    found, cuda = version("astra-toolbox"), bool(astra.use_cuda())
    text = f"{found}, {'with' if cuda else 'without'} CUDA, which ddgm does not ask it for"
    return Finding("ASTRA", text, {"astra": found, "astra_cuda": cuda})


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        there = Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None
        remedy = "install a torch for its CUDA: https://pytorch.org/get-started" if there else ""
        text = "there is one, which torch cannot use" if there else "none; networks run on the CPU"
        return Finding("GPU", text, {"gpus": []}, remedy)
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    text = ", ".join(f"{g.name} ({decimal(g.total_memory)})" for g in gpus)
    facts = [{"name": g.name, "memory_bytes": g.total_memory} for g in gpus]
    missing = []
    if find_spec("triton") is None:
        missing.append("pip install triton")
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        missing.append("install a C compiler, which Triton asks for (gcc)")
    remedy = " and ".join(missing)
    return Finding("GPU", text, {"gpus": facts, "triton": not missing}, remedy)


def _precisions() -> Finding:
    from ddgm.core.device import default_device
    from ddgm.core.networks import gpu

    device = default_device()
    if device.type == "cuda":
        quick = [p for p in ("bfloat16", "float8") if gpu.runs(p, device)]
    else:
        info = Path("/proc/cpuinfo")
        flags = set(info.read_text().split()) if info.exists() else set()
        quick = ["bfloat16"] if flags & BFLOAT16_FLAGS else []
    precisions = ["float32", *quick]
    text = f"{', '.join(precisions)}: others are refused or slow here; see prior.precision"
    return Finding("precisions", text, {"precisions": precisions})


def _slurm() -> Finding:
    if shutil.which("sbatch") is None:
        return Finding("SLURM", "not here; needed for `ddgm submit` alone", {"slurm": None})
    remedy = "ask those who run the cluster; `ddgm submit` alone needs it"
    try:
        asked = subprocess.run(
            ["sbatch", "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("SLURM", f"sbatch: {one_line(error)}", {"slurm": None}, remedy)
    if asked.returncode:
        said = " ".join(asked.stderr.split())
        return Finding("SLURM", f"sbatch: {said}", {"slurm": None}, remedy)
    return Finding("SLURM", asked.stdout.strip(), {"slurm": asked.stdout.strip()})


def _folder(name: str, path: Path, variable: str, needed: bool) -> Finding:
    """A folder that can be written, and its room."""
    key = name.partition(" ")[0]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            free = shutil.disk_usage(path).free
    except OSError as error:
        remedy = f"set {variable} to a folder that can be written"
        return Finding(name, f"{path}: {error.strerror}", {key: str(path)}, remedy, needed)
    remedy = f"make room, or set {variable} to a folder with more" if free < LITTLE_ROOM else ""
    facts = {key: str(path), f"{key}_free_bytes": free}
    return Finding(name, f"{path}, {decimal(free)} free", facts, remedy)


def _machine() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free = available_bytes()
    text = f"{plural(cores or 1, 'core')}, {decimal(free)} of memory free"
    return Finding("machine", text, {"cores": cores, "free_memory_bytes": free})


def _extra(extra: str) -> Finding:
    package, name = EXTRAS[extra], f"extra {extra}"
    there = find_spec(package) is not None
    found = version(package) if there else None
    text = f"{package} {found}" if there else f"no {package}"
    remedy = "" if there else f"pip install 'ddgm[{extra}]', if you want it"
    return Finding(name, text, {f"extra_{extra}": found}, remedy)
