"""What the commands print and write of a package at work: answers, outcomes, metrics, facts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubft.base.console import Console, percent
from hubft.base.display import csv_line, listed, visible
from hubft.base.errors import Incomplete, JobError
from hubft.base.files import new_file

if TYPE_CHECKING:
    from hubft.data.asked import Pictures
    from hubft.publish.package import Package
    from hubft.share.inference import Answer, Evaluation, Outcome


# ---- predict -----------------------------------------------------------------------------------------


def print_answers(console: Console, answers: Iterable[Answer], form: str, top: int, pictures: Pictures) -> None:
    """Print a line an image as it comes; in `text`, for people, errors on stderr.

    :param form: `text`, `json` or `csv`.
    :param top: how many classes of each.
    :raises Incomplete: some images have no answer.
    """
    failed = 0
    if form == "csv":
        console.raw(_csv_heads(top))
    for answer in answers:
        failed += bool(answer.error)
        if form == "text" and answer.error:
            console.warn(f"{answer.image}: {answer.error}")
        else:
            console.raw({"text": _text, "json": _json, "csv": _csv}[form](answer, top))
    for note in pictures.notes:
        console.warn(f"hubft: {note}")
    if failed:
        raise Incomplete(f"{failed:,} of {len(pictures.files):,} images have no answer; the reason stands by each")


def _text(answer: Answer, top: int) -> str:
    best = ", ".join(f"{visible(name, 24)} {share:.3f}" for name, share in _first(answer, top))
    return visible(f"{answer.image}: {best}", 4000)


def _json(answer: Answer, top: int) -> str:
    found: dict[str, object] = {"image": str(answer.image)}
    if answer.error:
        found["error"] = answer.error
    else:
        shares = dict(_first(answer, top))
        name, share = next(iter(shares.items()))
        found |= {"class": name, "probability": share, "probabilities": shares}
    return json.dumps(found, allow_nan=False)


def _csv_heads(top: int) -> str:
    more = [f"{what}_{rank}" for rank in range(2, top + 1) for what in ("class", "probability")]
    return csv_line(["image", "class", "probability", *more, "error"])


def _csv(answer: Answer, top: int) -> str:
    cells = [cell for name, share in _first(answer, top) for cell in (name, f"{share:.6f}")]
    blank = [""] * (2 * top - len(cells))  # of an error
    return csv_line([str(answer.image), *cells, *blank, answer.error])


def _first(answer: Answer, top: int) -> list[tuple[str, float]]:
    return list(islice(answer.probabilities.items(), top))


# ---- evaluate ----------------------------------------------------------------------------------------


Write = Callable[[Iterable["Outcome"]], None]


@contextmanager
def outcomes_file(path: Path) -> Iterator[Write]:
    """Give what writes the file of `evaluate --predictions`: a line an image, with its class and what it was taken for.

    :raises JobError: another suffix than .csv or .jsonl, a file that exists, or a place that cannot be written.
    """
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise JobError(f"--predictions {str(path)!r}: its suffix must be .csv or .jsonl")
    lines = _csv_outcomes if path.suffix.lower() == ".csv" else _json_outcomes
    with new_file(path) as file:
        yield lambda outcomes: file.writelines(f"{line}\n" for line in lines(outcomes))


def _csv_outcomes(outcomes: Iterable[Outcome]) -> Iterator[str]:
    yield csv_line(["image", "class", "predicted", "probability", "correct"])
    for one in outcomes:
        share, correct = f"{one.probability:.6f}", str(one.correct).lower()
        yield csv_line([str(one.image), one.true, one.predicted, share, correct])


def _json_outcomes(outcomes: Iterable[Outcome]) -> Iterator[str]:
    for one in outcomes:
        answer = {"predicted": one.predicted, "probability": one.probability, "correct": one.correct}
        yield json.dumps({"image": str(one.image), "class": one.true, **answer}, allow_nan=False)


def print_evaluation(console: Console, classes: Sequence[str], measured: Evaluation) -> None:
    """Print one JSON object: the metrics, `classes` in the order of their lists, and facts of the images."""
    about = {"classes": list(classes), "trained_on": measured.trained_on, "left_out": measured.left_out}
    console.raw(json.dumps(_finite({**measured.metrics, **about}), allow_nan=False))


def _finite(value: Any) -> Any:
    """Return JSON types with None for a number that JSON has not."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def trained_on(measured: Evaluation) -> str:
    """Return the line that says how many of the images the package was trained on."""
    number, total = measured.trained_on, measured.metrics["accuracy"]["n"]
    if number is None:
        return f"note: whether these {total:,} images were trained on is not known: the package does not say"
    if number:
        return f"note: {number:,} of {total:,} images were trained on: the score is too good"
    return f"none of the {total:,} images was trained on"


def print_metrics(console: Console, metrics: Mapping[str, Any], title: str) -> None:
    """Print what a model reached on images, with intervals."""
    rows = [["accuracy", percent(metrics["accuracy"])], ["cross entropy", f"{metrics['loss']:.4f}"]]
    console.table(["metric", "value, 95 % interval"], rows, title=f"{title}: {metrics['accuracy']['n']} images")


def print_classes(console: Console, classes: Sequence[str], metrics: Mapping[str, Any], matrix: bool) -> None:
    """Print the recall of each class that has images, and where asked for, which were taken for which."""
    rows = zip(classes, metrics["recall"], strict=True)
    console.table(["class", "recall, 95 % interval", "images"], [[c, percent(r), r["n"]] for c, r in rows if r])
    if matrix:
        rows = zip(classes, metrics["confusion"], strict=True)
        console.table(["true \\ predicted", *classes], [[c, *r] for c, r in rows])


# ---- show --------------------------------------------------------------------------------------------


def print_facts(console: Console, package: Package) -> None:
    """Print what a package is, from its manifest: its own head and classes, its score and size, and its base."""
    from hubft.publish import card
    from hubft.publish.package import MANIFEST

    manifest = package.manifest
    job, base, delta = manifest.job, manifest.base, manifest.delta
    size = sum(file.size for file in manifest.files.values()) + (package.folder / MANIFEST).stat().st_size
    hidden = "".join(f"{width} hidden, " for width in job.head.hidden)
    kind = "full" if delta is None else f"delta: {len(delta):,} tensors are those of the base"
    facts = {
        "head": f"{hidden}{job.head.outputs:,} outputs",
        "classes": f"{len(manifest.classes):,}: {listed(manifest.classes)}",
        "accuracy": card.accuracy(manifest.metrics) or "not measured",
        "size": f"{size / 1e6:,.2f} MB",
        "weights": f"{kind}; compress {job.compress}",
        "base": base.reference + (f", revision {base.revision}" if base.revision else ""),
    }
    console.table(["fact", "value"], list(facts.items()), title=str(package.folder))
