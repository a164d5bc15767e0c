"""When a run is given up: nothing moves, or nobody is left who could move it."""

from __future__ import annotations

from collections.abc import Callable

from ddgm.core.errors import DdgmError
from ddgm.pipeline.errors import failure_of, one_line
from ddgm.pipeline.run.dask_cluster import RESTART_SECONDS
from ddgm.pipeline.run.in_flight import InFlight
from ddgm.workers.local_cluster import START_SECONDS


class RunError(DdgmError):
    """A run that cannot go on: its cluster is gone, or nothing moves in it."""

    failure = "cluster"


def run_error(error: BaseException, root: str) -> RunError:
    """The end of a run by an error that all of its blocks would meet."""
    cause = one_line(error)
    if not isinstance(error, DdgmError):  # a disk's
        cause = f"output.path: {root}: {cause}; make room or mend the permissions"
    again = f"{cause}, and run the same spec again: finished blocks are kept"
    return RunError(again, failure_of(error))


class Standstill:
    """Tells how long nothing has happened in a run, and ends it when that is too long.

    Args:
        block_seconds: that a worker may be at one stage.
        local: whether the cluster is our own, which nobody can join later.
        clock: monotonic seconds.
    """

    def __init__(self, block_seconds: float, local: bool, clock: Callable[[], float]) -> None:
        self.block_seconds, self.local, self.clock = block_seconds, local, clock
        self._last_motion = self._last_room = clock()

    def moved(self) -> None:
        """Note that something happened: a message, or a restart."""
        self._last_motion = self.clock()

    def check(self, in_flight: InFlight, room: bool) -> None:
        """Look again.

        Args:
            in_flight: attempts that are submitted.
            room: whether any worker could take a block.

        Raises:
            RunError: blocks are in flight, workers are there, and nothing happens at all; or all
                workers of a local cluster are gone, and their nannies start none.
        """
        now = self.clock()
        if room:
            self._last_room = now
        elif self.local and now - self._last_room > START_SECONDS:
            raise RunError(
                f"cluster: no worker has been left for {now - self._last_room:.0f} s; look at the "
                "workers' logs, and run the same spec again: finished blocks are kept"
            )
        if not in_flight or not room or any(a.stage for a in in_flight):
            self.moved()
        elif (quiet := now - self._last_motion) > self.block_seconds + RESTART_SECONDS:
            stuck = ", ".join(str(block) for block in sorted(a.state.block for a in in_flight))
            raise RunError(
                f"limits.block_seconds: no worker has begun or ended anything for {quiet:.0f} s; "
                f"blocks {stuck} were in flight; look at the workers, and run the same spec again: "
                "finished blocks are kept"
            )
