"""The identity of a process on its machine, and whether it still lives.

A process is known by its number, the tick of the kernel's clock at which it began, the kernel's
boot and its PID namespace: none of these changes when somebody sets the clock, and containers of
one host name are told apart.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

STARTED = 19  # place of the start ticks after a process's name in /proc/PID/stat: its field 22


@cache
def machine() -> str:
    """This boot of this machine and PID namespace; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def start_ticks(pid: int) -> int | None:
    """When a process of this machine began, in ticks since boot; None if it has ended.

    Raises:
        PermissionError: it lives, and the system does not show more of it.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        with suppress(ProcessLookupError, OverflowError):
            os.kill(pid, 0)  # there are systems that hide the processes of others
            raise PermissionError(f"process {pid} is hidden") from None
        return None
    except ProcessLookupError:  # it ended while we read
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[STARTED])
