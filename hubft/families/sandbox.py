"""Families tried in processes of their own, where they can hurt nobody.

Where a process can be forked, one imports the libraries that families share, and a fork of it imports each family:
torch is then read once, not once a family. The fork is as alone as a new process, which is what the others get.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, NamedTuple, NoReturn

from hubft.base.distributions import Family
from hubft.base.errors import FamilyError
from hubft.families import plugins
from hubft.families.plugins import ROOT

LIMIT = 60  # seconds that an import may take
STARTED = 120  # seconds that the shared libraries may take beside
TOLD = "hubft tells "  # before the line that `verified` reads
SHARED = ("torch", "torchvision", "timm", "timm.optim", "hubft.families.defaults")
"""What most families import, and takes long."""
FORKS = sys.platform == "linux"  # elsewhere a fork of a process with torch in it is no safe one


class Outcome(NamedTuple):
    """What an import in another process left behind."""

    told: str
    """What `tell` printed; empty if it did not come so far."""
    complaint: str
    """The last line on stderr."""
    status: int | None
    """Exit code, negative for a signal; None if it was not done in time."""


def verified(families: Iterable[Family], done: Callable[[], object] = lambda: None) -> list[Family]:
    """Return the families with their hooks, or why they are broken, each imported in a process of its own.

    :param done: called after each of them.
    """
    families = list(families)
    found: dict[str, Outcome] = {}

    def judge(family: Family) -> Family:
        if not family.problem and family.name not in found:
            found[family.name] = _alone(family.name)
            done()
        return family if family.problem else _judged(family, found[family.name])

    names = [family.name for family in families if not family.problem]
    for _ in range(len(families) - len(names)):
        done()
    if len(names) > 1:
        for name, outcome in _forked(names) if FORKS else ():
            found[name] = outcome
            done()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(judge, families))


def _judged(family: Family, outcome: Outcome) -> Family:
    if outcome.told:
        hooks, problem = json.loads(outcome.told)
        return replace(family, hooks=tuple(hooks), problem=problem)
    if outcome.status is None:
        why = f"cannot be imported: that was not done after {LIMIT} seconds"
    else:
        why = f"cannot be imported: that ends the process with status {outcome.status}: {outcome.complaint}"
    return replace(family, problem=family.line(why, *family.removal))


def _code(call: str) -> list[str]:
    """Return the command of a new process that calls a function of this module."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from hubft.families import sandbox; sandbox.{call}"
    return [sys.executable, "-P", "-c", code]  # -P: modules of the working folder are none of the family's


def _alone(name: str) -> Outcome:
    """Return what comes of a family where no other is tried."""
    if FORKS:  # and so a family that ends the process which started it does not end this one
        return dict(_forked([name])).get(name, Outcome("", "and the one that started it", -signal.SIGKILL))
    # Into files: a process that the family starts and leaves behind would hold pipes open.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            status = subprocess.run(
                _code(f"tell({name!r})"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                timeout=LIMIT,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return Outcome("", "", None)
        return _outcome(output, errors, status)


def _outcome(output: IO[bytes], errors: IO[bytes], status: int) -> Outcome:
    told = [line.removeprefix(TOLD) for line in _text(output).splitlines() if line.startswith(TOLD)]
    return Outcome(told[-1] if told else "", (_text(errors).strip().splitlines() or ["no output"])[-1], status)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _forked(names: Sequence[str]) -> Iterable[tuple[str, Outcome]]:
    """Give what comes of the families in forks of one process, as they end; it may not come to all of them."""
    process = subprocess.Popen(
        _code(f"serve({list(names)!r}, {LIMIT})"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # It keeps the limits of its forks itself; this one is for an import of the shared libraries that never ends.
    rounds = -(-len(names) // (os.cpu_count() or 1))
    timer = threading.Timer(rounds * LIMIT + STARTED, process.kill)
    timer.daemon = True
    timer.start()
    assert process.stdout
    try:
        for line in process.stdout:
            name, *outcome = json.loads(line)
            yield name, Outcome(*outcome)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


@dataclass
class Fork:
    name: str
    output: IO[bytes]
    errors: IO[bytes]
    until: float


def serve(names: list[str], limit: float) -> None:
    """Import what families share, then each family in a fork, and write a line of JSON for `_forked` as they end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # which goes nowhere: what the libraries print is no answer
    for module in SHARED if len(names) > 1 else ():
        with suppress(Exception, SystemExit):  # a family that needs it says so itself
            importlib.import_module(module)
    running: dict[int, Fork] = {}
    waiting = list(names)
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            output, errors = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115  # until the fork has ended
            fork = Fork(waiting.pop(0), output, errors, time.monotonic() + limit)
            running[_start(fork, answers.fileno())] = fork
        ended, status = os.waitpid(-1, os.WNOHANG)
        late = [pid for pid, fork in running.items() if time.monotonic() > fork.until]
        for pid in late:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        if ended not in running:
            time.sleep(0.01)
            continue
        fork = running.pop(ended)
        code = os.waitstatus_to_exitcode(status)
        outcome = Outcome("", "", None) if ended in late else _outcome(fork.output, fork.errors, code)
        print(json.dumps([fork.name, *outcome]), file=answers, flush=True)
        fork.output.close()
        fork.errors.close()


def _start(fork: Fork, answers: int) -> int:
    """Return the number of the process in which the family is imported."""
    pid = os.fork()
    return pid or _import(fork, answers)


def _import(fork: Fork, answers: int) -> NoReturn:
    status = 1
    try:
        os.setsid()  # signals to its group reach nobody else
        os.close(answers)
        os.dup2(fork.output.fileno(), 1)
        os.dup2(fork.errors.fileno(), 2)
        tell(fork.name)
        sys.stdout.flush()
        status = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def tell(name: str) -> None:
    """Print for `verified` the hooks that a family implements, and its problem."""
    told: tuple[tuple[str, ...], str]
    try:
        family = plugins.find(name)
        told = plugins.register(plugins.hooks(), family, plugins.imported(family)), ""
    except FamilyError as error:
        told = (), " ".join(str(error).split())
    print(f"\n{TOLD}{json.dumps(told)}")
