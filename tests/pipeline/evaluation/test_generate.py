"""`ddgm generate`: images that depend on seed and number alone, scored against real patches."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from ddgm.core.methods.samplers import generate
from ddgm.core.methods.schedules import eq2_levels
from ddgm.core.metrics.realism import compare
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.prior import PriorCard, load_prior, save_prior
from ddgm.core.networks.unet import Architecture, UNet
from ddgm.core.simulation.noise import NoiseField
from ddgm.pipeline.evaluation import figures
from ddgm.pipeline.evaluation import generate as generation
from ddgm.pipeline.evaluation.generate import GenerationRequest, cut, make, read_real
from ddgm.pipeline.figures import grid
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.patches import random_slabs
from tests.pipeline.runs import OFFSET, SHAPE, phantom_volume, run_ddgm

pytestmark = pytest.mark.long

PATCH = 32  # of the tiny prior
BOUNDS = Box(OFFSET, (OFFSET[0] + SHAPE[0], OFFSET[1] + SHAPE[1], OFFSET[2] + SHAPE[2]))


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A phantom of 64 x 140 x 16 voxels: patches of 32 fit across x alone."""
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


@pytest.fixture(scope="module")
def ten(tiny_prior: Path) -> np.ndarray:
    return make(GenerationRequest(str(tiny_prior), 10))


def test_images_are_those_of_equation_2_with_the_papers_constants(
    tiny_prior: Path, ten: np.ndarray
) -> None:
    """In batches of 8, as here: the same sampler, noise and network, put together by hand."""
    field = NoiseField(0, "generation")
    origins = [(0, 0, k) for k in range(8)]
    x = generate(
        NetworkDenoiser(load_prior(str(tiny_prior)).network),
        lambda n: field.batch((PATCH, PATCH), origins, n),
        eq2_levels(30.0, 0.183, 0.5, 50),
        0.183,
        0.5,
    )
    assert ten.shape == (10, PATCH, PATCH)
    assert ten.dtype == np.float32
    # a tile's blend weight is 1 up to rounding
    assert np.abs(ten[:8] - x.numpy()).max() < 1e-3 * np.abs(ten).max()


@pytest.mark.parametrize("count", [1, 3, 9])
def test_an_image_has_the_same_bits_in_any_company(
    tiny_prior: Path, ten: np.ndarray, count: int
) -> None:
    assert np.array_equal(make(GenerationRequest(str(tiny_prior), count)), ten[:count])


def test_images_and_seeds_differ(tiny_prior: Path, ten: np.ndarray) -> None:
    other = make(GenerationRequest(str(tiny_prior), 2, seed=1))
    everything = np.concatenate([ten, other]).reshape(12, -1)
    assert len(np.unique(everything, axis=0)) == 12


@pytest.mark.parametrize("size", [(80, 40), (40, 20), (17, 33)])
def test_any_size_is_made_in_tiles(tiny_prior: Path, size: tuple[int, int]) -> None:
    one, two = (make(GenerationRequest(str(tiny_prior), n, size)) for n in (1, 2))
    assert two.shape == (2, *size)
    assert np.isfinite(two).all()
    assert np.array_equal(one, two[:1])  # 80 x 40 is made one by one, the others together


def test_progress_counts_noise_levels_of_all_batches(tiny_prior: Path) -> None:
    seen: list[tuple[int, int]] = []
    make(GenerationRequest(str(tiny_prior), 9), lambda done, total: seen.append((done, total)))
    assert seen == [(k, 100) for k in range(1, 101)]


def test_real_patches_are_the_volumes_own_normalised_as_the_prior_has_them(
    tiny_prior: Path, volume: str
) -> None:
    request, source = GenerationRequest(str(tiny_prior), 3, (40, 70)), open_volume(volume, 0)
    real = read_real(request, source)
    assert request.patches == 6  # two side by side in each image
    assert real.patches.shape == (12, PATCH, PATCH)
    planes = random_slabs(BOUNDS, PATCH, 12, request.seed)
    whole = source.read(BOUNDS).data
    for patch, plane in zip(real.patches, planes, strict=True):
        grey = whole[plane.slices(OFFSET)].reshape(PATCH, PATCH).astype(np.float32)
        assert np.allclose(patch * 34 + 128, grey, atol=1e-3)  # the tiny prior's mean and std


def test_images_are_cut_side_by_side() -> None:
    images = np.arange(2 * 5 * 7).reshape(2, 5, 7)
    patches = cut(images, 2)
    assert patches.shape == (2 * 2 * 3, 2, 2)
    assert np.array_equal(patches[5], images[0, 2:4, 4:6])
    assert np.array_equal(patches[6], images[1, :2, :2])


