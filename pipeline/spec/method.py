"""The methods that a spec can name: the classes of `ddgm.core.methods`, checked by pydantic."""

from __future__ import annotations

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
    if name in METHODS or name not in plugins.names("ddgm.methods"):
        return ours(_with_tuples(value))
    return TypeAdapter(method_class(name)).validate_python(_with_tuples(value))


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
