"""How much memory a package needs: a process of its own loads it and answers.

    python -m hubft.deploy.footprint PACKAGE BATCH...

It prints the most bytes that it held. An exported file needs no hubft: `running.fresh` measures that.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hubft.base.errors import ExportError
from hubft.deploy.export.serve import peak


def of_package(source: str, batches: Sequence[int], trust: bool = False) -> int:
    """Return the most bytes that a fresh process held which loaded a package and answered batches of these sizes.

    :raises ExportError: the process ended before it had.
    """
    words = [source, str(int(trust)), *map(str, batches)]
    done = subprocess.run(
        [sys.executable, "-m", "hubft.deploy.footprint", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ExportError(f"{source}: the process that measures its memory ended: {done.stderr.strip()[-300:]}")
    return int(done.stdout)


def of_file(path: Path, batches: Sequence[int], threads: int = 0) -> int:
    """Return the same of an exported file, whose process has its own runtime and no hubft.

    :raises ExportError: its runtime does not take it.
    """
    import torch

    from hubft import modality
    from hubft.deploy.export import formats, opening, running

    form = formats.of(path)
    assert form is not None
    manifest, about = opening.stated(form, path)
    with running.fresh(form, path, threads or torch.get_num_threads(), about.exact) as run:
        model = running.Running(run, about, manifest)
        for number in batches:
            kind = modality.of(manifest.inputs)
            model(kind.whole(kind.blank(manifest.inputs, number), manifest.inputs))
        return run.peak


def main(source: str, trust: str, *batches: str) -> None:
    import torch

    from hubft import modality
    from hubft.share import load

    loaded = load.filled(load.package(source), bool(int(trust)))
    with torch.inference_mode():
        for number in batches:
            kind = modality.of(loaded.inputs)
            loaded.forward(loaded.model, kind.whole(kind.blank(loaded.inputs, int(number)), loaded.inputs))
    print(peak())


if __name__ == "__main__":
    main(*sys.argv[1:])
