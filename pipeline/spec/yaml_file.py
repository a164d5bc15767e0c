"""Specs as files: YAML in and out, with errors that name the field, the value and the remedy."""

from __future__ import annotations

import difflib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ddgm.core.errors import DdgmError
from ddgm.pipeline.spec.model import Spec
from ddgm.workers.urls import redacted

MOST_BYTES = 2**18  # of a file: a spec has a hundredth
MOST_VALUES = 10_000
SHOWN = 5  # problems that are named: all of them may be one

S = TypeVar("S", bound=BaseModel)


class SpecError(DdgmError):
    """A spec that cannot be read or does not make sense."""


@overload
def load_spec(path: Path) -> Spec: ...
@overload
def load_spec(path: Path, model: type[S]) -> S: ...
def load_spec(path: Path, model: type[BaseModel] = Spec) -> BaseModel:
    """Read and check a spec: a pipeline's, or another model's.

    Raises:
        SpecError: the file is missing, not YAML, or says something that it must not.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise SpecError(f"{path}: is above {MOST_BYTES} bytes; give the path of a spec")
        # YAML 1.2: 12:30:00 stays text and 1e-4 is a number
        data = YAML(typ="safe", pure=True).load(text.decode())
        _check_size(data)
        plain = json.dumps(data, default=_as_text)
    except IsADirectoryError as error:
        run = (path / "run.json").exists()
        what = "is a run's folder" if run else "is a folder"
        raise SpecError(f"{path}: {what}; give the path of a spec") from error
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}; give the path of a spec") from error
    except RecursionError:
        raise SpecError(f"{path}: not a spec: its parts lie too deep within each other") from None
    except (YAMLError, ValueError, TypeError, ArithmeticError) as error:
        what = redacted(" ".join(str(error).split()))  # it shows the line
        raise SpecError(f"{path}: not YAML: {shortened(what, 300)}") from error
    if not isinstance(data, dict):
        raise SpecError(f"{path}: a spec is a mapping of parts; see `ddgm spec --example`")
    return _checked(plain, model, f"{path}: ")


def check_spec(data: Mapping[str, Any]) -> Spec:
    """Check a spec that is given as its keys and values.

    Raises:
        SpecError: it says something that it must not.
    """
    try:
        plain = json.dumps(dict(data), default=_as_text)
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"spec: {error}; give numbers, texts, lists and mappings") from error
    return _checked(plain, Spec, "")


def _checked(plain: str, model: type[S], where: str) -> S:
    try:
        # JSON's types are YAML's, so pydantic's strict mode takes no 'true' or '12' for a number
        return model.model_validate_json(plain, strict=True)
    except ValidationError as error:
        raise SpecError(f"{where}{_one_line(error, json.loads(plain), model)}") from error


def _check_size(data: Any) -> None:
    """Refuse what is small as YAML and huge as data: aliases of aliases."""
    left, count = [data], 0
    while left:
        node = left.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES} values, by aliases of aliases")
        if isinstance(node, dict | list):
            left += node.values() if isinstance(node, dict) else node


def _as_text(value: Any) -> Any:
    if isinstance(value, date):  # YAML 1.2 knows no dates: ruamel does
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):  # a method
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is no type that a spec has")


def dump_spec(spec: BaseModel) -> str:
    """The spec, defaults and all, as YAML."""
    yaml = YAML()
    yaml.default_flow_style = None
    out = io.StringIO()
    yaml.dump(spec.model_dump(mode="json"), out)
    return out.getvalue()


def _one_line(error: ValidationError, data: Any, model: type[BaseModel]) -> str:
    problems = list(dict.fromkeys(_problem(e, data, model) for e in error.errors()))
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return redacted("; ".join(problems[:SHOWN]) + more)


def _problem(error: Any, data: Any, model: type[BaseModel]) -> str:
    """One of pydantic's errors as `field: what is wrong; remedy`."""
    place = _place(error, data)
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        siblings = _fields_beside(place, data, model)
        near = difflib.get_close_matches(place[-1], siblings, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(siblings)}"
        return f"{_path(place)}: unknown key; {hint}"
    if error["type"] == "missing":
        return f"{_path(place)}: required, and not there"
    value = error["input"]
    hidden = isinstance(value, dict) or error["type"] == "secret"
    shown = "" if hidden else f" (it is {shortened(repr(value), 80)})"
    message = shortened(error["msg"].removeprefix("Value error, "), 300)
    if field := re.match(r"([a-z_.]+): ", message):  # our own checks name the field within a part
        place, message = [*place, field[1]], message[field.end() :]
    return f"{_path(place)}: {message[0].lower()}{message[1:]}{shown}"


def _place(error: Any, data: Any) -> list[str]:
    """The keys that lead to an error, without the names that pydantic gives a union's members."""
    place, node = [], data
    last = len(error["loc"]) - 1
    for i, key in enumerate(error["loc"]):
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and isinstance(key, int):
            node = node[key] if key < len(node) else None
        elif error["type"] != "missing" or i != last:
            continue
        place.append(str(key))
    return place


def _path(place: list[str]) -> str:
    return shortened(".".join(place), 120) or "the spec"


def shortened(text: str, length: int) -> str:
    """The text, its middle left out where it is longer."""
    half = (length - 3) // 2
    return text if len(text) <= length else f"{text[:half]}...{text[-half:]}"


def _fields_beside(place: list[str], data: Any, model: type[BaseModel]) -> list[str]:
    """Keys that the spec's schema knows where an unknown key stands."""
    schema = model.model_json_schema()

    def options(node: dict[str, Any], value: Any) -> list[dict[str, Any]]:
        """The members of a union; where a key tells them apart, the one that the value names."""
        if "$ref" in node:
            return options(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], value)
        told = node.get("discriminator")
        if told and isinstance(value, dict):
            named = told["mapping"].get(value.get(told["propertyName"]))
            if named:
                return options({"$ref": named}, value)
        branches = (n for k in ("anyOf", "oneOf", "allOf") for n in node.get(k, []))
        return [o for n in branches for o in options(n, value)] or [node]

    nodes, value = options(schema, data), data
    for key in place[:-1]:
        value = value[key] if isinstance(value, dict) else value[int(key)]
        found = (n.get("items") or n.get("properties", {}).get(key) for n in nodes)
        nodes = [o for f in found if f for o in options(f, value)]
    return sorted({k for n in nodes for k in n.get("properties", {})})
