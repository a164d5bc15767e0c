"""Frozen dataclasses of numbers with bounds and help, which specs take as they are."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import MISSING, field, fields
from inspect import cleandoc
from typing import Any, ClassVar

from ddgm.core.errors import DdgmError

BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {  # pydantic's names
    "ge": ("at least", operator.ge),
    "gt": ("above", operator.gt),
    "le": ("at most", operator.le),
    "lt": ("below", operator.lt),
}


class NumberError(DdgmError, ValueError):
    """A number that is out of its bounds, or does not go with the others."""


def number(default: Any = MISSING, description: str = "", symbol: str = "", **bounds: float) -> Any:
    """A field of `Numbers`: its default, help and symbol, and its bounds, of `BOUNDS`."""
    about = {"description": description} if description else {}
    return field(default=default, metadata={**about, "symbol": symbol, **bounds})


def _complete(schema: dict[str, Any], numbers: type) -> None:
    """Give a JSON schema what pydantic does not take from a dataclass."""
    schema["description"] = cleandoc(numbers.__doc__ or "")
    if "name" in schema["properties"]:  # tells which method it is
        schema["required"] = ["name"]


class Numbers:
    """A frozen dataclass whose fields are checked against the bounds of `number`.

    Specs take such classes as they are: pydantic reads defaults, bounds and help off the fields.
    """

    __pydantic_config__: ClassVar[Any] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "json_schema_extra": _complete,
    }

    def __post_init__(self) -> None:
        """Raises NumberError for a number out of its bounds."""
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            for bound, (word, holds) in BOUNDS.items():
                limit = f.metadata.get(bound)
                if limit is not None and value is not None and not holds(value, limit):
                    raise NumberError(f"{f.name}: {value} must be {word} {limit}")
