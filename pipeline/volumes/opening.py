"""From a URL to the kind of volume that reads it."""

from __future__ import annotations

import os
import re

from ddgm.pipeline.volumes.precomputed import CloudVolume, N5Volume
from ddgm.pipeline.volumes.volume import Volume
from ddgm.pipeline.volumes.zarr_volume import ZarrVolume, is_zarr

# what may stand before and behind a path on this machine
LOCAL = re.compile(
    r"((?:(?:precomputed|n5|zarr[23]?)://)?(?:file://)?)([^|]*)((?:\|[\w-]+:/?)?)", re.DOTALL
)


def whole_url(url: str) -> str:
    """The URL, a path on this machine in it made whole: workers may be in another folder."""
    parts = LOCAL.fullmatch(url)
    if parts is None or "://" in parts[2] or not parts[2]:
        return url
    end = "/" if parts[2].endswith("/") else ""
    path = os.path.abspath(os.path.expanduser(parts[2])).rstrip("/")
    return f"{parts[1]}{path}{end}{parts[3]}"


def open_volume(
    url: str, mip: int = 0, missing: int | None = None, invalid: float | None = None
) -> Volume:
    """The volume of a URL, which is opened when it is first asked for something.

    Args:
        url: any that cloud-volume reads; or OME-Zarr: zarr://, zarr2:// or zarr3:// before any of
            cloud-volume's places, |zarr2: and the like behind it, or a path to a .zarr.
        mip: level of resolution.
        missing: see `Volume`.
        invalid: see `Volume`.
    """
    kind = CloudVolume
    if is_zarr(url):
        kind = ZarrVolume
    elif url.startswith("n5://"):
        kind = N5Volume
    return kind(url, mip, missing, invalid)
