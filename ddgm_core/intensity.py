"""Grey levels as the network sees them, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddgm.core.numbers import Numbers, number


@dataclass(frozen=True)
class Intensity(Numbers):
    """Grey levels that become 0 and 1 to the network: x = (grey - mean) / std."""

    mean: float = number(ge=-1e12, le=1e12)
    std: float = number(ge=1e-12, le=1e12)

    def normalised(self, grey: np.ndarray) -> np.ndarray:
        """Grey levels of any type in the network's units, float32."""
        return (grey.astype(np.float32) - self.mean) / self.std

    def grey(self, x: np.ndarray, dtype: str = "float32") -> np.ndarray:
        """Normalised values as grey levels; integers are rounded, and clipped to their range."""
        levels = x * np.float32(self.std) + np.float32(self.mean)
        if dtype == "float32":
            return levels.astype(np.float32)
        limits = np.iinfo(dtype)
        return np.clip(np.rint(levels), limits.min, limits.max).astype(dtype)
