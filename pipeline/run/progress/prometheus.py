"""The run's own metrics for Prometheus, served beside Dask's while its driver lives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from ddgm.core.errors import DdgmError
from ddgm.pipeline.block.task import RunContext
from ddgm.pipeline.run.events import (
    BlockDone,
    BlockFailed,
    BlockRetried,
    ClusterStatus,
    Paced,
    RunObserver,
    RunStarted,
)
from ddgm.pipeline.run.placement import LOCAL
from ddgm.pipeline.run.result import RunResult
from ddgm.pipeline.terminal import console

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

    Family = CounterMetricFamily | GaugeMetricFamily


# what the records of blocks count of the source
SOURCE = {
    "requests": ("source_requests", "Requests to the source"),
    "bytes": ("source_bytes", "Bytes from the source, as they came"),
    "hits": ("source_cache_hits", "Chunks that came from workers' caches"),
}
# what the pool counts where it answers network calls, by `BatcherStats`
NETWORK = {
    "busy": ("network_seconds", "Time of the pool in network calls"),
    "images": ("network_images", "Images of network calls"),
    "slots": ("network_slots", "Places in the batches of network calls"),
    "refused": ("network_refused", "Network calls that were turned away"),
}


class PrometheusError(DdgmError):
    """Metrics that cannot be served."""


class RunMetrics(RunObserver):
    """Counts what happens in a run; Prometheus' client asks for it at every scrape.

    Counters are of this start, and gauges of the run as it stands. Each of them is in
    docs/monitoring.md.

    Args:
        context: what is run.
        result: so far; counts before this one does.
    """

    def __init__(self, context: RunContext, result: RunResult) -> None:
        self.context, self.result = context, result
        self.slice_voxels = 0.0
        self.ended: Counter[str] = Counter(done=0, failed=0)
        self.retries = self.slices = self.filled = 0
        self.seconds: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.read: Counter[str] = Counter()
        self.status = ClusterStatus(LOCAL, 0, 0)
        self.pace: Paced | None = None

    def on_run_started(self, event: RunStarted) -> None:
        """Note the size of a slice."""
        self.slice_voxels = event.voxels / event.slices

    def on_block_done(self, event: BlockDone) -> None:
        """Count the block, and what its record says."""
        record = event.record
        self.ended["done"] += 1
        self.slices += len(record.metrics)
        self.filled += record.missing_voxels
        self.seconds = self.seconds + Counter(record.seconds)
        self.written = self.written + Counter(record.sizes)
        self.read = self.read + Counter(record.read)

    def on_block_failed(self, event: BlockFailed) -> None:
        """Count the block."""
        self.ended["failed"] += 1

    def on_block_retried(self, event: BlockRetried) -> None:
        """Count the retry."""
        self.retries += 1

    def on_cluster_status(self, event: ClusterStatus) -> None:
        """Keep the status."""
        self.status = event

    def on_paced(self, event: Paced) -> None:
        """Keep the pace."""
        self.pace = event

    def collect(self) -> Iterator[Metric]:
        """All metrics as they are now, in the protocol of Prometheus' client."""
        from prometheus_client.core import CounterMetricFamily as Counted
        from prometheus_client.core import GaugeMetricFamily as Gauge
        from prometheus_client.core import InfoMetricFamily

        tally, status, pace, plan = self.result.tally, self.status, self.pace, self.context.plan
        info = {
            "path": self.context.root,
            "digest": self.context.digest[:12],
            "method": plan.spec.method.name,
            "placement": status.placement.name,
            "version": version("ddgm"),
        }
        yield InfoMetricFamily("ddgm_run", "The run", value=info)
        left = plan.block_count - tally.done - tally.failed
        blocks = {"done": tally.done, "failed": tally.failed, "left": left}
        yield _family(Gauge, "blocks", "Blocks of the whole run", blocks, "state")
        stages = Counter(active.stage for active in status.active)
        yield _family(Gauge, "blocks_in_flight", "Blocks that workers are at", stages, "stage")
        workers = {"block": status.block_workers, "pool": status.pool}
        yield _family(Gauge, "workers", "Workers that take on tasks", workers, "role")
        yield _family(Gauge, "peak_memory_bytes", "Most that a worker ever held", tally.peak)
        if pace is not None and (rate := pace.voxels_per_second) is not None:
            yield _family(Gauge, "voxels_per_second", "Rate of the last ten minutes", rate)
        if pace is not None and (seconds := pace.left_seconds) is not None:
            yield _family(Gauge, "left_seconds", "Predicted time to the last block", seconds)
        yield _family(Counted, "blocks_ended", "Blocks that ended", self.ended, "state")
        yield _family(Counted, "block_retries", "Attempts that were begun again", self.retries)
        yield _family(Counted, "slices", "Slices of blocks done", self.slices)
        voxels = self.slices * self.slice_voxels
        yield _family(Counted, "voxels", "Voxels of blocks done", voxels)
        yield _family(Counted, "filled_voxels", "Voxels that the source lacked", self.filled)
        yield _family(Counted, "stage_seconds", "Time of blocks done", self.seconds, "stage")
        yield _family(Counted, "written_bytes", "Shards of blocks done", self.written, "layer")
        for key, (name, what) in SOURCE.items():
            yield _family(Counted, name, what, self.read[key])
        for key, (name, what) in NETWORK.items():
            if key in status.network:
                yield _family(Counted, name, what, status.network[key])


def _family(
    kind: type[Family], name: str, what: str, value: Mapping[str, float] | float, label: str = ""
) -> Family:
    """One metric, with a value for each value of its label, if it has one."""
    if not isinstance(value, Mapping):
        return kind(f"ddgm_{name}", what, value=value)
    family = kind(f"ddgm_{name}", what, labels=[label])
    for key, number in value.items():
        family.add_metric([key], number)
    return family


@contextmanager
def metrics_served(context: RunContext, result: RunResult) -> Iterator[RunObserver]:
    """Serve a run's metrics where its spec asks for them; yields who is to be told of the run.

    Raises:
        PrometheusError: Prometheus' client is not installed, or the port is taken.
    """
    if (asked := context.plan.spec.prometheus) is None:
        yield RunObserver()
        return
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError:
        raise PrometheusError(
            "prometheus: its client is not installed; install it with `pip install "
            "'ddgm[prometheus]'`, or leave the key out"
        ) from None
    metrics, registry = RunMetrics(context, result), CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(asked.port, asked.address, registry)
    except OSError as error:
        raise PrometheusError(
            f"prometheus: {asked.address}:{asked.port} cannot be served at ({error.strerror}); "
            "give another, or port 0 for any"
        ) from None
    try:
        console.print(f"metrics: http://{asked.address}:{server.server_port}/metrics")
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
