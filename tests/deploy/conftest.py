"""A SLURM for the tests: starts when the first of them asks for it, stops whatever happens."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ddgm.deploy.slurm import testbed

ASKED = "DDGM_TEST_SLURM"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="needs SLURM's daemons: make test-slurm")
    for item in items:
        if item.get_closest_marker("slurm") and not os.environ.get(ASKED):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two nodes, and jobs that run this very tree."""
    folder = tmp_path_factory.mktemp("slurm") / "testbed"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in testbed.start(folder).items():
            patch.setenv(name, value)
        try:
            yield
        finally:
            testbed.stop(folder)
