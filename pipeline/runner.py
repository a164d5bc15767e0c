"""Runs a spec: prepares the output, hands blocks to Dask in a window, resumes, reports."""

from __future__ import annotations

import errno
import logging
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ddgm_core.errors import DdgmError
from pipeline.events import BlockDone, BlockFailed, BlockRetried, RunStarted, Subscriber, Waiting
from pipeline.ledger import Record
from pipeline.manifest import Prepared, prepare
from pipeline.plan import checked_plan
from pipeline.spec import Spec
from pipeline.stages import Job, run_block, source_volume
from pipeline.store import RunStore
from workers.clusters import connect

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

WINDOW = 2  # blocks in flight per worker thread: one at work, one on its way
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class RunError(DdgmError):
    """A run that cannot go on."""


@dataclass
class Summary:
    """How a run ended.

    Attributes:
        blocks: of the plan.
        resumed: done by earlier starts.
        done: by this one.
        failed: records of the blocks that failed for good.
        seconds: this start took.
    """

    blocks: int
    resumed: int = 0
    done: int = 0
    failed: list[Record] = field(default_factory=list)
    seconds: float = 0.0


def run(spec: Spec, emit: Subscriber, overwrite: bool = False) -> Summary:
    """Run a spec to its end, or go on where an earlier start of the same spec stopped.

    Raises:
        DdgmError: something a user can mend, found before any block or while running: the
            spec, the source, the weights, the output, a full disk, the cluster.
    """
    start = time.monotonic()
    prepared = prepare(spec, overwrite)
    job, store = prepared.job, RunStore(prepared.job.root)
    done = {r.block for r in store.records() if r.state == "done" and r.digest == job.digest}
    summary = Summary(job.plan.block_count, resumed=len(done))
    pending = (i for i in range(job.plan.block_count) if i not in done)
    if len(done) < summary.blocks:
        with connect(spec.cluster) as client:
            emit(_started(prepared, len(done), client))
            _Window(client, job, store, emit, summary).drain(pending)
    store.write_metrics()
    summary.seconds = time.monotonic() - start
    return summary


def run_alone(spec: Spec, block: int) -> Record:
    """Run one block in this process, without a cluster: what reproduces a failure.

    Raises:
        DdgmError: what is wrong with the block, or that there is no such block.
    """
    count = checked_plan(spec, source_volume(spec).info).block_count
    if not 0 <= block < count:
        raise RunError(f"--block: there is no block {block}; the plan has 0 to {count - 1}")
    return run_block(prepare(spec).job, block)


class _Window:
    """A bounded number of blocks in flight, each tried a bounded number of times."""

    def __init__(
        self, client: Client, job: Job, store: RunStore, emit: Subscriber, summary: Summary
    ) -> None:
        self.client, self.job, self.store = client, job, store
        self.emit, self.summary = emit, summary
        self.flying: dict[Future, tuple[int, int]] = {}  # block and attempt
        self.stalled_since = time.monotonic()

    def drain(self, pending: Iterator[int]) -> None:
        """Submit, collect and submit again until every block has ended."""
        try:
            self._fill(pending)
            while self.flying:
                ended = self._ended()
                for future in ended:
                    self._collect(future)
                self._watch(progress=bool(ended))
                self._fill(pending)
        except (CancelledError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # a disk's; Dask's own have no number
            raise RunError(
                "cluster: the scheduler is gone; start it and run the same spec again: finished "
                "blocks are kept"
            ) from error

    def _ended(self) -> set[Future]:
        """Blocks that have ended, after a few seconds at the latest."""
        from distributed import wait

        try:
            # distributed's types say these are coroutines; with a plain client none is
            waited: Any = wait(list(self.flying), timeout=5, return_when="FIRST_COMPLETED")
        except TimeoutError:
            return set()
        return waited.done

    def _fill(self, pending: Iterator[int]) -> None:
        threads: Any = self.client.nthreads()
        room = WINDOW * max(1, sum(threads.values()))
        while len(self.flying) < room and (block := next(pending, None)) is not None:
            self._submit(block, attempt=1)

    def _submit(self, block: int, attempt: int) -> None:
        future = self.client.submit(
            run_block,
            self.job,
            block,
            attempt,
            key=f"block-{self.job.digest[:12]}-{block}-{attempt}-{time.monotonic_ns()}",
            priority=-block,
            pure=False,
        )
        self.flying[future] = block, attempt
        log.info("block %d: attempt %d submitted", block, attempt)

    def _collect(self, future: Future) -> None:
        block, attempt = self.flying.pop(future)
        try:
            if future.status == "finished":
                self.summary.done += 1
                record: Any = future.result()
                log.info("block %d: done by %s, seconds %s", block, record.worker, record.seconds)
                self.emit(BlockDone(record))
                return
            error: Any = future.exception() or RuntimeError(f"the task was {future.status}")
            trace: Any = future.traceback()
            detail = "".join(traceback.format_tb(trace))[-2000:]
            self._mishap(block, attempt, error, detail)
        finally:
            future.release()

    def _mishap(self, block: int, attempt: int, error: BaseException, detail: str) -> None:
        """Try a block again, count it as failed, or end the run, as its error asks for."""
        cause = one_line(error)
        log.info("block %d: attempt %d failed: %s\n%s", block, attempt, cause, detail)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise RunError(
                f"output.path: {self.job.root}: {cause}; make room or mend the permissions and "
                "run the same spec again: finished blocks are kept"
            ) from error
        if attempt < self.job.plan.spec.limits.attempts and worth_retrying(error):
            self.emit(BlockRetried(block, attempt, cause))
            self._submit(block, attempt + 1)
            return
        record = Record(block, self.job.digest, "failed", attempt, cause=cause, detail=detail)
        self.store.put(record)
        self.summary.failed.append(record)
        self.emit(BlockFailed(record))

    def _watch(self, progress: bool) -> None:
        """Give up on blocks in flight when none has ended for too long on a live cluster."""
        if progress or not self.flying:
            self.stalled_since = time.monotonic()
        elif not self.client.nthreads():
            self.stalled_since = time.monotonic()
            self.emit(Waiting())
        elif time.monotonic() - self.stalled_since > (
            limit := self.job.plan.spec.limits.block_seconds
        ):
            stuck = ", ".join(str(block) for block, _ in self.flying.values())
            raise RunError(
                f"limits.block_seconds: no block has ended for {limit:g} s; blocks {stuck} were in "
                "flight; look at the workers, raise the limit if blocks take so long, and run the "
                "same spec again: finished blocks are kept"
            )


def worth_retrying(error: BaseException) -> bool:
    """Whether the same block may succeed at another try with nothing mended."""
    if isinstance(error, DdgmError):
        return bool(getattr(error, "retryable", False))
    if type(error).__name__ == "KilledWorker":  # Dask has tried it on worker after worker
        return False
    return not isinstance(error, ImportError | TypeError | AttributeError)


def one_line(error: BaseException) -> str:
    """An error as one line: our own by their message, others with their type."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, DdgmError) else f"{type(error).__name__}: {text}"


def _started(prepared: Prepared, done: int, client: Client) -> RunStarted:
    plan = prepared.job.plan
    z, y, x = plan.shard
    return RunStarted(plan.block_count, done, z * y * x, client.dashboard_link or "")
