"""The commands about priors: how they are made, and what they make of noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddgm.core.errors import DdgmError
from ddgm.pipeline.cli.options import Precision, parsed_box
from ddgm.pipeline.terminal import console

if TYPE_CHECKING:
    from ddgm.core.metrics.realism import Realism
    from ddgm.pipeline.evaluation.generate import GenerationRequest, Real
    from ddgm.pipeline.volumes.box import Box


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(train)
    app.command()(generate)


def train(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="a training spec (YAML)")],
) -> None:
    """Train a prior, or resume where an earlier start stopped.

    Writes checkpoints, loss.csv, validation.csv, pictures and, at the end, prior.safetensors,
    which a pipeline spec can name as prior.weights. Ctrl-C and SIGTERM save and stop.

    Example: `ddgm train deploy/specs/train-fib25.yaml`
    """
    from importlib.util import find_spec

    if find_spec("lightning") is None:
        raise DdgmError("training needs Lightning; install it with `pip install 'ddgm[train]'`")
    from ddgm.pipeline.spec.yaml_file import load_spec
    from ddgm.pipeline.training.spec import TrainingSpec
    from ddgm.pipeline.training.train import train as run

    console.print(f"wrote {run(load_spec(spec, TrainingSpec), console)}")


def generate(
    prior: Annotated[str, typer.Option(help="a shipped prior's name, or a weights file")] = "small",
    count: Annotated[int, typer.Option(help="images to make")] = 16,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="H W", help="of an image, in pixels; default: the prior's patch"),
    ] = None,
    seed: Annotated[int, typer.Option(help="of the noise")] = 0,
    real: Annotated[
        str | None, typer.Option(metavar="URL", help="a precomputed volume to score against")
    ] = None,
    mip: Annotated[int, typer.Option(help="of that volume")] = 0,
    box: Annotated[
        str | None,
        typer.Option(metavar="Z:Z,Y:Y,X:X", help="its part to draw from, one not trained on"),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(help="bfloat16 is quicker where the processor has it; float8 is for GPUs"),
    ] = "float32",
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="created if missing")] = Path(
        "samples"
    ),
) -> None:
    """Make images of noise with a prior, and say how real they are.

    Makes them by Eq. 2, and writes samples.npy (grey levels) and samples.png; with a real volume,
    also realism.json and realism.png: how far power spectrum, intensities and gradients are from
    real patches', beside how far real ones are from each other.

    Examples: `ddgm generate --real precomputed://file:///data/em --count 32`,
    `ddgm generate --count 1 --size 512 1568`
    """
    from ddgm.pipeline.evaluation import generate as generation
    from ddgm.pipeline.progress_bar import counted

    if box is not None and real is None:
        raise DdgmError(f"--box: {box} is a part of a volume; name the volume with --real")
    request = generation.GenerationRequest(prior, count, size, seed, precision)
    beside = None if real is None else _real(request, real, mip, parsed_box(box))
    folder = generation.prepared(out, request)
    with counted(console, "noise levels") as progress:
        images = generation.make(request, progress)
    realism = generation.write(folder, request, images, beside)
    if realism is not None:
        _print_scores(realism)
    console.print(f"wrote {out}/samples.png" + (f" and {out}/realism.png" if realism else ""))


def _real(request: GenerationRequest, url: str, mip: int, box: Box | None) -> Real:
    from ddgm.pipeline.evaluation.generate import read_real
    from ddgm.pipeline.progress_bar import counted
    from ddgm.pipeline.volumes.opening import open_volume

    volume, voxel = open_volume(url, mip), request.weights.card.voxel_size_nm
    if any(abs(side / voxel - 1) > 0.01 for side in volume.info.voxel_size_nm):
        sides = " x ".join(f"{s:g}" for s in volume.info.voxel_size_nm)
        console.print(f"note: voxels of {sides} nm; {request.prior} was trained at {voxel:g}")
    with counted(console, "real patches") as progress:
        return read_real(request, volume, box, progress)


def _print_scores(realism: Realism) -> None:
    for name, unit, d in (
        ("power spectrum", "decades", realism.spectrum),
        ("intensity", "standard deviations", realism.intensity),
        ("gradient", "standard deviations per pixel", realism.gradient),
    ):
        console.print(f"{name}: {d.generated:.3g} {unit} from real (real from real: {d.real:.3g})")
