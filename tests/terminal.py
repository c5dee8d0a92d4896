"""Somebody who types hubft commands in a folder of their own, with a Hub on the loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loopback.hub import Hub

from hubft.publish import lines

TOKEN = "hf_onlyQuincyKnows"
NAME = "quincy"

# Importing torch takes longer than all that a command then does. So one process imports it, and makes a child for every
# command, which has its own environment, and imports the Hub's client itself: that reads the environment at its import.
SERVER = """
import json, os, sys, tempfile, traceback
import hubft.cli.main, hubft.share.transfer

def command(environment, folder, words):
    for number, name in ((0, os.devnull), (1, "out"), (2, "err")):
        os.dup2(os.open(os.path.join(folder, name), os.O_CREAT | os.O_RDWR | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(os.path.join(folder, "work"))
    tempfile.tempdir = None
    sys.argv[1:] = words
    hubft.cli.main.main()

assert "huggingface_hub" not in sys.modules
for line in sys.stdin:
    child = os.fork()
    if not child:
        code = 1
        try:
            command(*json.loads(line))
        except SystemExit as exit:
            code = exit.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


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
def commands() -> Iterator[subprocess.Popen[str]]:
    """Start the process that makes the processes of commands."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", SERVER], text=True, stdin=pipe, stdout=pipe) as server:
        yield server
        server.communicate()


class Terminal:
    """Runs commands in `folder`/work as a user whose name, home and token must never be seen."""

    def __init__(self, hub: Hub, folder: Path, server: subprocess.Popen[str], **environment: str) -> None:
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

    def start(self, *command: str) -> int:
        """Start `hubft COMMAND` in a process of its own, and return its number."""
        assert self.server.stdin and self.server.stdout
        print(json.dumps([self.environment, str(self.folder), command]), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def finish(self) -> Ran:
        """Wait for the command to end, and check what it let out."""
        assert self.server.stdout
        code = int(self.server.stdout.readline())
        ran = Ran(code, *((self.folder / name).read_text() for name in ("out", "err")))
        self.check_discretion(ran)
        return ran

    def run(self, *command: str) -> Ran:
        """Run `hubft COMMAND`."""
        self.start(*command)
        ran = self.finish()
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
