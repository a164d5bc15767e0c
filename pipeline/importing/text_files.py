"""Text files of other programs, as lines of words, with errors that name the line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from ddgm.core.errors import DdgmError

MOST_VIEWS = 10_000  # of a series
MOST_BYTES = 2**24  # the largest, a microscope's log of a thousand views, has a tenth


class ImportFault(DdgmError):
    """A file of another program that cannot be taken, or does not belong to the stack."""


def lines_of(path: Path) -> list[str]:
    """The lines of a text file, in UTF-8 or else in Latin-1, as SerialEM writes.

    Raises:
        ImportFault: there is none, or it is no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ImportFault(f"{path}: {error.strerror}; give another path") from None
    if len(data) > MOST_BYTES or b"\0" in data:
        raise ImportFault(f"{path}: this is no text; give the path of another file")
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return data.decode("latin-1").splitlines()


def rows_of(path: Path, columns: int, what: str) -> list[tuple[float, ...]]:
    """Numbers of a file that has nothing else, so many a line.

    Raises:
        ImportFault: a line is otherwise.
    """
    rows = []
    for number, line in enumerate(lines_of(path), 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        if len(words) != columns:
            fault = f"{path}, line {number}: {len(words)} values where {what} has {columns}"
            raise ImportFault(f"{fault}; give the right file")
        rows.append(numbers(path, number, words))
    if not rows:
        raise ImportFault(f"{path}: holds nothing; give the right file")
    return rows


def numbers(path: Path, number: int, words: Sequence[str], least: int = 1) -> tuple[float, ...]:
    """Words of a line as numbers, `least` of them or more.

    Raises:
        ImportFault: one is none, or there are too few.
    """
    if len(words) < least:
        fault = f"{path}, line {number}: {len(words)} numbers where there must be {least}"
        raise ImportFault(f"{fault}; give the right file")
    found = []
    for word in words:
        try:
            found.append(float(word))
        except ValueError:
            found.append(math.nan)
        if not math.isfinite(found[-1]):
            raise ImportFault(f"{path}, line {number}: {word[:40]!r} is no number; correct it")
    return tuple(found)


def numbered_list(path: Path, number: int, text: str) -> Iterator[int]:
    """Views of a list such as 1,2-6,8, counted from 0.

    Raises:
        ImportFault: it is no such list.
    """
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not part:
            continue
        whole = first.isdecimal() and (last.isdecimal() or not dash) and len(first + last) <= 12
        if not whole or int(first) < 1 or int(last or first) > MOST_VIEWS:
            where = f"{path}, line {number}" if number else str(path)
            raise ImportFault(f"{where}: {text!r} is no list of views; give it as 1,2-6,8")
        yield from range(int(first) - 1, int(last or first))
