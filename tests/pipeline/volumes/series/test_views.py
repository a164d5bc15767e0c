"""The table of views is read as it was written, and its faults are named by line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddgm.pipeline.volumes.series.views import COLUMNS, View, read_views, write_views
from ddgm.pipeline.volumes.volume import SourceError

VIEWS = [
    View(0, -60.5, 1, 0.9, -0.1, 0.1, 0.9, 3.25, -17.125, -2.5, 1000, 0.25),
    View(1, 0.0, use=0),
    View(2, 12.0),
]
TEXT = ",".join(COLUMNS) + "\n0,-60,1,1,0,0,1,0,0,1,0,1\n1,0,1,1,0,0,1,0,0,1,0,1\n"


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_views(tmp_path / "v.csv", VIEWS, ["read a file\nof two lines"])
    assert read_views(tmp_path / "v.csv") == tuple(VIEWS)
    assert (tmp_path / "v.csv").read_text().startswith("# read a file of two lines\n")


def test_spreadsheets_may_order_columns_and_add_a_mark(tmp_path: Path) -> None:
    lines = [line.split(",")[::-1] for line in TEXT.splitlines()]
    text = "\ufeff" + "\r\n".join(", ".join(line) for line in lines) + "\r\n\r\n"
    (tmp_path / "v.csv").write_text(text, "utf-8", newline="")
    assert [view.angle for view in read_views(tmp_path / "v.csv")] == [-60, 0]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("-60,1", "-60,2", "line 2, column use: '2'; give 1, or 0 to leave the view out"),
        ("-60,1", "-60,yes", "line 2, column use: 'yes'; give a whole number"),
        ("0,-60", "0,west", "line 2, column angle: 'west'; give a number"),
        ("0,-60", "0,nan", "line 2, column angle: 'nan'; give a number"),
        ("0,-60", "0,-86", "line 2, column angle: '-86'; give degrees from -85 to 85"),
        ("1,0,1\n1", "0,0,1\n1", "line 2, column gain: '0'; give a number above 0, or below"),
        ("1,0,1\n1", "1,0,0\n1", "line 2, column noise: '0'; give a standard deviation above 0"),
        ("\n1,0", "\n2,0", "line 3, column view: '2'; give every view of the stack one line"),
        ("0,-60,1,1,0,0,1", "0,-60,1,1,1,1,1", "line 2, column a11,a12,a21,a22: '1 1 1 1'"),
        ("\n1,0,1,", "\n1,0,0,", "uses 1 views; set `use` to 1 for at least two"),
        ("angle,", "", "no column angle; its first line must be view,angle,use"),
        ("angle", "tilt", "no column angle"),
        ("noise", "noise,dose", "an unknown column 'dose'"),
        ("\n1,0,1,1", "\n1,0,1", "line 3: 11 values; give 12, one a column"),
    ],
)
def test_a_fault_is_named_with_its_line_column_value_and_remedy(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    path = tmp_path / "v.csv"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(SourceError) as raised:
        read_views(path)
    assert says in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_table_that_is_not_there_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file; `ddgm import STACK` writes one"):
        read_views(tmp_path / "v.csv")
    (tmp_path / "v.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="cannot be read"):
        read_views(tmp_path / "v.csv")
    (tmp_path / "v.csv").write_text("")
    with pytest.raises(SourceError, match="no column view"):
        read_views(tmp_path / "v.csv")
