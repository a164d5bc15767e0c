"""The workers of a cluster, as its scheduler knows them now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

RESOURCE = "GPU"  # that Dask workers of the pool have one of


@dataclass(frozen=True)
class Member:
    """One worker process.

    Attributes:
        address: where it listens.
        name: for people.
        threads: tasks at once.
        memory: bytes at which it is restarted; 0: no limit.
        pool: whether it has the resource `GPU`.
    """

    address: str
    name: str
    threads: int
    memory: int
    pool: bool


@dataclass(frozen=True)
class Fleet:
    """Workers by address.

    Attributes:
        members: those that take on tasks.
        known: these, and those that are starting, paused or on their way out.
    """

    members: dict[str, Member]
    known: frozenset[str]

    @property
    def pool(self) -> list[Member]:
        """Those that run networks."""
        return [m for m in self.members.values() if m.pool]

    @property
    def homes(self) -> list[Member]:
        """Those that fetch, score and write: all of the pool, too, where there are no others."""
        return [m for m in self.members.values() if not m.pool] or self.pool


def fleet_of(client: Client) -> Fleet:
    """The fleet as it is now."""
    found: Any = client.scheduler_info(n_workers=-1)
    return fleet_from(found["workers"])


def fleet_from(identities: Mapping[str, dict[str, Any]]) -> Fleet:
    """The fleet that a scheduler's identity lists, by address."""
    members = {
        address: Member(
            address=address,
            name=str(w["name"]),
            threads=w["nthreads"],
            memory=w["memory_limit"] or 0,
            pool=bool(w["resources"].get(RESOURCE)),
        )
        for address, w in identities.items()
        if w["status"] == "running"
    }
    return Fleet(members, frozenset(identities))
