"""Runs in a notebook: a spec, what it will do, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddgm.core.errors import DdgmError
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan, make_plan
from ddgm.pipeline.spec.yaml_file import check_spec
from ddgm.pipeline.spec.yaml_file import load_spec as read_spec
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore

if TYPE_CHECKING:
    import numpy as np
    import zarr

SpecLike = Spec | str | Path | Mapping[str, Any]


class ResultError(DdgmError):
    """Something of a run that is not there."""


@dataclass(frozen=True)
class Run:
    """The results of a run; arrays are read where they are indexed.

    Attributes:
        path: the run's folder, on a disk or in a store.
    """

    path: str

    @property
    def store(self) -> RunStore:
        """The files of the run."""
        return RunStore(self.path)

    @cached_property
    def plan(self) -> Plan:
        """The spec on its volume: shapes, axes and blocks."""
        return plan_of(self.store.manifest())

    @property
    def spec(self) -> Spec:
        """The spec that was run."""
        return self.plan.spec

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers that were written."""
        return self.spec.output.layers

    def layer(self, name: str) -> zarr.Array:
        """A layer as a zarr array: (z, y, x), or (slabs, slices, views, bins) of `sinogram`.

        Blocks that are not done yet read as zeros.

        Raises:
            ResultError: the run has no such layer.
        """
        if name not in self.layers:
            raise ResultError(
                f"{self.path} has no layer {name!r}; it has {', '.join(self.layers)}; name "
                "others in output.layers of a spec"
            )
        return self.store.arrays.array(name)

    @property
    def reconstruction(self) -> zarr.Array:
        """The reconstructed volume, (z, y, x)."""
        return self.layer("reconstruction")

    @property
    def truth(self) -> zarr.Array:
        """The volume that was imaged, (z, y, x)."""
        return self.layer("truth")

    @property
    def algebraic(self) -> zarr.Array:
        """The reconstruction by gradient descent alone, (z, y, x)."""
        return self.layer("algebraic")

    @property
    def sinogram(self) -> zarr.Array:
        """The simulated tilt series, (slabs, slices, views, bins), normalised units."""
        return self.layer("sinogram")

    @property
    def spread(self) -> zarr.Array:
        """The standard deviation over chains, (z, y, x), grey levels."""
        return self.layer("spread")

    @property
    def measured(self) -> zarr.Array:
        """The share of the energy that the tilts see, (z, y, x), 0 to 1."""
        return self.layer("measured")

    @property
    def low(self) -> zarr.Array:
        """The grey levels above which the truth lies, by the spec's calibration, (z, y, x)."""
        return self.layer("low")

    @property
    def high(self) -> zarr.Array:
        """The grey levels below which the truth lies, by the spec's calibration, (z, y, x)."""
        return self.layer("high")

    @property
    def scores(self) -> dict[str, np.ndarray]:
        """The metrics of every slice by name, (slices,) each; `slice` and `block` say of which.

        Raises:
            ResultError: the run has not ended yet.
        """
        import pyarrow.parquet as pq

        data = self.store.folder.read("metrics.parquet")
        if data is None:
            raise ResultError(
                f"{self.path} has no metrics.parquet yet; it is written as a run ends"
            )
        table = pq.read_table(BytesIO(data))
        return {name: table[name].to_numpy() for name in table.column_names}


def load_spec(source: str | Path | Mapping[str, Any]) -> Spec:
    """A checked spec, from a YAML file or from a mapping of the same keys.

    Raises:
        SpecError: there is no such file, it is not YAML, or it says something that it must not;
            one line names the field, the value and the remedy.

    Examples:
        >>> spec = ddgm.load_spec("my.yaml")
        >>> spec.method.name
        'ddx'
    """
    return check_spec(source) if isinstance(source, Mapping) else read_spec(Path(source))


def plan(spec: SpecLike) -> Plan:
    """The plan of a run: shapes of slices, layers and shards, and every block.

    Args:
        spec: a spec, or what `load_spec` takes.

    Raises:
        DdgmError: the spec or its volume cannot be read, or they do not fit.

    Examples:
        >>> p = ddgm.plan("my.yaml")
        >>> p.block_count, p.slice_count, p.geometry.views
        (2, 8, 24)
    """
    return make_plan(_checked(spec))


def run(
    spec: SpecLike, progress: bool = True, overwrite: bool = False, other_versions: bool = False
) -> Run:
    """Run a spec to its end, or go on where an earlier start of it stopped.

    A local cluster has processes of its own, which import a script anew: there the call stands
    below `if __name__ == "__main__":`. In a notebook it may stand anywhere.

    Args:
        spec: a spec, or what `load_spec` takes.
        progress: whether to show a progress bar (a line now and then, where there is no terminal).
        overwrite: whether to delete what a run of another spec left in output.path.
        other_versions: whether to go on with a run that other versions of torch, ASTRA, numpy or
            scipy began.

    Returns:
        The run, whose layers are read as they are indexed.

    Raises:
        DdgmError: what is wrong with spec, source, weights, output or cluster; or that blocks
            failed, which are done again by the next call.
        Stopped: after Ctrl-C or an interrupted cell; what was finished is kept.

    Examples:
        >>> result = ddgm.run("my.yaml", progress=False)
        >>> result.reconstruction.shape
        (32, 64, 8)
        >>> result.scores["mse"].shape
        (8,)
    """
    from ddgm.pipeline.cli.shown.progress import RunProgress
    from ddgm.pipeline.run.progress.notify import notified
    from ddgm.pipeline.run.runner import run as run_spec
    from ddgm.pipeline.terminal import console

    checked = _checked(spec)
    shown = RunProgress(console) if progress else nullcontext(_unseen)
    with notified(checked):
        with shown as emit:
            summary = run_spec(checked, emit, overwrite, other_versions=other_versions)
        if summary.failures:
            raise ResultError(
                f"{summary.failures} of {summary.blocks} blocks failed, the first with: "
                f"{summary.failed[0].cause}; mend the causes and run the same spec again: finished "
                "blocks are kept",
                "blocks",
            )
    return open_run(checked.output.path)


def open_run(path: str | Path) -> Run:
    """A run by its folder, or by its URL in a store.

    Raises:
        StoreError: there is no run.

    Examples:
        >>> result = ddgm.open_run("runs/example")
        >>> result.layers
        ('reconstruction', 'truth')
        >>> result.reconstruction
        <Array file://... shape=(32, 64, 8) dtype=uint8>
        >>> result.reconstruction[:, :, 0].max() > 0
        np.True_
    """
    found = Run(Folder(str(path)).local_path() or str(path))
    found.store.manifest()
    return found


def _checked(spec: SpecLike) -> Spec:
    return spec if isinstance(spec, Spec) else load_spec(spec)


def _unseen(event: object) -> None:
    """Takes what a progress bar would show."""
