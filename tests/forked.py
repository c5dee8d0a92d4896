"""Programs of Python without the imports of hubft, which take longer than what most then do.

    python -P forked.py serve SOCKET MODULE...   # imports, and makes a child for every program, until its input ends
    python -S forked.py run SOCKET WORD...       # `python WORD...` in such a child, with this folder and environment
    SOCKET.python WORD...                        # the same for a module or a file; else Python itself

The client is a file of the standard library alone, and starts at once. A child does not see another PYTHONPATH, nor
what a library reads of the environment at its import. It takes SOCKET.python for Python: what it starts is a child too.
SIGTERM to a client reaches its child, SIGKILL does not.
"""

import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

COMMON = ("hubft.cli.main", "hubft.engine", "hubft.tasks.classified")
"""What every program is started with; the last imports sklearn and scipy, which take as long as the rest."""
PYTHON = """#!/bin/sh
case "$1 $2" in "-u -m"|"-u "*.py) shift ;; esac
case "$1" in
-m|*.py) exec "{python}" -S "{file}" run "{path}" "$@" ;;
*) exec "{python}" "$@" ;;
esac
"""


def serve(path: str, modules: Sequence[str]) -> None:
    """Import, say so, and run what is asked for at the socket of this path."""
    for module in (*COMMON, *modules):
        importlib.import_module(module)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        script = Path(executable(path))
        script.write_text(PYTHON.format(python=sys.executable, file=__file__, path=path))
        script.chmod(0o755)
        sys.executable = str(script)
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            with connection:
                if not os.fork():
                    listening.close()
                    answer(connection)
                    os._exit(0)


def executable(path: str) -> str:
    """Return the Python of a server, which is there once the server is ready."""
    return f"{path}.python"


def answer(connection: socket.socket) -> None:
    """Run one program: tell the number of its process, then the code that it ended with."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rw") as talk:
        asked = json.loads(talk.readline())
        child = os.fork()
        if not child:
            connection.close()
            os._exit(program(files, **asked))
        print(child, file=talk, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=talk, flush=True)


def program(files: Sequence[int], words: Sequence[str], environment: Mapping[str, str], folder: str) -> int:
    """Return the exit code of `python WORD...`, run in this process: of a file, or with -m of a module."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    code: object = 0
    try:
        if "huggingface_hub" in sys.modules:  # which read these at its import
            asked, read = ({name: its[name] for name in its if name[:3] == "HF_"} for its in (environment, os.environ))
            assert asked == read, "the Hub's client was imported in another environment"
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        tempfile.tempdir = None
        if words[0] == "-m":
            sys.argv = list(words[1:])
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(words)
            sys.path.insert(0, str(Path(words[0]).resolve().parent))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


class Program:
    """A program that was asked for."""

    def __init__(
        self, path: str, words: Sequence[str], environment: Mapping[str, str], folder: str, files: Sequence[int]
    ) -> None:
        """Have it begin.

        :param files: which it has as its input, its output and its errors.
        """
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(path)
        socket.send_fds(self.connection, [b"\0"], files)
        self.talk = self.connection.makefile("rw")
        asked = {"words": list(words), "environment": dict(environment), "folder": folder}
        print(json.dumps(asked), file=self.talk, flush=True)
        self.process = int(self.talk.readline())

    def wait(self) -> int:
        """Return its exit code, or less than zero: the signal that ended it."""
        with self.connection, self.talk:
            return int(self.talk.readline())


Python = Callable[..., subprocess.CompletedProcess[str]]


def python(path: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Return a program that ended, run in this folder and environment."""
    with Path(os.devnull).open() as empty, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        its = Program(path, words, os.environ, str(Path.cwd()), (empty.fileno(), out.fileno(), err.fileno()))
        code = its.wait()
        texts = [file.read() for file in (out, err) if not file.seek(0)]
    return subprocess.CompletedProcess(words, code, *texts)


def run(path: str, words: Sequence[str]) -> int:
    """Return the exit code of a program; what would end this process ends that of the program."""
    its = Program(path, words, os.environ, str(Path.cwd()), (0, 1, 2))
    signal.signal(signal.SIGTERM, lambda *_: os.kill(its.process, signal.SIGTERM))
    code = its.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    sys.exit(serve(where, rest) if what == "serve" else run(where, rest))
