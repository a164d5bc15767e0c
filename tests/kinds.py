"""What a test needs beside this process: marked, held to, and timed.

A kind is a marker. Whoever uses a fixture that has a kind has it too; all else is marked by hand,
and a test that starts what it is not marked for fails where kinds are chosen. What has no kind is
the fast lane.
"""

from __future__ import annotations

import multiprocessing.process
import os
import socketserver
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

KINDS = {
    "slurm": "needs SLURM's daemons; run by make test-slurm, skipped by make test",
    "gpu": "needs a GPU",
    "cluster": "runs on Dask's processes",
    "train": "trains a network",
    "process": "starts another process",
    "server": "asks a server over HTTP or S3",
    "long": "computes, or paints, for seconds in this process",
}
BY_FIXTURE = {"shared": "cluster", "slurm": "slurm"}
ALLOWED = {"process": {"process", "cluster", "train", "slurm"}, "server": {"server", "slurm"}}
FAST = "fast"  # what has none
SECONDS = {
    "cluster": 7.0,
    "train": 3.5,
    "process": 2.0,
    "server": 0.5,
    "long": 1.5,
    FAST: 0.2,
}  # means, rounded


def pytest_configure(config: pytest.Config) -> None:
    """Make the kinds known as markers."""
    for name, meaning in KINDS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def kind_of(item: pytest.Item) -> str:
    """The first of a test's kinds, which tells best what it takes its time for."""
    return next((name for name in KINDS if item.get_closest_marker(name)), FAST)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark who uses a fixture of a kind, and write each test's kind into its reports."""
    for item in items:
        for fixture, name in BY_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(name)
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
        item.user_properties.append(("kind", kind_of(item)))
    if hasattr(config, "workerinput"):  # one of several processes, which take file after file
        longest_first(items)


def longest_first(items: list[pytest.Item]) -> None:
    """Sort the files by what their tests take, so that no process is left with a long one."""
    seconds = defaultdict[str, float](float)
    for item in items:
        seconds[str(item.path)] += SECONDS.get(kind_of(item), 0.0)
    items.sort(key=lambda item: (-seconds[str(item.path)], str(item.path)))


class Watch:
    """Notes what is started while a test runs, in this process."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def on(self, patch: pytest.MonkeyPatch, owner: Any, name: str, kind: str) -> None:
        """From now on, `owner.name` is called as ever, and noted."""
        real: Callable[..., Any] = getattr(owner, name)

        def noted(*args: Any, **options: Any) -> Any:
            self.seen.add(kind)
            return real(*args, **options)

        patch.setattr(owner, name, noted)


@pytest.fixture(scope="session")
def watch() -> Iterator[Watch]:
    """One for all tests: what a fixture starts is noted for the first test that uses it."""
    found = Watch()
    with pytest.MonkeyPatch.context() as patch:
        found.on(patch, subprocess.Popen, "__init__", "process")
        found.on(patch, os, "fork", "process")
        found.on(patch, multiprocessing.process.BaseProcess, "start", "process")
        found.on(patch, socketserver.TCPServer, "server_bind", "server")
        yield found


@pytest.fixture(autouse=True)
def marked(request: pytest.FixtureRequest, watch: Watch) -> Iterator[None]:
    """Fails a test of the fast lane that starts what it is not marked for."""
    yield
    if not request.config.option.markexpr:
        return
    seen, watch.seen = watch.seen, set()
    marks = {mark.name for mark in request.node.iter_markers()}
    missing = [kind for kind in sorted(seen) if not ALLOWED[kind] & marks]
    if missing:
        pytest.fail(f"mark it {' and '.join(missing)}: it starts one", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Time by kind, of tests and their fixtures."""
    seconds, tests = defaultdict[str, float](float), Counter[str]()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                kind = str(dict(report.user_properties).get("kind"))
                seconds[kind] += report.duration
                tests[kind] += report.when == "call"
    if seconds:
        terminalreporter.section("time by kind")
    for kind, total in sorted(seconds.items(), key=lambda kept: -kept[1]):
        terminalreporter.write_line(f"{kind:8} {total:7.1f} s, {tests[kind]} tests")
