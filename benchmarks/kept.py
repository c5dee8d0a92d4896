"""Runs of drivers whose results are kept as lines of a file, so that a comparison that was broken off goes on."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from machine import processor

DRIVERS = Path(__file__).parent / "peers"
FIGURES = ("accuracy", "score", "map", "map_50", "train_seconds", "ratio")  # of a line, that are shown as it comes
Line = dict[str, Any]


class Runs:
    """The lines of all runs, done or read from the file of --out, of which those count that have `common`."""

    def __init__(self, given: argparse.Namespace, common: Mapping[str, Any] | None = None) -> None:
        self.given, wanted = given, dict(common or {})
        old = given.out.read_text(encoding="utf-8").splitlines() if given.out.exists() else []
        self.lines: list[Line] = [line for line in map(json.loads, old) if wanted.items() <= line.items()]

    def once(self, key: Line, command: list[str], called: str = "", more: Callable[[], Line] = dict) -> Line | None:
        """Return the line of a run, done where it is not there; None if it failed.

        :param key: by which its line is known.
        :param command: that prints the line, from the interpreter on.
        :param called: what a run that fails is called; the key if it is empty.
        :param more: what the line of a run that was done has besides.
        """
        for line in self.lines:
            if key.items() <= line.items():
                return line
        environment = os.environ | ({"OMP_NUM_THREADS": str(self.given.threads)} if self.given.threads else {})
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        printed = [line for line in done.stdout.splitlines() if line.startswith('{"')]
        if done.returncode or not printed:
            print(f"{called or key}, failed:\n{done.stderr[-2000:]}", file=sys.stderr)
            return None
        line = json.loads(printed[-1]) | key | more() | {"machine": processor()}
        self.lines.append(line)
        with self.given.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps({name: line[name] for name in (*key, *FIGURES) if name in line}), flush=True)
        return line

    def of(self, **wanted: Any) -> list[Line]:
        return [line for line in self.lines if wanted.items() <= line.items()]
