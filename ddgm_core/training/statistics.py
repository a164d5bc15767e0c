"""Mean and standard deviation of more voxels than fit into memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddgm.core.errors import DdgmError

FLAT = 1e-9  # standard deviation over mean that equal voxels may have by rounding


class StatisticsError(DdgmError):
    """Voxels that nothing can be learnt from."""


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of the voxels seen so far; add two to join them.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979): exact to rounding where sums of squares would cancel.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, voxels: np.ndarray) -> Moments:
        """The moments of an array of any shape, in float64.

        Raises:
            StatisticsError: some voxels are not finite.
        """
        mean = float(voxels.mean(dtype=np.float64))
        if not np.isfinite(mean):
            raise StatisticsError("some voxels are NaN or infinite; mend the volume")
        deviations = voxels.astype(np.float32) - np.float32(mean)
        return cls(voxels.size, mean, float(np.square(deviations, dtype=np.float64).sum()))

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart**2 * self.count * other.count / count,
        )

    @property
    def std(self) -> float:
        """Standard deviation.

        Raises:
            StatisticsError: all voxels are equal, or there are none.
        """
        if self.squares <= self.count * (FLAT * self.mean) ** 2:
            raise StatisticsError("all training voxels are equal: there is nothing to learn")
        return (self.squares / self.count) ** 0.5
