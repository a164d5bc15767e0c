"""A spec of as many small blocks as one likes, on a volume that is hardly there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ddgm.pipeline.spec.model import Spec

THICKNESS, WIDTH, PER_SLAB = 16, 64, 1000  # of a slab: pixels, pixels, blocks of one slice


def spec_of(folder: Path, blocks: int, cluster: dict[str, Any] | None = None) -> Spec:
    """Blocks of one slice of 16 x 64 pixels, 1000 to a slab; all voxels of the source are missing.

    Args:
        folder: for the volume and the run.
        blocks: at least; whole slabs.
        cluster: as in a spec; default: a local one.
    """
    along = min(PER_SLAB, blocks)
    slabs = -(-blocks // along)
    wide = min(slabs, 25)
    size = along, WIDTH * wide, THICKNESS * -(-slabs // wide)
    volume = folder / "em"
    volume.mkdir(parents=True, exist_ok=True)
    (volume / "info").write_text(json.dumps(info(size, [16, 16, 16])))
    return Spec.model_validate(
        {
            "source": {"url": f"precomputed://file://{volume}", "missing": 130},
            "output": {"path": str(folder / "run"), "layers": ["reconstruction"]},
            "slab": {"thickness": THICKNESS, "width": WIDTH, "slabs": tuple(range(slabs))},
            "tilts": {"count": 16},
            "prior": {"stride": 64},
            "method": {"name": "ddx", "steps": 2},
            "block": {"slices": 1, "batch": 1},
            "cluster": cluster or {"kind": "local", "workers": 1},
        }
    )


def info(size: tuple[int, ...], resolution: list[int], chunk: int = 64) -> dict[str, Any]:
    """A precomputed volume's info: one scale, uint8, size in x, y, z."""
    scale = {"key": "0", "size": size, "resolution": resolution, "voxel_offset": [0, 0, 0]}
    scale |= {"chunk_sizes": [[chunk] * 3], "encoding": "raw"}
    return {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [scale]}
