"""A cluster that many tests share: starting one takes longer than most of what is done on it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddgm.workers.members import Workers, current_workers

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
        deadline = time.monotonic() + 120
        while True:
            workers = current_workers(self.client)
            block_workers = [m for m in workers.running.values() if not m.pool]
            if (len(block_workers), len(workers.pool)) == SIZE:
                return workers
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def pids(self) -> dict[str, int]:
        """Process numbers by the workers' names, as they are now."""
        workers = self.whole()
        found: Any = self.client.run(os.getpid)
        return {workers.running[address].name: pid for address, pid in found.items()}
