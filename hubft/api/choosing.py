"""Before a run: which backbone, which learning rate, and which options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from hubft.api.asked import job, spelled
from hubft.base.console import Console
from hubft.choosing import lr_find as finding
from hubft.choosing import rank as ranks
from hubft.choosing import sweep as sweeps
from hubft.choosing.asked import TRIALS, asked
from hubft.choosing.lr_find import Rate
from hubft.choosing.rank import Ranking
from hubft.choosing.rates import STEPS
from hubft.choosing.swept import Swept
from hubft.options import Options, RankOptions
from hubft.reference import ANY
from hubft.tasks import ownloss


@spelled(RankOptions)
def rank(
    references: str | Sequence[str],
    data: str | Path,
    *,
    every: str | Sequence[str] = (),
    budget: str = "",
    output: str | Path = "",
    trust: bool = False,
    quiet: bool = False,
    **options: Unpack[RankOptions],
) -> Ranking:
    """Return backbones on your data from the best down: by a probe each, and with a budget by fine-tunes.

    `Ranking.rows` has a row for each backbone: its score with its interval, its difference to the best one, paired by
    sample, its latency, or why it could not be had (`failure`). The folder holds the same as rank.json and rank.png.

    :param references: models as for `finetune`; none, where `every` names them.
    :param data: as for `finetune`.
    :param every: FAMILY:PATTERN, as timm:resnet*: all models of a family that are called so (`--all`).
    :param budget: time for fine-tunes, such as 10m, by successive halving over the better half of the probes.
    :param output: folder of table, picture and fine-tunes; without one it is runs/rank-DATA. What an earlier call with
        the same folder, data and options found out is kept.
    :param trust: as for `finetune`.
    :param quiet: print nothing.
    :param options: as for `finetune`, those that a rank has.
    :raises HubftError: bad input; no backbone that could be had, or none with a score.
    :raises Stopped: SIGTERM or Ctrl-C during a fine-tune.
    """
    made = job(ANY, data, options, RankOptions)
    made = replace(made, recipe=replace(made.recipe, budget=budget), output=output)
    named, patterns = ((one,) if isinstance(one, str) else tuple(one) for one in (references, every))
    return ranks.rank(asked(named, patterns, made), trust, Console(quiet=quiet))


@spelled(Options)
def lr_find(
    reference: str,
    data: str | Path,
    *,
    steps: int = STEPS,
    trust: bool = False,
    quiet: bool = False,
    **options: Unpack[Options],
) -> Rate:
    """Return the learning rate that a range test suggests for a run, beside what the recipe chooses for it itself.

    `Rate.suggestion` is what `finetune` takes as `lr`; `Rate.curve` has rate and loss of each step, and `default`, the
    recipe's own. The folder holds the same as lr-find.json and lr-find.png.

    :param reference: as for `finetune`, as is `data`.
    :param steps: of the test, at most: it ends where the loss runs away.
    :param trust: as for `finetune`.
    :param quiet: print nothing.
    :param options: as for `finetune`; `output` is the folder, runs/MODEL-DATA without one, numbered if that exists.
    :raises HubftError: bad input; a folder that is taken; a run that trains nothing.
    """
    with ownloss.given(options.get("loss")):
        return finding.find(job(reference, data, options), Console(quiet=quiet), steps=steps, trust=trust)


@spelled(Options)
def sweep(
    reference: str,
    data: str | Path,
    *,
    over: str | Sequence[str] = (),
    trials: int = TRIALS,
    on: str = "",
    trust: bool = False,
    quiet: bool = False,
    **options: Unpack[Options],
) -> Swept:
    """Return what trials of other options came to, and the run of the best of them.

    `Swept.rows` has a row for each trial, from the best down: its options, its score with its interval on training
    samples that were held out, or why it did not come to its end (`done.why`). `luck` says how much of the gain is that
    of having chosen the best, `package` and `validation` are of the run of the best, on data that no trial has seen.
    The folder holds the same as sweep.json and index.html.

    :param reference: as for `finetune`, as is `data`.
    :param over: what is tried of an option, NAME=LOW..HIGH or NAME=A,B, as lr=1e-5..1e-3 or augment=light,standard.
    :param trials: how many points are tried, those of earlier calls with this folder counted.
    :param on: ray: trials run side by side in processes of the Ray that this process joined, of the cluster of
        RAY_ADDRESS, or of all cores and GPUs of this machine; without it one after the other, here.
    :param trust: as for `finetune`.
    :param quiet: print nothing.
    :param options: as for `finetune`, for all trials alike; `budget` is the time of all trials together, `output` the
        folder, runs/sweep-DATA without one.
    :raises HubftError: bad input; a recipe that cannot be trained as it is.
    :raises Stopped: SIGTERM or Ctrl-C; the next call with the same folder goes on.
    """
    texts = (over,) if isinstance(over, str) else tuple(over)
    with ownloss.given(options.get("loss")):
        return sweeps.sweep(job(reference, data, options), texts, trials, Console(quiet=quiet), on=on, trust=trust)
