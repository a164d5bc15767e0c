"""A grid over a method's parameters, on the same patches, spread over a Dask cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ddgm.core.methods.method import Method
from ddgm.pipeline.evaluation.comparison_request import (
    BenchmarkError,
    ComparisonRequest,
    ComparisonSettings,
)
from ddgm.pipeline.evaluation.measure import Progress, Result, keep, kept, solve
from ddgm.pipeline.evaluation.methods import in_spec, label, with_number
from ddgm.pipeline.evaluation.table import lines
from ddgm.pipeline.figures import STAGES, Curve, Plot, plots
from ddgm.pipeline.store.files import Folder
from ddgm.workers.connect import connect
from ddgm.workers.specs import Cluster

if TYPE_CHECKING:
    from distributed import Client, Future

SCORES = {
    "mse": "MSE",
    "ssim": "SSIM",
    "residual": "data residual",
    "held_out": "held-out views",
}
HOLD_OUT = 8  # every nth view, where settings are chosen without truth


@dataclass(frozen=True)
class Axis:
    """A parameter and the values that it takes."""

    name: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """From `gradient_steps=5,15,25`.

        Raises:
            BenchmarkError: it is something else.
        """
        name, equals, values = text.partition("=")
        if not (name and equals and values):
            raise BenchmarkError(f"--grid: {text!r} must be PARAMETER=VALUE,VALUE,…")
        return cls(name, tuple(values.split(",")))


def grid(base: Method, axes: Sequence[Axis]) -> list[Method]:
    """Every combination of values, the first axis fastest.

    Raises:
        MethodError: a parameter or value that the method cannot have.
        BenchmarkError: there is nothing to try.
    """
    if not axes:
        raise BenchmarkError("--grid: give at least one, as in --grid gradient_steps=5,15,25")
    points = []
    for values in product(*(axis.values for axis in reversed(axes))):
        point = base
        for axis, value in zip(axes, reversed(values), strict=True):
            point = with_number(point, axis.name, value)
        points.append(point)
    return points


def tune(
    request: ComparisonRequest,
    base: Method,
    axes: Sequence[Axis],
    cluster: Cluster,
    out: Path,
    progress: Progress,
) -> dict[Method, Result]:
    """Measure a grid, and write tune.json, tune.md and tune.png into `out`.

    A point whose result is there from an earlier start is not measured again, so that a grid can
    be stopped, resumed and made finer.

    Args:
        request: what is measured on; not what is reported on in the end.
        base: a method, with values for the parameters that stay.
        axes: the first is drawn along x, the second as lines, others in rows of plots.
        cluster: where the points are measured.
        out: made if need be.
        progress: called as progress(done, total), in points.

    Raises:
        DdgmError: prior, volume, box, method or cluster cannot be used.
    """
    points = grid(base, axes)
    for point in points:
        request.check(point)
    patches, comparison, folder = request.normalised, request.comparison, Folder(str(out))
    found = {p: r for p in points if (r := kept(folder, label(p), p, comparison))}
    progress(len(found), len(points))
    if missing := [p for p in points if p not in found]:
        with connect(cluster) as client:
            threads = cluster.threads
            for point, result in _measured(client, missing, comparison, patches, threads):
                keep(folder, label(point), point, comparison, result)
                found[point] = result
                progress(len(found), len(points))
    results = {p: found[p] for p in points}
    record = {
        "trial": asdict(comparison),
        "points": {label(p): asdict(r) for p, r in results.items()},
    }
    folder.write("tune.json", json.dumps(record, indent=2).encode())
    folder.write("tune.md", markdown(results, comparison, tuple(patches.shape)).encode())
    folder.write("tune.png", picture(results, axes))
    return results


def _measured(
    client: Client,
    points: Sequence[Method],
    comparison: ComparisonSettings,
    x: Tensor,
    threads: int,
) -> Iterator[tuple[Method, Result]]:
    from distributed import as_completed

    patches = client.scatter(x.numpy(), broadcast=True)
    tasks: dict[Future, Method] = {
        client.submit(
            _point, point, comparison, patches, threads, key=f"tune-{label(point)}"
        ): point
        for point in points
    }
    for task in as_completed(tasks):
        yield tasks[task], task.result()


def _point(
    point: Method, comparison: ComparisonSettings, patches: np.ndarray, threads: int
) -> Result:
    torch.set_num_threads(threads)
    return solve(point, comparison, torch.from_numpy(patches))[0]


def markdown(
    results: Mapping[Method, Result], comparison: ComparisonSettings, shape: tuple[int, ...]
) -> str:
    """All points, best MSE first; or the best at the views that were held out, where some were."""
    blind = comparison.hold_out is not None
    ranked = sorted(results, key=lambda p: results[p].mean("held_out" if blind else "mse")[0])
    shown = [score for score in SCORES if score != "held_out" or blind]
    rows = [
        [f"`{in_spec(p)}`"]
        + ["{:.4f} ± {:.4f}".format(*results[p].mean(score)) for score in shown]
        + [str(p.chains * p.evaluations)]
        for p in ranked
    ]
    head = ("method", *(SCORES[score] for score in shown), "network evaluations")
    return "\n".join([comparison.described(shape), "", *lines(head, rows)]) + "\n"


def picture(results: Mapping[Method, Result], axes: Sequence[Axis]) -> bytes:
    """The scores over the first axis, a line for each value of the second, a row for each
    combination of the others, as in the paper's Fig. 9 to 16."""
    along, *others = axes
    by = others[0] if others else None
    rows = []
    for fixed in product(*(axis.values for axis in others[1:])):
        wanted = dict(zip([axis.name for axis in others[1:]], fixed, strict=True))
        note = ", ".join(f"{k} = {v}" for k, v in wanted.items())
        shown = [s for s in SCORES if all(getattr(r, s) for r in results.values())]
        rows.append([_plot(results, along, by, wanted, score, note) for score in shown])
    return plots(*rows)


def _plot(
    results: Mapping[Method, Result],
    along: Axis,
    by: Axis | None,
    wanted: Mapping[str, str],
    score: str,
    note: str,
) -> Plot:
    x = np.array([float(v.partition("..")[0]) for v in along.values])
    curves = []
    for line, colour in zip(by.values if by else ("",), STAGES * 9, strict=False):
        fixed = {**wanted, **({by.name: line} if by else {})}
        y = [_at(results, {**fixed, along.name: v}).mean(score)[0] for v in along.values]
        curves.append(Curve(f"{by.name} = {line}" if by else score, colour, x, np.array(y)))
    scale = "log" if x.max() > 8 * x.min() else "linear"
    title = SCORES[score] + (f" ({note})" if note else "")
    return Plot(title, (along.name, SCORES[score]), curves, (scale, "linear"), x.tolist())


def _at(results: Mapping[Method, Result], values: Mapping[str, str]) -> Result:
    for point, result in results.items():
        if all(with_number(point, name, text) == point for name, text in values.items()):
            return result
    raise KeyError(values)
