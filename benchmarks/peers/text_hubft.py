"""Ours, by its command: `hubft finetune pip:minilm_l6 train.csv`, with any further flags as they are.

It holds out a hundredth of the rows, the least it takes, for the comparison has a test of its own: the peers train on
all rows. The time is what the run says of itself, as `hubft_.py` has it: measuring the machine, the probe, training,
validation, and what is mended at the end. Nothing is found ready from an earlier run.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

import text_common

import hubft
from hubft import engine  # noqa: F401  # imported here so that the clock does not see it
from hubft.cli import main as cli
from hubft.machine import process_setup


def main() -> None:
    given = text_common.options(__doc__, flags=True)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        flags: dict[str, object] = {"--seed": given.seed, "--output": run, "--threads": given.threads}
        flags |= {"--size": given.length, "--holdout": 0.01}
        flags |= {"--epochs": given.epochs} if given.epochs >= 0 else {}
        flags |= {"--batch-size": given.batch} if given.batch else {}
        flags |= {"--train": "head"} if given.frozen else {}
        flags |= {"--budget": f"{given.seconds:.1f}s"} if given.seconds else {}
        words = [*(str(word) for flag in flags.items() for word in flag), *given.extra]
        os.environ |= {"HUBFT_CACHE": f"{folder}/cache", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        process_setup.set_up()  # as the command does
        with contextlib.redirect_stdout(sys.stderr):
            command = ["finetune", "pip:minilm_l6", str(given.data / "train.csv"), "--target", "label", *words]
            cli.app(command, result_action="return_value")
        seconds = json.loads((run / "report" / "results.json").read_text(encoding="utf-8"))["seconds"]
        answers = hubft.predict(run / "package", [str(given.data / "test.csv")])
    said = [answer.said["class"] for answer in answers]
    text_common.show("hubft", ["hubft", "transformers"], given, seconds, said)


if __name__ == "__main__":
    main()
