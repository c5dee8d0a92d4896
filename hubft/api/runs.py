"""Runs: begun, taught, gone on with, averaged."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from hubft import engine
from hubft.api.asked import job, spelled
from hubft.base import urls
from hubft.base.console import Console
from hubft.machine import ranks
from hubft.options import Options
from hubft.run.beside import Beside
from hubft.run.folder import Run
from hubft.share.load import load
from hubft.tasks import ownloss
from hubft.tasks.metrics import Metrics, title


@dataclass(frozen=True)
class Result:
    """A finished run; in a notebook its table and its pictures."""

    run: Path
    """The run's folder."""
    metrics: Metrics
    """Of the packaged model on the validation images."""
    uncompressed: Metrics | None
    """The same before compression, where there was one."""
    test: Metrics | None
    """The same on the test part of the data, where there is one."""
    beside: Beside | None = None
    """Its teacher and the same model without it, where there was a teacher."""

    @classmethod
    def of(cls, found: engine.Result) -> Result:
        """Return it from what the engine gives."""
        return cls(found.run.folder, found.metrics, found.uncompressed, found.test, found.beside)

    @property
    def package(self) -> Path:
        """The folder of the package: what `load`, `evaluate`, `predict` and `push` take."""
        return self.run / "package"

    @property
    def history(self) -> list[dict[str, Any]]:
        """An entry an epoch: its number, learning rate, losses and headline."""
        return Run(self.run).history()

    @property
    def pictures(self) -> list[Path]:
        """The PNG files of the report: curves, and what the task draws."""
        return sorted((self.run / "report").glob("*.png"))

    @cached_property
    def model(self) -> nn.Module:
        """The packaged model, in eval mode on the CPU: the plain class of its own library (see `load`)."""
        return load(self.package, trust=True)  # the user named its base

    def __str__(self) -> str:
        return f"{self.metrics}; package {self.package}"

    def _repr_html_(self) -> str:
        """Return the table of what was measured, and the pictures, for a notebook."""
        parts = {"": self.metrics, "before compression": self.uncompressed, "test": self.test}
        if self.beside:
            parts |= {"without a teacher": self.beside.without, "teacher": self.beside.teacher}
        there = {name: found for name, found in parts.items() if found}
        heads = "".join(f"<th>{html.escape(name)}</th>" for name in there)
        rows = "".join(
            f"<tr><td>{html.escape(title(name))}</td>"
            + "".join(f"<td>{html.escape(str(found.values.get(name, '')))}</td>" for found in there.values())
            + "</tr>"
            for name in self.metrics.values
        )
        images = "".join(
            f'<img alt="{html.escape(path.stem)}" style="max-width:48%" src="{urls.picture(path.read_bytes())}">'
            for path in self.pictures
        )
        where = f"<p>package <code>{html.escape(str(self.package))}</code></p>"
        return f"<table><tr><th>metric, 95 % interval</th>{heads}</tr>{rows}</table>{where}{images}"


@spelled(Options)
def finetune(
    reference: str, data: str | Path, *, trust: bool = False, quiet: bool = False, **options: Unpack[Options]
) -> Result:
    """Return a finished run: the model fine-tuned, measured, reported and packaged.

    :param reference: pretrained model, as family:name.
    :param data: folder of class folders, table, shards, or `datasets:owner/name`.
    :param trust: also start from a model of transformers with code of its own, or from a package that is built by code
        of a repository, which runs that code.
    :param quiet: print nothing.
    :param options: fields of `Job` and of its parts, by the names of the command line: `hubft finetune --help`
        describes them all. `loss` may be a callable too (`hubft.tasks.ownloss`).
    :raises HubftError: bad input, before anything is written; a run that must not go on.
    """
    with ownloss.given(options.get("loss")):
        return Result.of(engine.finetune(job(reference, data, options), Console(quiet=quiet), trust=trust))


@spelled(Options)
def distill(
    teacher: str | Path,
    /,
    reference: str,
    data: str | Path,
    *,
    trust: bool = False,
    quiet: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Return a finished run of `finetune` with a teacher; `Result.beside` has what the teacher is worth.

    :param teacher: folder of a run or of a package, or owner/name[@revision] on the Hub; it knows the data's classes.
    :raises HubftError: as `finetune`; a teacher that is no package, or that knows other labels.
    """
    asked = job(reference, data, options).taught_by(str(teacher))
    with ownloss.given(options.get("loss")):
        return Result.of(engine.finetune(asked, Console(quiet=quiet), trust=trust))


def resume(run: str | Path, *, quiet: bool = False, loss: Callable[..., Any] | None = None) -> Result:
    """Return a run that was stopped, gone on with to its end, to the same bits.

    :param loss: the callable that the run began with, if it was passed one.
    :raises CheckpointError: no run, one that is finished, or one whose data changed.
    """
    ranks.check_alone()
    with ownloss.given(loss):
        return Result.of(engine.resume(Path(run), Console(quiet=quiet)))


def soup(
    packages: Sequence[str | Path],
    data: str | Path,
    *,
    output: str | Path = "",
    greedy: bool = False,
    trust: bool = False,
    quiet: bool = False,
) -> Result:
    """Return a finished run whose package is the mean of the weights of several, and costs what one costs.

    :param packages: two or more fine-tunes of one base with the same labels: folders of runs or of packages, or
        owner/name[@revision] on the Hub.
    :param data: as for `finetune`: on its validation part the soup is measured.
    :param output: the run's folder; without one it is runs/MODEL-DATA, numbered if that exists.
    :param greedy: take only those that make it no worse on the validation part, from the best one on.
    :param trust: as for `finetune`.
    :param quiet: print nothing.
    :raises HubftError: fewer than two packages, or such as cannot be averaged; as `finetune`.
    """
    names, console = [str(one) for one in packages], Console(quiet=quiet)
    return Result.of(engine.blend(names, data, output, console, greedy=greedy, trust=trust))
