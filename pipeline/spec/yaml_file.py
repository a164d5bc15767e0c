"""Specs as files: YAML in and out, with errors that name the field, the value and the remedy."""

from __future__ import annotations

import difflib
import io
import re
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ddgm.core.errors import DdgmError
from ddgm.pipeline.spec.model import Spec
from ddgm.workers.urls import redacted

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
        # YAML 1.2: 12:30:00 stays text and 1e-4 is a number
        data = YAML(typ="safe", pure=True).load(path.read_text())
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}; give the path of a spec") from error
    except (YAMLError, ValueError) as error:
        what = redacted(" ".join(str(error).split()))  # it shows the line
        raise SpecError(f"{path}: not YAML: {what}") from error
    if not isinstance(data, dict):
        raise SpecError(f"{path}: a spec is a mapping of parts; see `ddgm spec --example`")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{path}: {_one_line(error, model)}") from error


def dump_spec(spec: BaseModel) -> str:
    """The spec, defaults and all, as YAML."""
    yaml = YAML()
    yaml.default_flow_style = None
    out = io.StringIO()
    yaml.dump(spec.model_dump(mode="json"), out)
    return out.getvalue()


def _one_line(error: ValidationError, model: type[BaseModel]) -> str:
    return redacted("; ".join(_problem(e, model) for e in error.errors()))


def _problem(e: Any, model: type[BaseModel]) -> str:
    """One of pydantic's errors as `field: what is wrong; remedy`."""
    loc = [str(p) for p in e["loc"]]
    place = [p for before, p in zip([None, *loc], loc, strict=False) if p not in _branches(before)]
    if e["type"] == "extra_forbidden":
        siblings = _fields_beside(place, model)
        near = difflib.get_close_matches(place[-1], siblings, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(siblings)}"
        return f"{'.'.join(place)}: unknown key; {hint}"
    if e["type"] == "missing":
        return f"{'.'.join(place)}: required, and not there"
    value = "" if isinstance(e["input"], dict) else f" (it is {e['input']!r})"
    message = e["msg"].removeprefix("Value error, ")
    if field := re.match(r"([a-z_.]+): ", message):  # our own checks name the field within a part
        place, message = [*place, field[1]], message[field.end() :]
    return f"{'.'.join(place)}: {message[0].lower()}{message[1:]}{value}"


def _branches(field: str | None) -> set[str]:
    """Names that pydantic puts behind a field for the members of its union."""
    return {
        "method": {"ddgm", "ddx", "gradient_descent"},
        "cluster": {"local", "address", "scheduler_file", "slurm"},
        "count": {"constrained-int", "Maximum"},
        "security": {"literal['temporary']", "Tls"},
        "missing": {"literal['error']", "constrained-int"},
        "slabs": {"literal['all']", "tuple[int, ...]"},
    }.get(field or "", set())


def _fields_beside(place: list[str], model: type[BaseModel]) -> list[str]:
    """Keys that the spec's schema knows where an unknown key stands."""
    schema = model.model_json_schema()

    def options(node: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in node:
            return options(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
        branches = (n for k in ("anyOf", "oneOf", "allOf") for n in node.get(k, []))
        return [o for n in branches for o in options(n)] or [node]

    nodes = options(schema)
    for key in place[:-1]:
        found = (n.get("items") or n.get("properties", {}).get(key) for n in nodes)
        nodes = [o for f in found if f for o in options(f)]
    return sorted({k for n in nodes for k in n.get("properties", {})})
