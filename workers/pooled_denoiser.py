"""The client half of the pool: a Denoiser that sends its network calls to pool workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ddgm.core.errors import DdgmError
from ddgm.core.process_cache import cached_in_process
from ddgm.workers.members import RESOURCE, workers_from
from ddgm.workers.pool_worker import HANDLER, NetworkSpec

if TYPE_CHECKING:
    from distributed import Worker

IN_FLIGHT = 4  # calls of one caller under way at once: one computed, others on their way
REFRESH = 2.0  # seconds that a list of pool workers is believed
SUSPENDED = 10.0  # seconds that a worker that failed a call is not asked again, if others are there
PATIENCE = 1800.0  # seconds that a caller waits for some pool worker to be there


class PoolError(DdgmError):
    """Raised when no pool worker answers; not counted against the block that asked."""

    failure = "cluster"
    is_retryable = True
    counts_as_attempt = False


class PoolMembers:
    """The pool workers that a calling process knows of; one object per process.

    Lives on the worker's event loop. Balances by calls under way: the least asked is asked next.
    """

    def __init__(self) -> None:
        self.under_way: dict[str, int] = {}
        self.suspended: dict[str, float] = {}
        self.looked = float("-inf")

    async def pick(self, worker: Worker) -> str | None:
        """The address to ask, or None where there is none now."""
        await self.addresses(worker)
        now = time.monotonic()
        sound = [a for a in self.under_way if self.suspended.get(a, 0.0) <= now]
        return min(sound or self.under_way, key=self.under_way.__getitem__, default=None)

    async def addresses(self, worker: Worker) -> Collection[str]:
        """The pool's addresses, not much older than `REFRESH`."""
        now = time.monotonic()
        if now - self.looked > (REFRESH if self.under_way else REFRESH / 4):
            self.looked = now
            identity: Any = await worker.scheduler.identity(n_workers=-1)
            pool = workers_from(identity["workers"]).pool
            self.under_way = {m.address: self.under_way.get(m.address, 0) for m in pool}
        return self.under_way

    def suspend(self, address: str) -> None:
        """Ask this worker last for a while, and refresh the list."""
        self.suspended = {a: t for a, t in self.suspended.items() if t > time.monotonic()}
        self.suspended[address] = time.monotonic() + SUSPENDED
        self.looked = float("-inf")


class PooledDenoiser:
    """A `Denoiser` whose network runs on pool workers; for use inside of Dask tasks.

    Images go out in calls of at most `network.batch`, a few at a time. A call that fails or takes
    too long is sent again to another worker, for as long as there are any: the samplers see
    nothing of a pool worker's death.
    """

    def __init__(self, network: NetworkSpec, call_seconds: float) -> None:
        self.network, self.call_seconds = network, call_seconds

    def __call__(self, x: Tensor) -> Tensor:
        """Denoise (n, channels, H, W) images, any n; returns (n, 1, H, W).

        Raises:
            PoolError: no pool worker has been there for `PATIENCE` seconds.
            Exception: what the network raised.
        """
        from distributed import get_worker

        worker = get_worker()
        work = self._denoise(worker, x.float().cpu().numpy())
        loop: Any = worker.loop
        answer = asyncio.run_coroutine_threadsafe(work, loop.asyncio_loop).result()
        return torch.from_numpy(answer).to(x.device)

    async def _denoise(self, worker: Worker, images: np.ndarray) -> np.ndarray:
        gate, size = asyncio.Semaphore(IN_FLIGHT), self.network.batch
        parts = [images[i : i + size] for i in range(0, len(images), size)]

        async def one(part: np.ndarray) -> np.ndarray:
            async with gate:
                return await self._call(worker, part)

        first: BaseException | None = None
        calls: list[asyncio.Task[np.ndarray]] = []
        try:
            async with asyncio.TaskGroup() as group:  # an error calls the others off
                calls += [group.create_task(one(part)) for part in parts]
        except* Exception as errors:
            first = errors
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
        if first is not None:  # out here: with the group as its context Dask cannot pickle it
            raise first
        return np.concatenate([call.result() for call in calls])

    async def _call(self, worker: Worker, images: np.ndarray) -> np.ndarray:
        running = cached_in_process("pool members", PoolMembers)
        seen, pause = time.monotonic(), 0.002
        while (address := await running.pick(worker)) or time.monotonic() - seen < PATIENCE:
            if address is None:
                await asyncio.sleep(0.5)
                continue
            seen = time.monotonic()
            running.under_way[address] += 1
            try:
                answer = await self._ask(running, worker, address, images)
                if answer is not None:
                    return answer
                await asyncio.sleep(pause)
                pause = min(2 * pause, 0.5)
            except (OSError, TimeoutError):
                running.suspend(address)
                await asyncio.sleep(0.1)  # Dask needs a moment to notice who has gone
            finally:
                if address in running.under_way:
                    running.under_way[address] -= 1
        raise PoolError(
            f"pool: no worker with the resource {RESOURCE} for {PATIENCE:g} s; start one with "
            f"`dask worker --resources {RESOURCE}=1`"
        )

    async def _ask(
        self, running: PoolMembers, worker: Worker, address: str, images: np.ndarray
    ) -> np.ndarray | None:
        """Images denoised by one worker; None if its queue is full."""
        from distributed.protocol.serialize import to_serialize

        call = getattr(worker.rpc(address), HANDLER)
        asked = asyncio.ensure_future(
            call(images=to_serialize(images), network=asdict(self.network))
        )
        late = time.monotonic() + self.call_seconds
        while not (await asyncio.wait({asked}, timeout=REFRESH))[0]:
            # Dask goes on calling a number where nobody is for half a minute
            if time.monotonic() > late or address not in await running.addresses(worker):
                asked.cancel()  # not awaited: closing a line to a process that hangs can hang, too
                raise TimeoutError
        if (reply := asked.result()) is None:
            raise OSError("it is only starting: its plugin is not set up yet")
        return reply.get("images")
