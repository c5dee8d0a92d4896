"""Families tried in processes of their own, where they can hurt nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import IO

from hubft import plugins
from hubft.errors import FamilyError
from hubft.plugins import ROOT, Family

LIMIT = 60  # seconds that an import may take
TOLD = "hubft tells "  # before the line that `verified` reads


def verified(families: Iterable[Family]) -> list[Family]:
    """Return the families with their hooks, or why they are broken, each imported in a process of its own."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_verified, families))


def _verified(family: Family) -> Family:
    if family.problem:
        return family
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from hubft import isolated; isolated.tell({family.name!r})"
    # Into files: a process that the family starts and leaves behind would hold pipes open.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            status = subprocess.run(
                [sys.executable, "-P", "-c", code],  # -P: modules of the working folder are none of the family's
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                timeout=LIMIT,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            why = f"cannot be imported: that was not done after {LIMIT} seconds"
            return replace(family, problem=family.line(why, *family.removal))
        said, complaint = (_text(file) for file in (output, errors))
    told = [line.removeprefix(TOLD) for line in said.splitlines() if line.startswith(TOLD)]
    if told:
        hooks, problem = json.loads(told[-1])
        return replace(family, hooks=tuple(hooks), problem=problem)
    last = (complaint.strip().splitlines() or ["no output"])[-1]
    why = f"cannot be imported: that ends the process with status {status}: {last}"
    return replace(family, problem=family.line(why, *family.removal))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def tell(name: str) -> None:
    """Print for `verified` the hooks that a family implements, and its problem."""
    told: tuple[tuple[str, ...], str]
    try:
        family = plugins.find(name)
        told = plugins.register(plugins.hooks(), family, plugins.imported(family)), ""
    except FamilyError as error:
        told = (), " ".join(str(error).split())
    print(f"\n{TOLD}{json.dumps(told)}")
