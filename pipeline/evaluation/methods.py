"""Methods as `ddgm benchmark` and `ddgm tune` are told them: by name, or with their numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

from ddgm.core import plugins
from ddgm.core.methods.classical import Cgls, FilteredBackProjection, GradientDescent
from ddgm.core.methods.diffusion import Ddgm, Ddx
from ddgm.core.methods.method import Method, MethodError, Step
from ddgm.core.methods.posterior import SplitGibbs
from ddgm.core.methods.registry import METHODS, method_class
from ddgm.core.methods.restoration import Restore
from ddgm.core.methods.rivals.deepinv import DiffPir
from ddgm.core.methods.rivals.methods import Daps, Ddrm, Dds, Dps, PiGdm, RedDiff
from ddgm.core.numbers import NumberError

PRESETS: dict[str, Method] = {
    "fbp": FilteredBackProjection(),
    "cgls": Cgls(),
    "gradient-descent": GradientDescent(),
    "ddrm-10": Ddrm(),
    "ddrm-50": Ddrm(steps=50),
    "dps-50": Dps(),
    "dps-1000": Dps(steps=1000),
    "diffpir-50": DiffPir(),
    "dds-20": Dds(steps=20, sigma=(2.0, 0.1), eta=1.0),
    "pigdm-20": PiGdm(steps=20, sigma=(2.0, 0.1), eta=0.5),
    "red-diff-50": RedDiff(steps=50, sigma=(2.0, 0.1), weight=30.0),
    "daps-20": Daps(steps=10, sigma=(1.0, 0.1)),
    "ddgm-50": Ddgm(),
    "ddgm-150": Ddgm(steps=150, gradient_steps=15),
    "ddx-5": Ddx(steps=5, rho=15.0),
    "ddx-10": Ddx(steps=10, rho=15.0),
    "ddx-20": Ddx(),  # smaller steps leave smaller errors
    "ddx-50": Ddx(steps=50, rho=5.0),
    "split-gibbs": SplitGibbs(),
    "split-gibbs-8": SplitGibbs(samples=8),  # the mean of eight
    "restore": Restore(),
    "restored-ddx-2": Ddx(start="restored", steps=2, sigma=(0.3, 0.1), rho=30.0),
    "restored-ddx-3": Ddx(start="restored", steps=3, sigma=(0.5, 0.1), rho=30.0),
    "restored-ddx-9": Ddx(start="restored", steps=9, sigma=(0.7, 0.1), rho=15.0),
}

TABLE_1: dict[str, tuple[float, float]] = {  # the paper's MSE and SSIM
    "gradient-descent": (0.23, 0.51),
    "ddrm-10": (0.18, 0.55),
    "ddrm-50": (0.20, 0.53),
    "dps-50": (0.35, 0.34),
    "dps-1000": (0.20, 0.54),
    "ddgm-50": (0.14, 0.62),
    "ddgm-150": (0.13, 0.64),
}

FORMER = {"count": "gradient_steps"}  # names that numbers had here before they had the spec's
EXAMPLE = "ddgm:steps=50:gradient_steps=25"


def parse_method(text: str) -> Method:
    """The method of a text such as `ddgm-50`, of `PRESETS`, or `ddgm:steps=50:gradient_steps=25`.

    Raises:
        MethodError: there is no such method, or a number that it does not have or cannot have.
    """
    name, *parts = text.split(":")
    method = PRESETS.get(name)
    if method is None:
        known = [*METHODS, *plugins.names("ddgm.methods")]
        if name.replace("-", "_") not in known:
            names = ", ".join(dict.fromkeys([*PRESETS, *known]))
            raise MethodError(
                f"method: {name!r} is none; choose of {names}, or give numbers as in {EXAMPLE}"
            )
        method = method_class(name.replace("-", "_"))()  # type: ignore[call-arg]
    for part in parts:
        key, _, value = part.partition("=")
        method = with_number(method, key, value)
    return method


def usual(restorer_passes: int) -> dict[str, Method]:
    """The presets that a comparison makes unless told otherwise, by name.

    Args:
        restorer_passes: that the network that restores was trained for; 0 where there is none.
    """
    chosen = {n: m for n, m in PRESETS.items() if n not in ("dps-1000", "diffpir-50")}
    if not restorer_passes:
        return {n: m for n, m in chosen.items() if "restorer" not in m.networks}
    return {
        n: replace(m, passes=restorer_passes) if "restorer" in m.networks else m  # type: ignore[call-arg]
        for n, m in chosen.items()
    }


def with_number(method: Method, name: str, text: str) -> Method:
    """The method with one number given as text; `sigma=3..0.03` are σ_1 and σ_N, `sigma=3` σ_1.

    Raises:
        MethodError: it has no such number, or cannot have that value.
    """
    key = FORMER.get(name, name)
    known = [f.name for f in fields(method) if f.name != "name"]
    if key not in known:
        has = ", ".join(known) or "none"
        raise MethodError(f"method: {method.name} has no number {name!r}; it has {has}")
    try:
        return replace(method, **{key: _value(getattr(method, key), text)})
    except NumberError as error:
        raise MethodError(f"method: {method.name}: {error}") from error
    except ValueError:
        what = "a whole number" if isinstance(getattr(method, key), int) else "a number"
        raise MethodError(f"method: {method.name}: {key}: {text} must be {what}") from None


def _value(before: Any, text: str) -> Any:
    """A value from text, of the kind that is there before."""
    if isinstance(before, Step):
        return Step(relative=float(text))
    if isinstance(before, tuple):
        first, dots, last = text.partition("..")
        return float(first), float(last) if dots else before[1]
    value = type(before)(text)
    if isinstance(value, str):  # one of a few words, which the method knows
        return value
    if value != value or abs(value) == float("inf"):
        raise ValueError(text)
    return value


def label(method: Method) -> str:
    """The method as `parse_method` takes it: its name, and what differs from its defaults."""
    plain = type(method)()  # type: ignore[call-arg]
    given = {f.name: getattr(method, f.name) for f in fields(method)}
    changed = {k: _text(v) for k, v in given.items() if v != getattr(plain, k)}
    return ":".join([method.name, *(f"{k}={v}" for k, v in changed.items())])


def _text(value: Any) -> str:
    if isinstance(value, Step):
        return f"{value.relative if value.relative is not None else value.absolute:g}"
    if isinstance(value, tuple):
        return "..".join(f"{v:g}" for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_spec(method: Method) -> str:
    """The method as a spec has it, on one line of YAML."""
    return "{" + ", ".join(f"{k}: {_yaml(v)}" for k, v in asdict(method).items()) + "}"


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {v}" for k, v in value.items() if v is not None) + "}"
    return value if isinstance(value, str) else json.dumps(value)
