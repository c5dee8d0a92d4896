"""The command line of hubft in a process that dies at a chosen moment: `python fatal.py MOMENT STEP finetune ...`.

MOMENT is `step`: SIGKILL when training step STEP is done and nothing is recorded of it; `save`: SIGKILL in
the middle of writing the checkpoint of step STEP; or `plan`: SIGKILL before plan.json is written, or with STEP 1 after.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hubft.cli.main import main
from hubft.run import plan
from hubft.train import checkpoint, loop


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def until(fatal: int, fit: Any) -> Any:
    def dying(*args: Any) -> Iterator[loop.Step]:
        for step in fit(*args):
            if step.number == fatal:
                die()
            yield step

    return dying


def half(fatal: int, save_file: Any) -> Any:
    def dying(tensors: Any, path: Path) -> None:
        save_file(tensors, path)
        if path.parent.name.endswith(f"{fatal:08}"):
            with path.open("rb+") as file:
                file.truncate(path.stat().st_size // 2)
            die()

    return dying


def around(after: int, write_json: Any) -> Any:
    def dying(path: Path, value: Any) -> None:
        if after:
            write_json(path, value)
        die()

    return dying


if __name__ == "__main__":
    moment, number = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:3]
    if moment == "step":
        loop.fit = until(number, loop.fit)
    elif moment == "plan":
        plan.write_json = around(number, plan.write_json)  # type: ignore[attr-defined]
    else:
        checkpoint.save_file = half(number, checkpoint.save_file)  # type: ignore[attr-defined]
    main()
