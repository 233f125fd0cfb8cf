"""Freed memory is kept: large arrays made again and again touch no new page."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from ppvae.fitting import keep_freed_memory, memory

SCRIPT = """
import resource, sys, torch
from ppvae.fitting import keep_freed_memory

def arrays():
    # 40 MB each, and 3 MB that would be trimmed from the end of the heap.
    made = [torch.ones(size) for size in (10_000_000, 800_000, 10_000_000)]

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(5):
    arrays()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    arrays()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

glibc = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


@pytest.mark.skipif(not glibc, reason="glibc's malloc only")
def test_pages_are_touched_once():
    def faults(how):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    # Each page of 4 KiB, or of 2 MiB where the system makes them so large, ten times over.
    plain = faults("plain")
    assert plain > 10 * 2 * 40_000_000 / 2**21 / 2
    # Not nought: where the heap had a gap filled meanwhile, an array goes to a new place.
    assert faults("keep") < plain / 4


def test_elsewhere_it_does_nothing(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert keep_freed_memory() is False
