"""Statistics of tissue, the file beside each shipped prior, made again.

python -m benchmarks.quality.tissue fib25/train_a.npy
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ddgm.core.metrics.tissue import measure_tissue, save_tissue
from ddgm.core.networks.prior import read_card, shipped_priors, weights_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("array", type=Path, help="a .npy volume that they were trained on")
    a = parser.parse_args()
    grey = np.load(a.array, mmap_mode="r", allow_pickle=False)
    for name, card in ((name, read_card(name)) for name in shipped_priors()):
        if card.restores is not None:
            continue
        x = card.intensity.normalised(grey)
        tissue = measure_tissue([x], card.voxel_size_nm, "/".join(a.array.parts[-2:]))
        save_tissue(weights_path(name), tissue)
        print(f"{name}: skewness {tissue.skewness:.3f}, of details {tissue.detail_skewness:.3f}")


if __name__ == "__main__":
    main()