def test_the_command_writes_images_pictures_and_scores(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    out = tmp_path / "new" / "samples"
    box = "10:74,20:160,7:15"
    words = ("--prior", tiny_prior, "--count", 2, "--seed", 5, "--out", out)
    status, printed, _ = run_ddgm(capsys, "generate", *words, "--real", volume, "--box", box)
    assert status == 0
    assert sorted(p.name for p in out.iterdir()) == sorted(generation.FILES)
    request = GenerationRequest(str(tiny_prior), 2, seed=5)
    images = make(request)
    grey = np.load(out / "samples.npy")
    assert grey.dtype == np.float32
    assert np.allclose(grey, images * 34 + 128, rtol=1e-5)
    part = Box((10, 20, 7), (74, 160, 15))
    scores = compare(images, read_real(request, open_volume(volume, 0), part).patches)
    record = json.loads((out / "realism.json").read_text())
    for name in ("spectrum", "intensity", "gradient"):
        distance = getattr(scores, name)
        assert record["distances"][name] == {"generated": distance.generated, "real": distance.real}
        assert f"{distance.generated:.3g}" in printed
    assert record["generated"]["sha256"] == load_prior(str(tiny_prior)).digest
    assert record["generated"]["seed"] == 5
    assert record["real"]["box"] == {"start": [10, 20, 7], "stop": [74, 160, 15]}
    assert min(imread(out / "realism.png").shape[:2]) > 200


def test_scores_of_an_earlier_call_do_not_stay_beside_other_images(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    words = ("--prior", tiny_prior, "--count", 1, "--out", tmp_path)
    (tmp_path / "mine.txt").write_text("kept")
    assert run_ddgm(capsys, "generate", *words, "--real", volume)[0] == 0
    assert run_ddgm(capsys, "generate", *words)[0] == 0
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["mine.txt", "samples.npy", "samples.png"]


def test_voxels_of_another_size_than_the_priors_are_pointed_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path
) -> None:
    url = phantom_volume(tmp_path / "em", voxel_size_nm=(8, 8, 8))
    words = ("--prior", tiny_prior, "--count", 1, "--out", tmp_path / "out", "--real", url)
    status, out, _ = run_ddgm(capsys, "generate", *words)
    assert status == 0
    assert "voxels of 8 x 8 x 8 nm" in out


BAD = [
    (("--prior", "nonesuch"), "'nonesuch' is neither a shipped prior"),
    (("--count", 0), "--count: 0 images"),
    (("--size", 0, 64), "--size: 0 x 64 pixels"),
    (("--size", 64, 15), "--size: 64 x 15 pixels"),
    (("--real", "precomputed://file:///not/there"), "not found"),
    (("--real", "VOLUME", "--box", "10:30,20:160,7:23"), "holds no patch of 32 x 32"),
    (("--real", "VOLUME", "--box", "0:64,20:160,7:23"), "the volume's bounds are"),
    (("--real", "VOLUME", "--box", "10:30"), "--box: '10:30' must be"),
    (("--real", "VOLUME", "--mip", 4), "the volume has mip 0"),
    (("--box", "10:74,20:160,7:23"), "name the volume with --real"),
    (("--out", "FILE"), "choose another folder"),
    (("--out", "FILE/below"), "choose another folder"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
    words: tuple[object, ...],
    message: str,
) -> None:
    (tmp_path / "file").write_text("in the way")
    given = [
        str(w).replace("VOLUME", volume).replace("FILE", str(tmp_path / "file")) for w in words
    ]
    before = ["--prior", tiny_prior, "--count", 1, "--out", tmp_path / "out"]
    status, _, err = run_ddgm(
        capsys, "generate", *before, *given
    )  # the last of two equal options counts
    assert status == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_prior_that_did_not_see_all_noise_levels_is_refused(tmp_path: Path) -> None:
    architecture = Architecture(width=8, levels=3, convolutions=2)
    card = PriorCard(architecture, 128, 34, 16, patch=PATCH, sigma_range=(0.03, 10.0))
    save_prior(tmp_path / "low.safetensors", UNet(architecture), card)
    with pytest.raises(generation.PriorError, match=r"trained at noise levels from 0.03 to 10"):
        make(GenerationRequest(str(tmp_path / "low.safetensors"), 1))


def test_a_grid_shows_each_image_in_its_place() -> None:
    images = np.arange(1.0, 4.0)[:, None, None] * np.ones((3, 5, 6))
    whole = grid(images, 2)
    assert whole.shape == (5 + 4 + 5, 6 + 4 + 6)
    assert (whole[:5, :6] == 1).all()
    assert (whole[:5, 10:] == 2).all()
    assert (whole[9:, :6] == 3).all()
    assert np.isnan(whole).sum() == whole.size - 3 * 30


def test_the_picture_shows_images_pixel_by_pixel_and_real_ones_below() -> None:
    images = np.random.default_rng(0).uniform(50, 200, (1, 64, 500)).astype(np.float32)
    alone = imread(BytesIO(figures.samples(images, None, 16.0, "a note")))[..., 0]
    low, high = np.percentile(images, (0.5, 99.5))
    row = np.clip((images[0, 0] - low) / (high - low), 0, 1).repeat(3)  # three dots to a pixel
    places = np.lib.stride_tricks.sliding_window_view(alone, len(row), axis=1)
    assert np.abs(places - row).mean(axis=-1).min() < 0.01
    both = imread(BytesIO(figures.samples(images, images, 16.0, "a note")))
    assert both.shape[0] > alone.shape[0] + 3 * 64
    assert both.shape[1] == alone.shape[1]


def test_no_more_images_are_shown_than_fit() -> None:
    few, many = (
        imread(BytesIO(figures.samples(np.ones((n, 32, 32)), None, 16.0, "")))
        for n in (8 * 18, 1000)
    )
    assert few.shape == many.shape
