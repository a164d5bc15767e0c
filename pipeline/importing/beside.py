"""The files that lie beside a stack, found by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ddgm.pipeline.importing.text_files import ImportFault
from ddgm.pipeline.importing.tilt_com import read_tilt_com

ALIGNED = ("_ali", "_aligned")  # ends of names of stacks that are aligned already


@dataclass(frozen=True)
class Beside:
    """Files that say what a stack's views are; None: there is none.

    Attributes:
        angles: .tlt or .rawtlt.
        xf: IMOD's transforms.
        aln: AreTomo's alignment.
        tilt_com: how IMOD reconstructed.
        edf: etomo's settings.
        mdoc: the microscope's notes.
    """

    angles: Path | None = None
    xf: Path | None = None
    aln: Path | None = None
    tilt_com: Path | None = None
    edf: Path | None = None
    mdoc: Path | None = None

    @property
    def all(self) -> list[Path]:
        """Those that there are."""
        return [path for path in self.__dict__.values() if path is not None]


def series_name(stack: Path) -> str:
    """The name of a series: its stack's without endings."""
    name = stack.stem
    for end in ALIGNED:
        name = name.removesuffix(end)
    return name


def is_aligned(stack: Path) -> bool:
    """True if the name says that a stack is aligned already."""
    return stack.suffix == ".ali" or stack.stem.endswith(ALIGNED)


def find_beside(stack: Path, given: Beside) -> Beside:
    """The files that were given, and those that are found where none was.

    The given alignment alone counts where there is one, and none is looked for beside a stack
    that is aligned already.

    Raises:
        ImportFault: two alignments are found, by IMOD and by AreTomo.
    """
    folder, name = stack.parent, series_name(stack)
    xf = aln = None
    if not (given.xf or given.aln or is_aligned(stack)):
        xf = _first(folder, [f"{name}.xf"])
        aln = _first(folder, [f"{name}.aln", f"{stack.name}.aln"])
        if xf and aln:
            raise ImportFault(f"{xf} and {aln}: two alignments; choose by --xf or --aln")
    xf, aln = given.xf or xf, given.aln or aln
    if given.xf and given.aln:
        raise ImportFault(f"{xf} and {aln}: two alignments; give one of --xf and --aln")
    angles = given.angles
    if angles is None and aln is None:
        angles = _first(folder, [f"{name}.tlt", f"{name}.rawtlt"])
    mdocs = [f"{stack.name}.mdoc", f"{name}.mdoc", f"{name}.st.mdoc", f"{name}.mrc.mdoc"]
    return Beside(
        angles,
        xf,
        aln,
        given.tilt_com or (None if aln else _tilt_com(folder, name)),
        given.edf or (None if aln else _first(folder, [f"{name}.edf"])),
        given.mdoc or _first(folder, mdocs),
    )


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _tilt_com(folder: Path, name: str) -> Path | None:
    """The folder's tilt.com, if it is of the series of this name."""
    path = folder / "tilt.com"
    if not path.is_file():
        return None
    return path if series_name(Path(read_tilt_com(path).projections)) == name else None
