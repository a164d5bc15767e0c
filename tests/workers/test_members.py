"""What a scheduler does beside its work."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ddgm.workers.members import import_beside

SLOW = """
import time
from pathlib import Path

end = time.monotonic() + 20
while not Path({path!r}).exists():
    assert time.monotonic() < end, "nothing else was done meanwhile"
    time.sleep(0.01)
"""


def test_a_scheduler_goes_on_while_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = tmp_path / "sign"
    (tmp_path / "slow_to_import.py").write_text(SLOW.format(path=str(sign)))
    monkeypatch.syspath_prepend(str(tmp_path))

    async def work() -> None:
        sign.touch()

    async def both() -> None:
        await asyncio.gather(import_beside("slow_to_import"), work())

    asyncio.run(both())
