"""`ddgm import`: what it finds, what it assumes, what it refuses, and what it writes."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from benchmarks.imported.microscope import projections, raw_views
from ddgm.core.errors import DdgmError
from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline.importing.import_series import Imported, import_series
from ddgm.pipeline.importing.request import Request
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.volumes.series.views import read_views
from tests.pipeline.importing.test_readers import ALN
from tests.pipeline.volumes.series.blobs import numbered, turned

NOISE = 25.0  # of a raw pixel
ANGLES = np.arange(-60.0, 61.0, 12.0)
HAADF = Path(__file__).parents[3] / "haadf/HAADF.mrc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack of a tilted axis, and what IMOD would have written beside it."""
    folder = tmp_path_factory.mktemp("series")
    volume = neuropil((32, 48, 120), seed=1).astype(float)
    rng = np.random.default_rng(0)
    views = numbered([turned(float(a), 20, (2.5, -1.5)) for a in ANGLES])
    aligned = projections(volume - volume.mean(), [float(a) for a in ANGLES])
    raw = raw_views(np.pad(aligned, ((0, 0), (36, 36), (0, 0))), views, (120, 120))
    raw = raw + NOISE * rng.normal(size=raw.shape) + 4000
    with mrcfile.new(folder / "TS.st") as file:
        file.set_data(raw.astype(np.float32))
        file.set_image_stack()
        file.voxel_size = 80.0
    np.savetxt(folder / "TS.rawtlt", ANGLES, "%.2f")
    lines = [(v.a11, v.a12, v.a21, v.a22, v.dx, v.dy) for v in views]
    np.savetxt(folder / "TS.xf", lines, "%12.7f")
    return folder


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def imported(stack: Path, **asked: object) -> Imported:
    asked = {"thickness": 32, "binning": 1} | asked
    return import_series(Request(stack, **asked), lambda done, total: None)  # type: ignore[arg-type]


def fault(stack: Path, **asked: object) -> str:
    """The error of an import, which writes nothing."""
    there = sorted(stack.parent.iterdir())
    with pytest.raises(DdgmError) as raised:
        imported(stack, **asked)
    assert sorted(stack.parent.iterdir()) == there
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_a_folder_of_imod_becomes_a_table_and_a_spec(own: Path) -> None:
    seen: list[tuple[int, int]] = []
    request = Request(own / "TS.st", thickness=32)
    made = import_series(request, lambda done, total: seen.append((done, total)))
    views = read_views(made.table)
    assert [view.angle for view in views] == ANGLES.tolist()
    assert views[3].dx == 2.5
    np.testing.assert_allclose(views[3].a12, -np.sin(np.radians(20)), atol=1e-6)
    source = load_spec(made.spec).source
    assert (source.tilts, source.views) == (str(own / "TS.st"), str(made.table))
    assert (source.binning, source.voxel_size_nm, source.thickness) == (1, 8.0, 32)
    assert seen[-1] == (len(ANGLES), len(ANGLES))
    assert any("TS.xf" in line for line in made.found)
    assert "is there already; move it away, or choose --out SPEC" in fault(own / "TS.st")


def test_gain_and_noise_are_those_of_the_views(own: Path) -> None:
    views = read_views(imported(own / "TS.st").table)
    noise = np.array([abs(view.gain) * view.noise for view in views])
    np.testing.assert_allclose(noise, 0.9 * NOISE, rtol=0.2)  # rotating takes some of it
    np.testing.assert_allclose([view.offset for view in views], 4000, atol=40)


def test_tilt_com_and_edf_move_and_exclude(own: Path) -> None:
    com = "InputProjections TS_ali.mrc\nTHICKNESS 64\nOFFSET 1.5\nEXCLUDELIST 1\nDONE\n"
    (own / "tilt.com").write_text(com)
    (own / "TS.edf").write_text("Setup.AxisA.ExcludeProjections=3\n")
    made = imported(own / "TS.st", thickness=None, binning=2, exclude=[10])
    views = read_views(made.table)
    assert [view.view for view in views if not view.use] == [0, 2, 10]
    assert views[1].angle == ANGLES[1] + 1.5
    assert load_spec(made.spec).source.thickness == 32
    (own / "tilt.com").write_text(com.replace("TS_ali", "other_ali"))  # of another series
    assert read_views(imported(own / "TS.st", out=own / "b.yaml").table)[1].angle == ANGLES[1]


def test_an_aligned_stack_needs_no_transforms(own: Path) -> None:
    (own / "TS.st").rename(own / "TS_ali.mrc")
    made = imported(own / "TS_ali.mrc")
    assert made.spec == own / "TS.yaml"
    view = read_views(made.table)[0]
    assert (view.a11, view.a12, view.dx) == (1, 0, 0)


