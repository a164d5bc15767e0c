"""The volume or the tilt series that a spec names, opened."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple
from pathlib import Path

from ddgm.core.process_cache import cached_in_process
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.resampling.resampled import ResampledVolume
from ddgm.pipeline.volumes.series.tilt_series import TiltSeries
from ddgm.pipeline.volumes.series.views import read_views
from ddgm.pipeline.volumes.volume import SourceError, Volume, VolumeInfo


def source_info(spec: Spec) -> VolumeInfo:
    """The info of the spec's volume, or of the volume that its series is reconstructed to.

    Raises:
        SourceError: it cannot be read.
    """
    return tilt_series(spec).info if spec.source.is_measured else source_volume(spec).info


def source_volume(spec: Spec) -> Volume | ResampledVolume:
    """The spec's volume on the grid that it asks for, with its policies for what is missing or no
    number; opened once."""
    s = spec.source
    assert s.url is not None
    missing = None if s.missing == "error" else s.missing
    invalid = None if s.invalid == "error" else s.invalid
    fields = (s.url, s.mip, missing, invalid)
    volume = cached_in_process(("volume", *fields), lambda: open_volume(*fields))
    return volume if s.size_nm is None else ResampledVolume(volume, s.size_nm)


def tilt_series(spec: Spec) -> TiltSeries:
    """The spec's measured series, opened once for each state of its table.

    Raises:
        SourceError: the table is not there, or not the one that the spec names.
    """
    s = spec.source
    assert s.tilts is not None
    assert s.views is not None
    assert s.thickness is not None
    assert s.voxel_size_nm is not None
    fields = (s.tilts, s.views, s.thickness, s.voxel_size_nm, s.binning, s.signal)
    found = table_digest(s.views)
    if s.views_sha256 not in (None, found):
        raise SourceError(
            f"source.views: {s.views} is not the table that the run was begun with (SHA-256 "
            f"{found[:12]}, not {str(s.views_sha256)[:12]}); put it back, or run it as another run",
            "corrupt",
        )
    return cached_in_process(("series", *fields, found), lambda: TiltSeries(*fields))


def table_digest(views: str) -> str:
    """SHA-256 of what a table of views says, remarks aside.

    Raises:
        SourceError: it is not there or wrong.
    """
    table = [astuple(view) for view in read_views(Path(views))]
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()
