"""What of cloud-volume is put right for all readers of volumes."""

from __future__ import annotations

import queue
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ddgm.pipeline.volumes.cloudvolume_fixes import cloud_volume
from ddgm.pipeline.volumes.opening import open_volume
from tests.pipeline.volumes.sources import failure

pytestmark = pytest.mark.usefixtures("short_waits")


def test_a_volume_bounds_http_by_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cloudfiles.interfaces import HttpInterface
    from requests import Response
    from requests.adapters import HTTPAdapter

    timeouts = []

    def send(_: HTTPAdapter, request: Any, **options: Any) -> Response:
        timeouts.append(options["timeout"])
        raise ConnectionError

    monkeypatch.setattr(HttpInterface, "adaptor", HTTPAdapter())
    monkeypatch.setattr(HTTPAdapter, "send", send)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    cloud_volume.cache_clear()  # as in a process that has read nothing yet
    failure(lambda: open_volume("precomputed://http://127.0.0.1/em", 0).info, "unreachable")
    assert timeouts == [(5.0, 30.0)] * 4


@pytest.mark.parametrize("library", ["cloudvolume", "cloudfiles"])
def test_the_last_thread_to_fail_is_heard(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a chunk that could not be read comes back as zeros, when its error arrives late."""
    import cloudfiles.threaded_queue
    import cloudvolume.threaded_queue

    class Slow(queue.Queue):
        def put(self, item: Any, *args: Any, **options: Any) -> None:
            time.sleep(0.2 if isinstance(item, Exception) else 0)
            super().put(item, *args, **options)

    module = {"cloudvolume": cloudvolume, "cloudfiles": cloudfiles}[library].threaded_queue
    name = "Queue" if library == "cloudvolume" else "queue"
    monkeypatch.setattr(module, name, SimpleNamespace(Queue=Slow, Empty=queue.Empty))

    def fail(_: Any) -> None:
        raise OSError("late")

    def run() -> None:
        with module.ThreadedQueue(n_threads=2) as tasks:
            tasks.put(fail)

    with pytest.raises(OSError, match="late"):
        run()


@pytest.mark.process
def test_importing_the_module_does_not_import_cloud_volume() -> None:
    code = (
        "import sys; from ddgm.pipeline.volumes import ingest, volume; "
        "print('cloudvolume' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
