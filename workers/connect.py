"""Connect to the cluster that a spec names: a local one, an address or a scheduler file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ddgm.workers.local_cluster import ClusterError, local_cluster, register
from ddgm.workers.security import security_of
from ddgm.workers.settings import settings
from ddgm.workers.slurm_spec import Slurm
from ddgm.workers.specs import Address, Local, PoolSpec, SchedulerFile

if TYPE_CHECKING:
    from distributed import Client

ANSWER = "10s"  # that a scheduler is given to answer


@contextmanager
def connect(
    cluster: Local | Address | SchedulerFile | Slurm, pool: PoolSpec | None = None
) -> Iterator[Client]:
    """Open a client of the cluster that a spec names; a local cluster ends with the context.

    Raises:
        ClusterError: no scheduler answers, or a local cluster could not be started.
        SecurityError: TLS files that cannot be used.
    """
    from ddgm.workers.members import WorkPlugin
    from ddgm.workers.pool_worker import PoolPlugin

    if isinstance(cluster, Slurm):
        raise ClusterError(
            "cluster.kind: slurm has no cluster before its jobs start; send them with `ddgm "
            "submit`, or choose local",
            "mistake",
        )
    opened = (
        local_cluster(cluster, pool or PoolSpec(), security_of(cluster.security or "temporary"))
        if isinstance(cluster, Local)
        else _remote(cluster)
    )
    with opened as client:
        register(client, PoolPlugin())
        register(client, WorkPlugin())
        yield client


@contextmanager
def _remote(cluster: Address | SchedulerFile) -> Iterator[Client]:
    from dask import config
    from distributed import Client

    where: dict[str, str] = (
        {"address": cluster.address}
        if isinstance(cluster, Address)
        else {"scheduler_file": str(_existing(cluster.path))}
    )
    place = next(iter(where.values()))
    security = security_of(cluster.security)
    with config.set(settings()):
        try:
            client = Client(**where, timeout=ANSWER, security=security)  # type: ignore[arg-type]
        except TypeError as error:  # Dask's answer where TLS is asked for and no files are given
            raise ClusterError(
                f"cluster: the scheduler at {place} speaks TLS; name its files in cluster.security",
                "mistake",
            ) from error
        except Exception as error:  # an address can be wrong in many ways
            raise ClusterError(
                f"cluster: no scheduler answers at {place} ({type(error).__name__}); start one "
                "with `dask scheduler`, or correct the spec"
            ) from error
        with client:
            yield client


def _existing(path: Path) -> Path:
    """The path of a scheduler file, if it is one."""
    try:
        named = isinstance(json.loads(path.read_bytes())["address"], str)
    except FileNotFoundError:
        raise ClusterError(
            f"cluster.path: there is no scheduler file {path}; "
            "start one with `dask scheduler --scheduler-file`"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        named = False
    if not named:
        raise ClusterError(
            f"cluster.path: {path} is no scheduler file; give one that `dask scheduler "
            "--scheduler-file` has written",
            "mistake",
        )
    return path
