"""The command sets up its own process; an import does not, and a C library without mallopt is no error."""

import os
import subprocess
import sys

import pytest

from hubft.machine import process_setup

PEAK = """
import ctypes, mmap, os, sys
from hubft.machine import process_setup
if sys.argv[1] == "set up":
    process_setup.set_up()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
size = 8 * 2**20
block = libc.malloc(size)
ctypes.memset(block, 1, size)
libc.free(block)
print(int(open("/proc/self/statm").read().split()[1]) * mmap.PAGESIZE)
"""


def resident(how: str) -> int:
    """Return how many bytes a process holds after it gave back 8 MiB."""
    return int(subprocess.run([sys.executable, "-c", PEAK, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own")
def test_memory_that_was_given_back_is_kept() -> None:
    assert resident("set up") - resident("left alone") > 4 * 2**20


def test_what_the_user_set_stays_and_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")

    def without(name: object) -> object:
        raise OSError("no such library")

    monkeypatch.setattr(process_setup.ctypes, "CDLL", without)
    process_setup.set_up()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
