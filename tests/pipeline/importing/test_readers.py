"""Files of other programs are read as the readers do that were made for them alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import alnfile
import etomofiles
import mrcfile
import numpy as np
import pytest
from mdocfile.data_models import Mdoc

from ddgm.pipeline.importing.aretomo import read_aln
from ddgm.pipeline.importing.imod import read_angles, read_edf, read_xf
from ddgm.pipeline.importing.mdoc import read_mdoc
from ddgm.pipeline.importing.text_files import ImportFault
from ddgm.pipeline.importing.tilt_com import read_tilt_com

TILT_COM = """# Command file to run Tilt
$tilt -StandardInput
InputProjections TS_ali.mrc
OutputFile TS_full_rec.mrc
IMAGEBINNED 4
TILTFILE TS.tlt
XTILTFILE TS.xtilt
THICKNESS 1200
RADIAL 0.35 0.035
XAXISTILT 0.0
LOG 0.0
SCALE 0.0 0.1
PERPENDICULAR
OFFSET -1.5 8.0
SHIFT 4.0 -20.0
EXCLUDELIST2 1,4-5
FULLIMAGE 4096 4096
DONE
XAXISTILT 3.0
"""
ALN = """# AreTomo Alignment / Priims bprmMn
# RawSize = 400 380 4
# NumPatches = 0
# DarkFrame =     2    3     0.00
# AlphaOffset =     1.50
# BetaOffset =     0.00
# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT
    1  -12.5000    1.00000      3.250    -10.125     1.00     1.00     1.00     0.00    -58.50
    2  -12.7000    1.00000      0.000      2.000     1.00     1.00     1.00     0.00    -28.50
    4   77.0000    1.00000     -7.500      0.250     1.00     1.00     1.00     0.00     31.50
# Local Alignment
"""
MDOC = """PixelSpacing = 2.5
ImageFile = TS.mrc
ImageSize = 400 380

[T = SerialEM: Digitized at 0\xb0 on a microscope]

[T =     Tilt axis angle = 85.3, binning = 1  spot = 8  camera = 0]

[ZValue = 0]
TiltAngle = -30.01
RotationAngle = 175.3

[ZValue = 1]
TiltAngle = 0.02

[ZValue = 2]
TiltAngle = 29.99
"""


@pytest.fixture(scope="module")
def etomo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as etomo leaves it."""
    folder = tmp_path_factory.mktemp("etomo")
    rng = np.random.default_rng(0)
    angles = np.arange(-60, 61, 20.0)
    mrcfile.write(folder / "TS.st", np.zeros((7, 4, 6), np.int16))
    np.savetxt(folder / "TS.rawtlt", angles, "%7.2f")
    np.savetxt(folder / "TS.tlt", angles + 0.73, "%7.2f")
    np.savetxt(folder / "TS.xf", rng.normal(size=(7, 6)), "%12.7f")
    (folder / "TS.edf").write_text(
        "#Fri Nov 06\nSetup.DatasetName=TS\nSetup.RawImageStackExt=st\nSetup.ImageRotationA=-12.6\n"
        "Setup.PixelSize=1.6\nSetup.AxisType=Single Axis\nSetup.AxisA.ExcludeProjections=2,5-6\n"
    )
    return folder


def test_an_etomo_folder_is_read_as_etomofiles_reads_it(etomo: Path) -> None:
    table: Any = etomofiles.read(etomo)
    assert read_angles(etomo / "TS.tlt") == table["tlt"].tolist()
    assert read_angles(etomo / "TS.rawtlt") == table["rawtlt"].tolist()
    ours = np.array(read_xf(etomo / "TS.xf"))
    matrices = etomofiles.df_to_xf(table)
    np.testing.assert_array_equal(ours[:, :4].reshape(-1, 2, 2), matrices[:, :, :2])
    np.testing.assert_array_equal(ours[:, 4:], matrices[:, :, 2])
    found = read_edf(etomo / "TS.edf")
    assert sorted(found.excluded) == table.index[table["excluded"]].tolist()
    assert found.rotation == table["tilt_axis_angle"].iloc[0] == -12.6
    assert found.pixel_nm == 1.6


def test_an_aln_is_read_as_alnfile_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "TS.aln"
    path.write_text(ALN)
    table: Any = alnfile.read(path)
    found = read_aln(path)
    assert found.size == (400, 380, 4)
    assert [place + 1 for place in found.views] == table["sec"].tolist()
    assert [angle for angle, _ in found.views.values()] == table["tilt"].tolist()
    ours = np.array([transform for _, transform in found.views.values()])
    matrices = alnfile.df_to_xf(table)
    np.testing.assert_allclose(ours[:, :4].reshape(-1, 2, 2), matrices[:, :, :2], atol=1e-12)
    np.testing.assert_allclose(ours[:, 4:], matrices[:, :, 2], atol=1e-12)
    assert not found.local


