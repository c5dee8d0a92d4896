"""Starts the same command once for each device of this machine, and stops all of them when one fails.

`torchrun` does it on many machines. It ends with 1 whatever the code was, prints a traceback of its own, and ends the
others at once where one was asked to stop and all of them write a checkpoint: on one machine this does without it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hubft.machine.ranks import FAILED
from hubft.machine.runtime import cores

GRACE = 20.0  # seconds that processes have to end in, once one of them failed or all were asked to stop
POLL = 0.1  # seconds between two looks at them
Children = Mapping[int, "subprocess.Popen[bytes]"]
"""By their ranks."""


def launch(words: Sequence[str], number: int) -> int:
    """Run `hubft WORDS` in so many processes; return the exit code of the first that failed, or 0."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # outlives those that fail
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # which is this one
        "TORCHELASTIC_RESTART_COUNT": "0",
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
    }
    common.setdefault("OMP_NUM_THREADS", str(max(1, cores() // number)))
    command = [sys.executable, "-m", "hubft", *words]
    children: dict[int, subprocess.Popen[bytes]] = {}
    with _passed_on(children):
        try:
            for rank in range(number):
                own = common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                children[rank] = subprocess.Popen(command, env=own, start_new_session=True)  # a signal comes once
            return _ended(children, store)
        finally:
            for child in children.values():
                child.kill()
                child.wait()


def _ended(children: Children, store: Any) -> int:
    """Wait until all have ended; once one has failed, the others have GRACE seconds. Return the code."""
    while all(child.returncode in (None, 0) for child in children.values()):
        if all(child.poll() == 0 for child in children.values()):
            return 0
        time.sleep(POLL)
    until = time.monotonic() + GRACE
    while any(child.poll() is None for child in children.values()) and time.monotonic() < until:
        time.sleep(POLL)
    failed = {rank: child.returncode for rank, child in children.items() if child.returncode}
    told = [key for key in (FAILED, f"/worker/attempt_0/{FAILED}") if store.check([key])]  # as torch's version names it
    first = int(store.get(told[0])) if told else next(iter(failed))
    code = failed.get(first) or next(iter(failed.values()))
    return 128 - code if code < 0 else code


@contextmanager
def _passed_on(children: Children) -> Iterator[None]:
    """Have the signals that stop a run go to every process of it, for the time of a `with`."""

    def pass_on(number: int, frame: object) -> None:
        for child in children.values():
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
