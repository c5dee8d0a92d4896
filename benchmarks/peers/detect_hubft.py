"""Ours, by its command: `hubft finetune transformers:FOLDER PICTURES --budget SECONDS`, with any further flags as they
are.

The time is what the run says of itself, as `hubft_.py` has it: measuring the machine, training, validation after each
epoch, and what is mended at the end. Nothing is found ready from an earlier run.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

import detect_common

from hubft import engine  # noqa: F401  # imported here so that the clock does not see it
from hubft.cli import main as cli
from hubft.machine import process_setup


def main() -> None:
    given = detect_common.options(__doc__, flags=True)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        flags: dict[str, object] = {"--seed": given.seed, "--output": run, "--threads": 1, "--workers": 0}
        flags |= {"--budget": f"{given.seconds:.1f}s"} | ({"--lr": given.lr} if given.lr else {})
        words = [*(str(word) for flag in flags.items() for word in flag), *given.extra]
        os.environ |= {"HUBFT_CACHE": f"{folder}/cache", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        process_setup.set_up()  # as the command does
        with contextlib.redirect_stdout(sys.stderr):
            command = ["finetune", f"transformers:{given.data / 'model'}", str(given.data / "train"), *words]
            cli.app(command, result_action="return_value")
        seconds = json.loads((run / "report" / "results.json").read_text(encoding="utf-8"))["seconds"]
        settled = json.loads((run / "plan.json").read_text(encoding="utf-8"))["job"]["recipe"]
        steps = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"]
        found = detect_common.precision(run / "package", given)
    found |= {"steps": steps, "epochs": settled["epochs"], "rate": settled["lr"]}
    detect_common.show("hubft", ["hubft"], given, seconds, **found)


if __name__ == "__main__":
    main()
