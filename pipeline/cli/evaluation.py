"""`ddgm benchmark`, `tune` and `evaluate`: methods side by side, their parameters, and true labels.
`cli` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddgm.core.errors import DdgmError
from ddgm.core.paper import TILT_NOISE, TILT_RANGE, VIEWS
from ddgm.pipeline.cli.options import Detector, Precision, Run, parsed_box, parsed_degrees
from ddgm.pipeline.terminal import console

if TYPE_CHECKING:
    from ddgm.core.simulation.acquisition import Acquisition
    from ddgm.workers.specs import Address, Local, SchedulerFile

Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="a precomputed volume or a .npy file, not trained on"),
]
Patches = Annotated[int, typer.Option(help="slices, as large as the prior's patch")]
Mip = Annotated[int, typer.Option(help="of the volume")]
BoxText = Annotated[
    str | None, typer.Option("--box", metavar="Z:Z,Y:Y,X:X", help="the part of it to draw from")
]
DetectorOption = Annotated[Detector, typer.Option("--detector", help="of the tilts")]
PriorText = Annotated[
    str, typer.Option("--prior", help="a shipped prior's name, or a weights file")
]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="of the network; float8 is for GPUs")
]
Simulate = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=VALUE:…",
        help="how tilts are made, if not with the projector that reconstructs: the keys of a "
        "spec's tilts.simulate, as in kernel=strip:subsampling=2:shift=0.5",
    ),
]
Seed = Annotated[int, typer.Option(help="of patches, tilts and samplers")]
Batch = Annotated[int, typer.Option(help="slices that are solved at once")]
Restorer = Annotated[
    str, typer.Option(help="a network that restores, for restore and restored-ddx-3")
]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="created if missing")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(benchmark)
    app.command()(tune)
    app.command()(evaluate)


def benchmark(
    data: Data,
    methods: Annotated[
        str, typer.Option(help="comma-separated; default: all but dps-1000 and diffpir-50")
    ] = "",
    patches: Patches = 128,
    mip: Mip = 0,
    box: BoxText = None,
    detector: DetectorOption = "perpendicular",
    prior: PriorText = "small",
    precision: PrecisionOption = "float32",
    seed: Seed = 0,
    batch: Batch = 16,
    simulate: Simulate = None,
    noise: Annotated[float, typer.Option(help="of the tilts, normalised units")] = TILT_NOISE,
    views: Annotated[int, typer.Option(help="how many tilts")] = VIEWS,
    degrees: Annotated[
        str, typer.Option(metavar="FIRST,LAST", help="of the tilts")
    ] = "{:g},{:g}".format(*TILT_RANGE),
    restorer: Restorer = "",
    any_tilts: Annotated[
        bool, typer.Option("--any-tilts", help="also tilts that it was not trained on")
    ] = False,
    out: Out = Path("benchmark"),
) -> None:
    """Compare reconstruction methods on the same simulated tilts.

    Writes quality, cost and pictures: benchmark.md, benchmark.json, benchmark.png, and error
    against realism in benchmark-trade.png. Resumes where an earlier start of the same comparison
    stopped.

    Example: `ddgm benchmark precomputed://file:///data/em --methods ddgm-50,ddx-10,cgls`

    Example: `ddgm benchmark em.npy --methods ddgm-50,ddgm:steps=20:gradient_steps=40 --patches 16`

    Example: `ddgm benchmark em.npy --methods restore,restored-ddx-3
    --restorer restore-perpendicular`
    """
    from ddgm.core.networks.restorer import restorer_card
    from ddgm.pipeline.evaluation.compare import benchmark as compare
    from ddgm.pipeline.evaluation.comparison_request import ComparisonRequest
    from ddgm.pipeline.evaluation.methods import parse_method, usual
    from ddgm.pipeline.progress_bar import counted

    passes = restorer_card(restorer).passes if restorer else 0
    named = {m: parse_method(m) for m in methods.split(",")} if methods else usual(passes)
    request = ComparisonRequest(
        data,
        mip,
        parsed_box(box),
        patches,
        detector,
        prior,
        precision,
        seed,
        tilt_noise=noise,
        batch=batch,
        simulate=_acquisition(simulate),
        restorer=restorer,
        views=views,
        degrees=parsed_degrees(degrees),
        any_tilts=any_tilts,
    )
    with counted(console, "methods") as progress:
        compare(request, named, out, progress)
    console.print((out / "benchmark.md").read_text("utf-8"))
    console.print(f"wrote {out}/benchmark.md, .json, .png and benchmark-trade.png")


def tune(
    data: Data,
    method: Annotated[
        str, typer.Argument(help="its name, with values that stay fixed: ddgm:steps=50")
    ],
    grid: Annotated[
        list[str],
        typer.Option(metavar="NAME=VALUE,VALUE", help="values to try; once for each parameter"),
    ],
    patches: Patches = 16,
    mip: Mip = 0,
    box: BoxText = None,
    detector: DetectorOption = "perpendicular",
    prior: PriorText = "small",
    precision: PrecisionOption = "float32",
    seed: Seed = 0,
    batch: Batch = 16,
    simulate: Simulate = None,
    without_truth: Annotated[
        bool,
        typer.Option(
            "--without-truth",
            help="choose by every eighth view, which is held out of the reconstruction and "
            "predicted, not by MSE",
        ),
    ] = False,
    restorer: Restorer = "",
    workers: Annotated[int, typer.Option(help="processes on this machine")] = 2,
    threads: Annotated[int, typer.Option(help="of each process")] = 1,
    scheduler: Annotated[
        str, typer.Option(metavar="ADDRESS|FILE", help="of a Dask cluster, in place of processes")
    ] = "",
    out: Out = Path("tune"),
) -> None:
    """Try a method's parameters on a grid, on the same slices.

    Tries all combinations, and writes tune.md, tune.json and tune.png: the first parameter along x,
    the second as lines, others as rows of plots. Resumes where an earlier start stopped, and
    measures only what a finer grid adds. Tune on slices that you will not report on.

    Example: `ddgm tune em.npy ddgm:steps=50 --grid gradient_steps=5,15,25 --grid sigma=1,3,10
    --box 0:78,0:156,0:156`
    """
    from ddgm.pipeline.evaluation.comparison_request import ComparisonRequest
    from ddgm.pipeline.evaluation.methods import parse_method
    from ddgm.pipeline.evaluation.tune import HOLD_OUT, Axis
    from ddgm.pipeline.evaluation.tune import tune as measure
    from ddgm.pipeline.progress_bar import counted

    base, axes = parse_method(method), [Axis.parse(text) for text in grid]
    request = ComparisonRequest(
        data,
        mip,
        parsed_box(box),
        patches,
        detector,
        prior,
        precision,
        seed,
        batch=batch,
        simulate=_acquisition(simulate),
        hold_out=HOLD_OUT if without_truth else None,
        restorer=restorer,
    )
    cluster = _cluster(workers, threads, scheduler)
    with counted(console, "points") as progress:
        measure(request, base, axes, cluster, out, progress)
    console.print((out / "tune.md").read_text("utf-8"))
    console.print(f"wrote {out}/tune.md, tune.json and tune.png")


def _acquisition(text: str | None) -> Acquisition | None:
    from ddgm.core.numbers import NumberError
    from ddgm.core.simulation.acquisition import parsed

    try:
        return None if text is None else parsed(text)
    except NumberError as error:
        raise DdgmError(f"--simulate: {error}") from None


def evaluate(
    run: Run,
    labels: Annotated[
        str,
        typer.Option(metavar="URL", help="true bodies of its source, voxel by voxel; 0 is none"),
    ] = "",
    mip: Annotated[int, typer.Option(help="of the labels")] = 0,
    box: Annotated[
        str | None,
        typer.Option(metavar="Z:Z,Y:Y,X:X", help="the part of it, in voxels of the source"),
    ] = None,
    halves: Annotated[
        bool,
        typer.Option("--halves", help="resolution, from each half of the views; needs no truth"),
    ] = False,
    slices: Annotated[
        int, typer.Option(min=1, help="for --halves: about how many are reconstructed twice")
    ] = 32,
) -> None:
    """Score a run against true labels, or one half of its views against the other.

    With --labels, a small network finds the membranes of each image, and a watershed makes bodies
    of them: boundary F1, variation of information and adapted Rand error, written to
    RUN/evaluation.json. The row `truth` is the ceiling. Labels are any volume that a spec's source
    can be, or a .npy or .npz file. Needs `pip install 'ddgm[evaluate]'`.

    With --halves, some slices are reconstructed from every other view and from the rest, and
    resolution is the length of the waves down to which both agree (Fourier ring correlation of
    0.143); written to RUN/halves.json. A prior makes halves agree, too: see docs/trust.md.

    Example: `ddgm evaluate runs/hemibrain --labels precomputed://file:///data/bodies`

    Example: `ddgm evaluate runs/fib25 --labels labels.npz --box 78:156,0:128,0:156`

    Example: `ddgm evaluate runs/measured --halves`
    """
    if not labels and not halves:
        raise DdgmError("give --labels URL, --halves or both: what the run is to be scored by")
    if labels:
        _evaluate_bodies(run, labels, mip, box)
    if halves:
        _evaluate_halves(run, slices)


def _evaluate_bodies(run: str, labels: str, mip: int, box: str | None) -> None:
    from ddgm.pipeline.evaluation.bodies import doubts
    from ddgm.pipeline.evaluation.bodies import evaluate as score
    from ddgm.pipeline.progress_bar import counted

    with counted(console, "images") as progress:
        found = score(run, labels, mip, parsed_box(box), progress)
    console.print(found.table())
    if warning := doubts(run):
        console.print(warning)


def _evaluate_halves(run: str, slices: int) -> None:
    from ddgm.pipeline.evaluation.halves import evaluate_halves
    from ddgm.pipeline.progress_bar import counted

    with counted(console, "reconstructions") as progress:
        found = evaluate_halves(run, slices, progress)
    console.print(found.table())


def _cluster(workers: int, threads: int, scheduler: str) -> Local | Address | SchedulerFile:
    from ddgm.workers.specs import Address, Local, SchedulerFile

    for name, value in (("workers", workers), ("threads", threads)):
        if value < 1:
            raise DdgmError(f"--{name}: {value}; give at least 1")
    if not scheduler:
        return Local(workers=workers, threads=threads)
    if "://" in scheduler:
        return Address(kind="address", address=scheduler, threads=threads)
    return SchedulerFile(kind="scheduler_file", path=Path(scheduler), threads=threads)