def test_an_mdoc_in_latin_1_is_read_as_mdocfile_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "TS.mrc.mdoc"
    path.write_bytes(MDOC.encode("latin-1"))
    table = Mdoc.from_string(MDOC).to_dataframe()
    found = read_mdoc(path)
    assert list(found.angles) == table["TiltAngle"].tolist()
    assert found.pixel_nm == pytest.approx(table["PixelSpacing"].iloc[0] / 10)
    assert found.axis == 85.3


def test_tilt_com_says_where_the_slab_lies(tmp_path: Path) -> None:
    path = tmp_path / "tilt.com"
    path.write_text(TILT_COM)
    found = read_tilt_com(path)
    assert (found.projections, found.binned, found.thickness) == ("TS_ali.mrc", 4, 1200)
    assert (found.offset, found.axis, found.shift) == (-1.5, 8.0, (4.0, -20.0))
    assert found.excluded == {0, 3, 4}
    assert found.log == 0


def test_a_moved_slab_is_seen_where_imods_formula_has_it(tmp_path: Path) -> None:
    """IMOD: u = (x - xs - xc) cos - (z - zs - zc) sin + uc + axis; ours knows no xs, zs, axis."""
    path = tmp_path / "tilt.com"
    path.write_text(TILT_COM)
    found = read_tilt_com(path)
    for angle in (-50.0, 0.0, 35.0):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        x, z = 30.0, -11.0
        seen = (x - 4) * c - (z + 20) * s + 8  # in the aligned view, from its centre
        *_, dx, dy = found.moved((1, 0, 0, 1, 0.5, 0.25), angle)
        assert seen + dx - 0.5 == pytest.approx(x * c - z * s)
        assert dy == 0.25


@pytest.mark.parametrize(
    ("line", "of"),
    [
        ("XAXISTILT 1.2", "line 3: XAXISTILT 1.2 is not followed; in IMOD, set it to 0"),
        ("LOCALFILE TSlocal.xf", "line 3: LOCALFILE TSlocal.xf is not followed"),
        ("ZFACTORFILE TS.zfac", "line 3: ZFACTORFILE TS.zfac is not followed"),
        ("OFFSET east", "line 3: 'east' is no number"),
        ("EXCLUDELIST 4..6", "line 3: '4..6' is no list of views; give it as 1,2-6,8"),
        ("EXCLUDELIST 1-99999999", "line 3: '1-99999999' is no list of views"),
    ],
)
def test_what_tilt_com_asks_for_in_vain_is_refused(tmp_path: Path, line: str, of: str) -> None:
    path = tmp_path / "tilt.com"
    path.write_text(f"$tilt\nInputProjections TS.ali\n{line}\nDONE\n")
    with pytest.raises(ImportFault) as raised:
        read_tilt_com(path)
    assert of in str(raised.value)
    assert str(path) in str(raised.value)


def test_tilts_about_x_of_a_file_are_refused_unless_they_are_0(tmp_path: Path) -> None:
    path = tmp_path / "tilt.com"
    path.write_text("$tilt\nInputProjections TS.ali\nXTILTFILE TS.xtilt\nDONE\n")
    (tmp_path / "TS.xtilt").write_text("0.0\n0.0\n")
    read_tilt_com(path)
    (tmp_path / "TS.xtilt").write_text("0.0\n0.4\n")
    with pytest.raises(ImportFault, match="XTILTFILE"):
        read_tilt_com(path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("-60\nx\n", "line 2: 'x' is no number"),
        ("-60 1\n", "line 1: 2 values where a file of angles has 1"),
        ("\n", "holds nothing"),
        ("-60\n\0\n", "no text"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "TS.tlt"
    path.write_text(text)
    with pytest.raises(ImportFault) as raised:
        read_angles(path)
    assert fault in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("line", "cut"), [("# RawSize = ", 1), ("# NumPatches = ", 0), ("# BetaOffset = ", 0)]
)
def test_a_heading_of_aretomos_that_breaks_off_is_named(
    tmp_path: Path, line: str, cut: int
) -> None:
    path = tmp_path / "TS.aln"
    path.write_text(f"# AreTomo Alignment\n{line}{'7 ' * cut}\n")
    with pytest.raises(ImportFault, match=f"line 2: {cut} numbers where there must be"):
        read_aln(path)


def test_a_slab_that_aretomo_tilted_about_x_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "TS.aln"
    path.write_text(ALN.replace("BetaOffset =     0.00", "BetaOffset =     2.00"))
    with pytest.raises(ImportFault, match=r"BetaOffset 2.00 is not followed; .*-TiltCor"):
        read_aln(path)
