"""The methods that a spec can name: the classes of `ddgm.core.methods`, checked by pydantic."""

from __future__ import annotations

import json
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, SerializeAsAny, TypeAdapter, WrapValidator
from pydantic_core import core_schema

from ddgm.core import plugins
from ddgm.core.methods.method import Method
from ddgm.core.methods.registry import METHODS, method_class

OURS = {name: method for name, method in METHODS.items() if not method.comparison_only}


def _theirs(value: Any, ours: core_schema.ValidatorFunctionWrapHandler) -> Method:
    """Another package's method, where the name is that of one; else ours, or what is wrong."""
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    theirs = plugins.names("ddgm.methods")
    if theirs and isinstance(name, str) and name not in {*METHODS, *theirs}:
        known = ", ".join(repr(n) for n in (*OURS, *theirs))
        raise ValueError(f"method: input tag {name!r} found, and expected is one of {known}")
    if not isinstance(name, str) or name in METHODS or name not in theirs:
        return ours(_with_tuples(value))
    adapter = TypeAdapter(method_class(name))
    if isinstance(value, dict):
        return adapter.validate_json(json.dumps(value), strict=True)
    return adapter.validate_python(value)


def _with_tuples(value: Any) -> Any:
    """Lists of JSON as tuples, which is what pydantic's strict mode takes of Python."""
    if not isinstance(value, dict):
        return value
    return {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}


if TYPE_CHECKING:
    MethodSpec = Method
else:
    MethodSpec = Annotated[
        SerializeAsAny[Annotated[reduce(or_, OURS.values()), Field(discriminator="name")]],
        WrapValidator(_theirs),
    ]