def test_aretomos_alignment_leaves_out_dark_views(own: Path) -> None:
    (own / "TS.xf").unlink()
    rows = [f"{i + 1} 20.0 1.0 {i}.5 0.0 1 1 1 0 {a + 2:.2f}" for i, a in enumerate(ANGLES)]
    head = ALN.split("    1  ")[0].replace("400 380 4", f"120 120 {len(ANGLES)}")
    (own / "TS.aln").write_text(head + "\n".join(rows[:4] + rows[5:]) + "\n")
    views = read_views(imported(own / "TS.st").table)
    assert [view.view for view in views if not view.use] == [4]
    assert views[5].angle == ANGLES[5] + 2
    (own / "TS.aln").write_text(head.replace("120 120", "120 240") + rows[0] + "\n")
    (own / "TS.yaml").unlink()
    (own / "TS-views.csv").unlink()
    assert "TS.aln: is of 120 x 240 x 11 pixels and views, and stack" in fault(own / "TS.st")


def test_two_alignments_are_one_too_many(own: Path) -> None:
    (own / "TS.aln").write_text(ALN)
    assert "two alignments; choose by --xf or --aln" in fault(own / "TS.st")


def spoilt(change: Callable[[Path], None], says: str) -> object:
    return pytest.param(change, says, id=says)


def _packed(own: Path) -> None:
    (own / "TS.st").write_bytes(gzip.compress((own / "TS.st").read_bytes(), 1))


def _short(own: Path) -> None:
    (own / "TS.st").write_bytes((own / "TS.st").read_bytes()[:-70_000])


def _other_xf(own: Path) -> None:
    (own / "TS.xf").write_text("1 0 0 1 0 0\n" * (len(ANGLES) - 1) + "1 0 0 1 9000 0\n")


def _fewer_lines(own: Path) -> None:
    (own / "TS.xf").write_text("1 0 0 1 0 0\n" * 3)


def _fewer_angles(own: Path) -> None:
    (own / "TS.rawtlt").write_text("0\n" * 3)


def _volume(own: Path) -> None:
    (own / "TS.rawtlt").unlink()
    with mrcfile.open(own / "TS.st", "r+") as file:
        file.set_volume()


def _bad_views(own: Path) -> None:
    with mrcfile.open(own / "TS.st", "r+") as file:
        file.data[2] = 7  # type: ignore[index]
        file.data[5, 60, 60] = np.nan  # type: ignore[index]


def _no_pixel(own: Path) -> None:
    with mrcfile.open(own / "TS.st", "r+") as file:
        file.voxel_size = 1.0


def _elsewhere(own: Path) -> None:
    lines = ["0 1 -1 0 0 0" for _ in ANGLES]
    (own / "TS.xf").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        spoilt(_packed, "is packed by gzip, and cannot be read in part; unpack it"),
        spoilt(_short, "cut short: 9 of 11 views are whole; copy it again"),
        spoilt(_other_xf, "TS.xf, line 11: moves a view of 120 x 120 pixels by 9000, 0, out of"),
        spoilt(_fewer_lines, "TS.xf: 3 lines, and stack"),
        spoilt(_fewer_angles, "TS.rawtlt: 3 angles, and stack"),
        spoilt(_volume, "says that it is a volume, and no angles lie beside it; give the stack"),
        spoilt(_bad_views, "views 3,6, counted from 1, are constant or hold NaN; leave them out "),
        spoilt(_no_pixel, "give that of a voxel, after binning, by --voxel-size NM"),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_remedy(
    own: Path, change: Callable[[Path], None], says: str
) -> None:
    change(own)
    text = fault(own / "TS.st")
    assert says in text
    assert str(own) in text


def test_views_that_are_bad_can_be_left_out(own: Path) -> None:
    _bad_views(own)
    made = imported(own / "TS.st", exclude=[2, 5])
    assert sum(view.use for view in read_views(made.table)) == len(ANGLES) - 2


def test_an_axis_that_is_plainly_elsewhere_is_refused_unless_it_is_insisted_on(own: Path) -> None:
    _elsewhere(own)
    text = fault(own / "TS.st")
    assert "times more along the tilt axis that" in text
    assert "give it by --axis DEGREES" in text
    (own / "TS.xf").unlink()
    assert read_views(imported(own / "TS.st", axis=90.0).table)[0].a12 == 1


def test_a_voxel_far_from_the_priors_is_named_with_the_binning_that_would_fit(own: Path) -> None:
    made = imported(own / "TS.st")
    assert any("--binning 2 would be nearest" in line for line in made.assumed)


def test_a_real_series_with_a_broken_header_and_a_horizontal_axis_is_read(tmp_path: Path) -> None:
    if not HAADF.exists():
        pytest.skip("no haadf beside the checkout")
    made = import_series(
        Request(
            HAADF,
            voxel_size_nm=1.0,
            stain="bright",
            method="gradient_descent",
            out=tmp_path / "h.yaml",
        ),
        lambda done, total: None,
    )
    views = read_views(made.table)
    assert (views[0].a11, views[0].a12, views[0].angle, len(views)) == (0, 1, -76, 77)
    assert views[0].gain < 0
    assert any("90 degrees from the columns" in line for line in made.assumed)
    assert any("voxels of 1 nm, and the prior learnt 16 nm" in line for line in made.assumed)
