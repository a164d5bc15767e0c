"""What is said of main memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process


def test_a_process_does_not_count_the_peak_of_the_one_that_started_it() -> None:
    ballast = bytearray(600_000_000)
    use = "x = bytearray(100_000_000); from ddgm.core.process_memory import peak_bytes"
    code = f"{use}; print(peak_bytes())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10**8 < int(said.stdout) < len(ballast) / 2
