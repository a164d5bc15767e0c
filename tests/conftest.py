"""What all tests share: a cache of their own, one thread, and a prior that is quick to run."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ddgm.core.networks.conditions import Conditions
from ddgm.core.networks.prior import PriorCard, load_prior, save_prior
from ddgm.core.networks.unet import Architecture
from tests.ddgm_core.sample_networks import random_network
from tests.kinds import (  # noqa: F401  hooks and fixtures, which pytest finds here
    marked,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_terminal_summary,
    watch,
)
from tests.workers.shared import Shared

ENOUGH = 120  # seconds for threads and processes that are left to end after the last test


def pytest_unconfigure() -> None:
    """A session whose process would not end fails, and shows what it waits for."""
    faulthandler.dump_traceback_later(ENOUGH, exit=True)


@pytest.fixture(scope="session", autouse=True)
def quiet_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache that goes with the session unless one is given, and one thread to a process."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("DDGM_CACHE"):
            patch.setenv("DDGM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def heard_interrupts() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would every process that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def heard_warnings() -> None:
    """The command line sets the level of every handler of the root logger, pytest's too."""
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Whatever a test draws from torch's own generator, it draws again the next time."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Iterator[Shared]:
    """A cluster that somebody else started: two workers, and one in the pool; see `Shared`."""
    from ddgm.workers import connect as clusters

    local = clusters.connect(clusters.Local(workers=2, memory="4GiB"), clusters.PoolSpec(workers=1))
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                clusters, "security_of", lambda _: None
            )  # theirs: they did not ask for TLS
            client = stack.enter_context(local)
        yield Shared(client)


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network of width 8 on patches of 32 pixels, random and untrained."""
    path = tmp_path_factory.mktemp("prior") / "tiny.safetensors"
    network = random_network(Architecture(width=8, levels=3, convolutions=2))
    card = PriorCard(
        network.architecture,
        mean=128.0,
        std=34.0,
        voxel_size_nm=16.0,
        patch=32,
        training={"origin": "random weights, never trained"},
    )
    save_prior(path, network, card)
    return path


@pytest.fixture(scope="session")
def tiny_restorer(tiny_prior: Path) -> Path:
    """Weights of such a network that is said to restore the paper's tilt series, untrained."""
    path = tiny_prior.with_name("tiny-restorer.safetensors")
    network = random_network(Architecture(width=8, levels=3, convolutions=2))
    card = replace(load_prior(str(tiny_prior)).card, restores=Conditions("perpendicular"))
    save_prior(path, network, card)
    return path
