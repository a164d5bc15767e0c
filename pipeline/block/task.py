"""Arguments of a run's tasks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.volumes.volume import VolumeInfo


@dataclass(frozen=True)
class RunContext:
    """The run, as passed to every task; small, and the same for all blocks.

    It is plain text: a spec is twenty models, which scheduler and workers would make anew of every
    task. A process makes the plan of the text once.

    Attributes:
        spec: the spec, as JSON.
        source: what the volume says of itself, as JSON.
        root: the run's folder.
        digest: of spec, code and weights; stamped on every record.
        code: hash of the driver's code, so that a worker with another version refuses.
        topic: of Dask's events, where workers tell this start of the run what they are at.
        levels: how many coarser levels the run's images have.
        calibration: as JSON; empty where the spec names none.
    """

    spec: str
    source: str
    root: str
    digest: str
    code: str
    topic: str = ""
    levels: int = 0
    calibration: str = ""

    @classmethod
    def of(
        cls,
        plan: Plan,
        root: str,
        digest: str,
        code: str,
        topic: str = "",
        levels: int = 0,
        calibration: str = "",
    ) -> RunContext:
        """Make the context of a plan."""
        source = json.dumps(plan.info.fields())
        spec = plan.spec.model_dump_json()
        return cls(spec, source, root, digest, code, topic, levels, calibration)

    @property
    def plan(self) -> Plan:
        """Spec and volume; made once in each process."""
        return _plan(self.spec, self.source)


@lru_cache(maxsize=8)
def _plan(spec: str, source: str) -> Plan:
    return Plan(Spec.model_validate_json(spec), VolumeInfo.of(json.loads(source)))


@dataclass(frozen=True)
class BlockTask:
    """One try of a block.

    Attributes:
        block: its index.
        attempt: counted from 1.
        name: of this try, in task keys and in what the tasks say of it.
        calls: whether the pool's workers are asked for each network call.
        order: its place among all tries, as they were submitted.
        readers: processes that read the source, who share its bandwidth.
    """

    block: int
    attempt: int = 1
    name: str = ""
    calls: bool = False
    order: int = 0
    readers: int = 1
