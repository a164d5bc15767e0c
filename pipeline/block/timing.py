"""Seconds of a network call and of a data step, timed here, and of the run that they make."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ddgm.core.device import default_device
from ddgm.core.networks import gpu
from ddgm.core.process_work import work
from ddgm.pipeline.block.solver import Solver, cached_solver
from ddgm.pipeline.spec.memory import coupling_cost, network_batch
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan
from ddgm.workers.specs import Local


@dataclass(frozen=True)
class RunTime:
    """Seconds, from one timed call of each kind on this machine.

    Attributes:
        network_call: one call of the network, of a whole `NetworkBatch`.
        data_step: K gradient steps for one batch of slices.
        slice: reconstructing one slice.
        run: the whole run, on the spec's local workers or one worker. The method alone: fetching,
            simulating, the algebraic baseline, scoring and writing come on top.
    """

    network_call: float
    data_step: float
    slice: float
    run: float


@torch.inference_mode()
def time_calls(plan: Plan, calls: bool = False) -> RunTime:
    """Time one network call and one data step here, and scale them to the run.

    A network in float8 is timed in bfloat16 where this machine has none.

    Args:
        calls: whether the pool's workers are asked for the network's; for Dask tasks.
    """
    if not (calls or gpu.runs(plan.spec.prior.precision, default_device())):
        plan = replace(plan, spec=_without_float8(plan.spec))
    spec, method, images = plan.spec, plan.spec.method, network_batch(plan)
    solver = cached_solver(plan, calls)
    with work("timing a network call and a data step"):
        network, data = _call_and_step(plan, solver)
    batches = -(-images.per_slice * spec.block.batch // images.batch)
    data *= plan.block_slices / min(spec.block.slices, plan.slices)
    network_time = batches * network * coupling_cost(plan)
    per_slice = method.rounds * (data + network_time) / spec.block.batch
    workers = spec.cluster.workers if isinstance(spec.cluster, Local) else 1
    blocks_each = -(-plan.block_count // workers)
    slices = min(blocks_each * spec.block.slices, plan.slice_count)
    return RunTime(network, data, per_slice, slices * per_slice)


def _call_and_step(plan: Plan, solver: Solver) -> tuple[float, float]:
    """Seconds of a network call, 0 where the method makes none, and of a data step."""
    spec, g, images = plan.spec, plan.solved, network_batch(plan)
    torch.set_num_threads(spec.cluster.threads)
    x = torch.zeros(spec.block.batch, g.thickness, g.width, device=solver.device)
    y = torch.zeros(spec.block.batch, g.views, g.bins, device=solver.device)
    data_step = solver.data_step(y, sigma=1.0)
    data = _seconds(lambda: data_step(x))
    if not spec.method.evaluations:
        return 0.0, data
    network = solver.denoise if "denoiser" in spec.method.networks else solver.restore
    assert network is not None
    sides = images.batch, network.channels, images.height, images.width
    x = torch.randn(sides, device=solver.device)
    return _seconds(lambda: network(x)), data


def _without_float8(spec: Spec) -> Spec:
    if spec.prior.precision != "float8":
        return spec
    prior = spec.prior.model_copy(update={"precision": "bfloat16"})
    return spec.model_copy(update={"prior": prior})


def _seconds(work: Callable[[], object]) -> float:
    """Seconds of one call, the better of two after one to warm up."""

    def whole() -> None:
        work()
        if torch.cuda.is_available():  # calls of a GPU return before they have ended
            torch.cuda.synchronize()

    whole()
    times = []
    for _ in range(2):
        start = time.perf_counter()
        whole()
        times.append(time.perf_counter() - start)
    return min(times)
