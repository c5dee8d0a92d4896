"""The commands before a run: which backbone, which learning rate, and which options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hubft.base.console import Console
from hubft.base.errors import JobError
from hubft.base.files import read_json
from hubft.choosing import asked as space
from hubft.choosing.asked import TRIALS, Asked, asked
from hubft.cli.options import Json, Trust
from hubft.families import plugins
from hubft.job import Compute, Head, Job, Labels, Recipe
from hubft.reference import ANY


def rank(
    *words: Annotated[str, Parameter(negative=())],
    every: Annotated[list[str] | None, Parameter(name="--all", negative=())] = None,
    budget: str = "",
    labels: Annotated[Labels | None, Parameter(name="*")] = None,
    head: Annotated[Head | None, Parameter(name="*")] = None,
    compute: Annotated[Compute | None, Parameter(name="*")] = None,
    size: int = Job.size,
    surgery: str = Job.surgery,
    holdout: float = Job.holdout,
    epochs: int = Recipe.epochs,
    batch_size: int = Recipe.batch_size,
    seed: int = Recipe.seed,
    output: Path | None = None,
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Rank backbones on your data, REFERENCE... DATA: by a probe each, and with --budget by fine-tunes.

    Parameters
    ----------
    words
        REFERENCE... DATA: models as for `finetune`, then the labelled data.
    every
        FAMILY:PATTERN, as in timm:resnet*: all models of a family that are called so, where it has a list of them.
    budget
        Time for fine-tunes, such as 10m: successive halving (Jamieson and Talwalkar 2016) over the better half of the
        probes. Without it there are none.
    size
        As for `finetune`, as are the options below.
    output
        Folder of table, picture and fine-tunes; without it runs/rank-DATA. A rank that was killed goes on there.
    """
    recipe = Recipe(budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
    job = Job(ANY, words[-1] if words else "", recipe=recipe, size=size, holdout=holdout, output=output or "")
    job = replace(job, labels=labels or Labels(), head=head or Head(), compute=compute or Compute(), surgery=surgery)
    _ranked(asked(words[:-1], every or (), job), Console(as_json=as_json), trust)


def _ranked(what: Asked, console: Console, trust: bool) -> None:
    """Rank backbones, and print what was found."""
    from hubft.data import reading

    reading.check(str(what.job.data))  # what is wrong is told before seconds go into importing torch
    from hubft.choosing import rank as ranks
    from hubft.choosing import shown

    found = ranks.rank(what, trust, console)
    console.answer({"folder": str(found.folder), **read_json(found.folder / ranks.TABLE)})
    shown.show(console, found.rows, found.facts)
    console.say(f"written  {found.folder / ranks.TABLE}")
    console.say(f"picture  {found.folder / ranks.PICTURE}")
    console.say(f"next     {found.next}")


def lr_find(
    job: Annotated[Job | None, Parameter(name="*")] = None,
    *,
    steps: int = 100,
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Look for a learning rate for the run of REFERENCE on DATA: a range test by the run's own loop.

    It takes the options of `finetune`, and says the line of the run with the rate that is suggested. --output is the
    folder of curve and numbers; without it runs/MODEL-DATA, numbered if that exists.

    Parameters
    ----------
    steps
        Of the test, at most: it ends where the loss runs away.
    """
    if job is None:
        raise JobError("lr-find needs REFERENCE and DATA: hubft lr-find timm:resnet18.a1_in1k flowers/")
    plugins.find(job.family, typed=True)  # what is wrong is told before seconds go into importing torch
    from hubft.run import data, folder

    folder.free(job)  # as above
    console = Console(as_json=as_json)
    read = data.read(job, counting=console.counting)
    from hubft.choosing import curve as curves
    from hubft.choosing import lr_find as finding

    found = finding.find(job, console, read, steps=steps, trust=trust)
    curve = found.curve
    console.answer({"folder": str(found.folder), **curve.plain(), "next": found.next})
    for text in curves.drawn(curve):
        console.say(text)
    ended = "the loss ran away" if curve.ran_away else "it was done, and the loss did not run away"
    console.say(
        f"range    from {curve.rates[0]:.0e} to {curve.rates[-1]:.2g} in {len(curve.rates)} steps, then {ended}"
    )
    console.say(
        f"suggests {curve.suggestion:.2g} (s): a tenth of {curve.edge:.2g} (e), the largest rate that does no harm"
    )
    console.say(f"recipe   {curve.default:.2g} (d) is what it chooses for this run itself")
    console.say(f"written  {found.folder / finding.NUMBERS}")
    console.say(f"picture  {found.folder / finding.PICTURE}")
    console.say(f"next     {found.next}")


def sweep(
    job: Annotated[Job | None, Parameter(name="*")] = None,
    *,
    over: Annotated[list[str] | None, Parameter(negative=())] = None,
    trials: int = TRIALS,
    on: str = "",
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Try options of the run of REFERENCE on DATA, and train the best: a study of Optuna, by the run's own loop.

    It takes the options of `finetune`, for all trials alike; --budget is the time of all trials together. Trials are
    measured on training images that are held out; only the best is measured on the validation part. A sweep that was
    killed goes on by the same line, and the same line in several processes at once shares the trials. --output is the
    folder; without it runs/sweep-DATA.

    Parameters
    ----------
    over
        What is tried of an option of `finetune`: NAME=LOW..HIGH or NAME=A,B, as lr=1e-5..1e-3 or
        augment=light,standard; by semicolons where values hold commas, as in "train=head;all,-norms".
    trials
        How many points are tried.
    on
        ray: trials run side by side in processes of the Ray cluster of RAY_ADDRESS, or of all cores and GPUs of this
        machine; without it one after the other, here.
    """
    if job is None:
        example = "hubft sweep timm:resnet18.a1_in1k flowers/ --over lr=1e-5..1e-3 --trials 20"
        raise JobError(f"sweep needs REFERENCE and DATA: {example}")
    space.where(on, job)
    space.over(over or (), trials, job)  # what is wrong is told before seconds go into importing torch
    from hubft.run import data

    console = Console(as_json=as_json)
    read = data.read(job, counting=console.counting)
    from hubft.choosing import sweep as sweeps
    from hubft.choosing import swept

    found = sweeps.sweep(job, over or (), trials, console, read, on=on, trust=trust)
    console.answer({"folder": str(found.folder), **found.plain()})
    swept.show(console, found)
