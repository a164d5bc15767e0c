"""Classical reconstruction of a slab: ours against ASTRA's own SIRT and CGLS, on a CPU.

    python -m benchmarks.classical

128 × 1568 slices of the phantom, lateral detector. Ours are gradient descent at the paper's K of
100, collapsed to one product, and CGLS by the same projector.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.common import medians, report
from benchmarks.rivals import Astra
from benchmarks.solve import PIXELS, make_case, quality
from ddgm.core.methods.least_squares import cgls, gradient_descent
from ddgm.core.process_memory import keep_freed_memory

K, SIRT, CGLS = 100, 100, 10  # steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=8, help="of the slab, at once")
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    keep_freed_memory()
    case = make_case("small", a.slices, torch.device("cpu"))
    page, y = Astra(case.geometry), case.y
    ways: dict[str, Callable[[], Tensor]] = {
        f"gradient descent, K = {K}": lambda: gradient_descent(case.projector, y, case.step, K),
        f"CGLS, {CGLS} steps": lambda: cgls(case.projector, y, CGLS),
        f"ASTRA's SIRT, {SIRT} steps": lambda: page.algorithm("SIRT", y[0], SIRT)[None],
        f"ASTRA's CGLS, {CGLS} steps": lambda: page.algorithm("CGLS", y[0], CGLS)[None],
    }
    with torch.inference_mode():
        seconds = medians(dict(ways), a.rounds)
        rows = []
        for name, way in ways.items():
            s = seconds[name] / (1 if "ASTRA" in name else a.slices)
            slow = "ASTRA's SIRT" if "gradient" in name else "ASTRA's CGLS"
            theirs = next(seconds[n] for n in seconds if n.startswith(slow))
            row = {
                "what": name,
                "s a slice": s,
                "Mpixel/s": PIXELS / s / 1e6,
                **quality(case, way()),
            }
            if "ASTRA" not in name:
                row["times the rate of ASTRA's"] = theirs / s
            rows.append(row)
    report("classical", f"Classical: 128 x 1568, lateral, {a.slices} slices at once", rows, NOTES)


NOTES = """
ASTRA's run one slice after the other, on its CPU projectors. Gradient descent stands against SIRT
of as many steps, CGLS against CGLS. Quality is that of the first slice.
"""


if __name__ == "__main__":
    main()
