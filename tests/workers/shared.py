"""A cluster that many tests share: starting one takes longer than most of what is done on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddgm.workers.members import Workers, current_workers
from tests.processes import wait_for

if TYPE_CHECKING:
    from distributed import Client

SIZE = 2, 1  # workers that hold blocks, and workers of the pool


@dataclass
class Shared:
    """Real processes under nannies, which start those anew that a test has killed."""

    client: Client

    @property
    def part(self) -> dict[str, Any]:
        """The `cluster` part of a spec that runs on it."""
        self.whole()
        return {"kind": "address", "address": str(self.client.scheduler.address)}  # type: ignore[union-attr]

    def whole(self) -> Workers:
        """Its workers, once all are there."""

        def whole() -> Workers | None:
            workers = current_workers(self.client)
            pool = len(workers.pool)
            return workers if (len(workers.running) - pool, pool) == SIZE else None

        found = wait_for(whole)
        assert found is not None
        return found

    def pids(self) -> dict[str, int]:
        """Process numbers by the workers' names, as they are now."""
        workers = self.whole()
        found: Any = self.client.run(os.getpid)
        return {workers.running[address].name: pid for address, pid in found.items()}
