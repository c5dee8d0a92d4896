"""The commands that look at labelled data, through a backbone that stays as it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hubft.base.console import Console
from hubft.cli.options import Json, Trust
from hubft.job import Compute, Job, Labels
from hubft.reference import ANY

Size = Annotated[int, Parameter(help="Side of the model's input, as for `finetune`; 0: the model's own.")]
Surgery = Annotated[str, Parameter(help="Layers that are changed first, as for `finetune`: channels=N.")]
Device = Annotated[str, Parameter(help="cpu, cuda, cuda:N, mps; auto takes the first accelerator.")]
Cache = Annotated[float, Parameter(help="Gigabytes of disk for features, over all runs, as for `finetune`.")]


def look(
    data: str,
    labels: Annotated[Labels | None, Parameter(name="*")] = None,
    *,
    reference: str = "",
    size: Size = 0,
    surgery: Surgery = Job.surgery,
    device: Device = "auto",
    cache: Cache = Compute.cache,
    output: str = "",
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Tell what is in DATA before anything is trained: counts, copies, leaks, suspicious labels. It is not changed.

    Parameters
    ----------
    data
        Labelled data, as for `finetune`.
    reference
        Backbone, as family:name, by whose features near-duplicates and suspicious labels are found; without one that of
        a package that is installed: pip:efficientnet_lite0 for images, pip:minilm_l6 for texts.
    output
        New folder for findings.csv, data.json and contact.png; without one it is runs/data-NAME, numbered if that
        exists.
    """
    from hubft.cli import printing_data
    from hubft.run import inspecting

    asked = inspecting.asked(_job(ANY, data, labels, size, surgery, device, cache, output), reference)
    console = Console(as_json=as_json)
    read = asked.read(console.counting)
    printing_data.show(console, read)  # before seconds go into importing torch
    found = inspecting.inspect(asked, read, console, trust)
    listed = [asdict(finding) for finding in found.findings]
    console.answer({"folder": str(found.folder), **found.facts, "findings": listed})
    printing_data.conclude(console, found)


def _job(
    reference: str,
    data: str,
    labels: Labels | None,
    size: int,
    surgery: str,
    device: str,
    cache: float,
    output: str | Path,
) -> Job:
    """Return the job that the options state."""
    compute, labels = Compute(device=device, cache=cache), labels or Labels()
    return Job(reference, data, labels=labels, compute=compute, size=size, surgery=surgery, output=output)


def features(
    reference: str,
    data: str,
    labels: Annotated[Labels | None, Parameter(name="*")] = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    classifier: str = "",
    size: Size = 0,
    surgery: Surgery = Job.surgery,
    device: Device = "auto",
    cache: Cache = Compute.cache,
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Write the pooled features that REFERENCE gives for DATA, and a table of their paths and targets.

    Parameters
    ----------
    reference
        Pretrained model, as family:name; it stays as it is.
    data
        Labelled data, as for `finetune`.
    output
        New file, .safetensors, for the matrix `features`; the table, of which each row is of a row of that, lies beside
        it, .parquet.
    classifier
        What to fit on them and to measure on the part to validate on, by commas: logistic, for numbers ridge, which is
        the probe that all are compared with; knn, centroid, boosting, of scikit-learn.
    """
    from hubft.cli import printing_data
    from hubft.run import data as reader
    from hubft.run import inspecting

    job = inspecting.of_features(_job(reference, data, labels, size, surgery, device, cache, output))
    console = Console(as_json=as_json)
    read = reader.read(job, counting=console.counting)
    from hubft.run import vectors  # which imports torch: what is wrong with data is told before

    made = vectors.features(job, read, classifier, console, trust)
    console.answer(made.plain())
    console.say(f"features {made.matrix}: {made.rows:,} rows of {made.width:,}")
    console.say(f"table    {made.table}")
    if made.classifiers:
        printing_data.compared(console, made.classifiers, read.word)
