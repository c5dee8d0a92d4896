"""hubft from Python: the commands as functions, with the names and defaults of the command line.

import hubft

result = hubft.finetune("timm:resnet18.a1_in1k", "flowers/", epochs=4)
hubft.evaluate(result.package, "more_flowers/").metrics
hubft.predict(result.package, ["rose.jpg"])
"""

from __future__ import annotations

import base64
import dataclasses
import html
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from hubft import engine
from hubft.base.console import Console
from hubft.base.errors import JobError, suggest
from hubft.deploy.export.opening import averaging, opened
from hubft.job import Adapting, Columns, Compute, Head, Job, Labels, Recipe, Teaching
from hubft.options import Options
from hubft.run.beside import Beside
from hubft.run.folder import Run
from hubft.share import inference
from hubft.share.inference import Evaluation
from hubft.share.load import load
from hubft.share.opened import Answer
from hubft.tasks import ownloss
from hubft.tasks.metrics import Metrics, title

__all__ = ["Answer", "Evaluation", "Options", "Result", "distill", "evaluate", "finetune", "load", "predict", "resume"]

PARTS: Mapping[str, type] = {
    "labels": Labels,
    "head": Head,
    "recipe": Recipe,
    "adapting": Adapting,
    "compute": Compute,
    "teaching": Teaching,
}
"""Parts of a job whose fields are options of their own."""
OWN = ("outputs",)  # fields that no user sets


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
            f'<img alt="{html.escape(path.stem)}" style="max-width:48%" src="data:image/png;base64,'
            f'{base64.b64encode(path.read_bytes()).decode()}">'
            for path in self.pictures
        )
        where = f"<p>package <code>{html.escape(str(self.package))}</code></p>"
        return f"<table><tr><th>metric, 95 % interval</th>{heads}</tr>{rows}</table>{where}{images}"


def finetune(
    reference: str, data: str | Path, *, trust: bool = False, quiet: bool = False, **options: Unpack[Options]
) -> Result:
    """Return a finished run: the model fine-tuned, measured, reported and packaged.

    :param reference: pretrained model, as family:name.
    :param data: folder of class folders, table, or `datasets:owner/name`.
    :param trust: also start from a model of transformers with code of its own, or from a package that is built by code
        of a repository, which runs that code.
    :param quiet: print nothing.
    :param options: fields of `Job` and of its parts, by the names of the command line: `hubft finetune --help`
        describes them all. `loss` may be a callable too (`hubft.tasks.ownloss`).
    :raises HubftError: bad input, before anything is written; a run that must not go on.
    """
    with ownloss.given(options.get("loss")):
        return Result.of(engine.finetune(job(reference, data, options), Console(quiet=quiet), trust=trust))


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
    with ownloss.given(loss):
        return Result.of(engine.resume(Path(run), Console(quiet=quiet)))


def evaluate(
    source: str | Path,
    data: str | Path,
    *,
    trust: bool = False,
    columns: Columns | None = None,
    others: Sequence[str | Path] = (),
    tta: str = "",
) -> Evaluation:
    """Return what a package reaches on labelled images that it was not trained on.

    :param source: folder of a run or of a package, owner/name[@revision] on the Hugging Face Hub, or an exported file.
    :param data: as for `finetune`; its labels must be the package's.
    :param columns: of a table, where they are not called as those that were trained on.
    :param others: further packages, of the same task and names: what is measured is the mean of their answers, beside
        each of them (`Evaluation.beside`).
    :param tta: flips or crops, to measure the mean over views of a picture, beside one view.
    :raises HubftError: no package, or data that does not fit it.
    """
    how = averaging(source, others, tta, trust)
    return inference.evaluate(opened(source, trust), data, columns=columns, how=how)


def predict(
    source: str | Path,
    images: str | Path | Iterable[str | Path],
    *,
    trust: bool = False,
    input: str = "",
    pair: str = "",
    others: Sequence[str | Path] = (),
    tta: str = "",
) -> list[Answer]:
    """Return what a package says of images, in their order: an answer each, also where one cannot be read.

    :param source: folder of a run or of a package, owner/name[@revision] on the Hugging Face Hub, or an exported file.
    :param images: files, folders of them, and tables that name them.
    :param input: column of a table with the images or texts; found, where one column alone holds such.
    :param pair: column of a table with the second texts, of a package that takes pairs.
    :param others: further packages, whose answers are averaged with those of the first, as `tta` is, for `evaluate`.
    :raises HubftError: no package, or nothing to be read.
    """
    columns, how = Columns(input=input, pair=pair), averaging(source, others, tta, trust)
    return list(inference.predict(opened(source, trust), images, columns, how))


def job(reference: str, data: str | Path, options: Mapping[str, Any]) -> Job:
    """Return the job that options say, each put into the part of a job that has it.

    :raises JobError: an option that there is none of, or a value that it cannot have.
    """
    known = dict(fields())
    parts: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        if name not in known:
            raise JobError(f"there is no option {name!r}.{suggest(name, known)}")
        part, field = known[name]
        value = ownloss.name_of(value) if name == "loss" and callable(value) else value
        one = isinstance(field.default, tuple) and isinstance(value, str)
        parts.setdefault(part, {})[name] = (value,) if one else value
    own = parts.pop("", {})
    return Job(reference, data, **own, **{part: PARTS[part](**its) for part, its in parts.items()})


def fields() -> Iterator[tuple[str, tuple[str, dataclasses.Field[Any]]]]:
    """Yield every option with the part of a job that it is of, and its field; the job's own have no part."""
    for field in dataclasses.fields(Job):
        if field.name in PARTS:
            for inner in dataclasses.fields(PARTS[field.name]):
                if inner.name not in OWN:
                    yield inner.name, (field.name, inner)
        elif field.name not in ("reference", "data"):
            yield field.name, ("", field)


def _signature(function: Callable[..., Result]) -> inspect.Signature:
    """Return the signature of a function that takes options, with every one and its default, for `help` and
    notebooks."""
    given = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for name, (_, field) in fields()
        if name not in {one.name for one in given}
    ]
    return inspect.Signature([*given, *options], return_annotation=Result)


finetune.__signature__ = _signature(finetune)  # type: ignore[attr-defined]
distill.__signature__ = _signature(distill)  # type: ignore[attr-defined]
