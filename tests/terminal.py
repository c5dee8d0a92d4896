"""Somebody who types hubft commands in a folder of their own, with a Hub on the loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import forked
from forked import Program
from loopback.hub import Hub

from hubft.publish import lines

TOKEN = "hf_onlyQuincyKnows"
NAME = "quincy"


@dataclass(frozen=True)
class Ran:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        assert (self.code, self.out) == (2, ""), (self.out, self.err)
        assert "Traceback" not in self.err
        [line] = [line for line in self.err.splitlines() if line.startswith("hubft: ")]
        return line

    @property
    def revision(self) -> str:
        """The commit that a push printed, in its last two lines."""
        assert self.code == 0, self.err
        *_, pushed, load = self.out.splitlines()
        name, _, revision = pushed.split()[1].rstrip(",").partition("@")
        assert len(revision) == 40
        assert load == f"load     {lines.here(f'{name}@{revision}', trust=False)}"
        return revision


@contextmanager
def commands(folder: Path, *modules: str, **environment: str) -> Iterator[str]:
    """Start the process that makes the processes of commands, and return its address.

    :param folder: of its socket.
    :param modules: which it imports too. The Hub's client reads the environment at its import.
    """
    pipe, path = subprocess.PIPE, str(folder / "hubft.socket")
    words = [sys.executable, "-P", forked.__file__, "serve", path, *modules]
    with subprocess.Popen(words, text=True, stdin=pipe, stdout=pipe, env=os.environ | environment) as server:
        assert server.stdout and server.stdout.readline() == "ready\n"
        yield path
        server.communicate()


def typed(script: Path, address: str) -> None:
    """Write the command `hubft` of a shell, whose processes the one of this address makes."""
    script.write_text(f'#!/bin/sh\nexec "{forked.executable(address)}" -m hubft "$@"\n')
    script.chmod(0o755)


class Terminal:
    """Runs commands in `folder`/work as a user whose name, home and token must never be seen."""

    def __init__(self, hub: Hub, folder: Path, server: str, **environment: str) -> None:
        self.hub, self.folder, self.server = hub, folder, server
        self.work, self.temporary, home = folder / "work", folder / "tmp", folder / f"home-of-{NAME}"
        for path in (self.work, self.temporary, home):
            path.mkdir(exist_ok=True)
        self.environment = os.environ | {
            "HOME": str(home),
            "USER": NAME,
            "LOGNAME": NAME,
            "TMPDIR": str(self.temporary),
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(folder / "cache"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **environment,
        }

    def but(self, **environment: str) -> "Terminal":
        """Return the same terminal with another environment."""
        return Terminal(self.hub, self.folder, self.server, **environment)

    def start(self, *command: str) -> Program:
        """Start `hubft COMMAND` in a process of its own."""
        out, err = self.folder / "out", self.folder / "err"
        with Path(os.devnull).open() as empty, out.open("wb") as its_out, err.open("wb") as its_err:
            files = (empty.fileno(), its_out.fileno(), its_err.fileno())
            return Program(self.server, ["-m", "hubft", *command], self.environment, str(self.work), files)

    def finish(self, started: Program) -> Ran:
        """Wait for a command to end, and check what it let out."""
        ran = Ran(started.wait(), *((self.folder / name).read_text() for name in ("out", "err")))
        self.check_discretion(ran)
        return ran

    def run(self, *command: str) -> Ran:
        """Run `hubft COMMAND`."""
        ran = self.finish(self.start(*command))
        # timm imports wandb where it is installed, which makes two folders of its own.
        left = [
            path for path in self.temporary.rglob("*") if not path.name.endswith(("wandb-media", "wandb-artifacts"))
        ]
        assert not left, left  # nothing is left behind
        return ran

    def fresh(self, *words: str) -> Ran:
        """Run Python with these words in a process that shares nothing with others."""
        done = subprocess.run(
            [sys.executable, *words], cwd=self.work, env=self.environment, text=True, capture_output=True
        )
        ran = Ran(done.returncode, done.stdout, done.stderr)
        self.check_discretion(ran)
        return ran

    def check_discretion(self, ran: Ran) -> None:
        """Check that no token, user or path was printed or sent."""
        there = [data for files in self.hub.commits.values() for data in files.values()]
        told = [ran.out.encode(), ran.err.encode()]
        for data in (*told, *self.hub.received, *there, *self.hub.objects.values()):
            for secret in (TOKEN, NAME, str(self.folder)):
                assert secret.encode() not in data, data

    def on_disk(self) -> dict[str, bytes]:
        """Return every file of the user's folder."""
        return {p.relative_to(self.work).as_posix(): p.read_bytes() for p in self.work.rglob("*") if p.is_file()}
