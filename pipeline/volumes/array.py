"""An array on disk in a volume's place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from zipfile import BadZipFile

import numpy as np

from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.volume import Cutout, SourceError, Volume


@dataclass(frozen=True)
class ArrayVolume:
    """A .npy file, (z, y, x), read in part; or the one array of a .npz file."""

    path: str

    @cached_property
    def _array(self) -> np.ndarray:
        names: list[str] = []
        try:
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            if isinstance(array, np.lib.npyio.NpzFile):
                with array as file:
                    names = file.files
                    array = file[names[0]] if len(names) == 1 else None
        except FileNotFoundError:
            raise SourceError(f"{self.path}: there is no such file", "not_found") from None
        except (OSError, ValueError, BadZipFile) as error:
            raise SourceError(f"{self.path} cannot be read: {error}", "corrupt") from error
        if array is None:
            raise SourceError(
                f"{self.path} holds the arrays {', '.join(names)}; give a file of one",
                "unsupported",
            )
        if array.ndim != 3:
            shape = " x ".join(map(str, array.shape))
            raise SourceError(f"{self.path} is {shape}; it must be z, y, x", "unsupported")
        return array

    @property
    def bounds(self) -> Box:
        """All of it."""
        z, y, x = self._array.shape
        return Box((0, 0, 0), (z, y, x))

    def read(self, box: Box) -> Cutout:
        """The voxels of a box.

        Raises:
            SourceError: it cannot be read, or the box leaves it.
        """
        if min(box.shape) < 1 or not box.inside(self.bounds):
            raise SourceError(f"{self.path}: box {box} is not inside {self.bounds}", "bounds")
        return Cutout(np.array(self._array[box.slices()]), 0)


def opened(url: str, mip: int = 0) -> tuple[Volume | ArrayVolume, Box]:
    """Open the volume of a URL, or of the path of a .npy or .npz file; returns it with its bounds.

    Raises:
        SourceError: it cannot be opened.
    """
    if url.endswith((".npy", ".npz")):
        array = ArrayVolume(url)
        return array, array.bounds
    volume = open_volume(url, mip)
    return volume, volume.info.bounds
