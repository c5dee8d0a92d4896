"""The command that makes one package of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hubft.base.console import Console
from hubft.cli.concluding import conclude
from hubft.cli.options import Json, Trust


def soup(
    packages: Annotated[list[str], Parameter(negative=())],
    *,
    data: str,
    output: Path = Path(),
    greedy: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Average the weights of PACKAGES, fine-tunes of one base with the same labels, into one that costs what one costs.

    Parameters
    ----------
    packages
        Two or more: folders of runs or of packages, or owner/name on the Hugging Face Hub.
    data
        Labelled data, as for `finetune`: on its validation part the soup is measured.
    output
        The run's folder; without one it is runs/MODEL-DATA, numbered if that exists.
    greedy
        Take only those that make it no worse on the validation part, from the best one on.
    """
    from hubft.run import derived

    derived.check_several(packages, data)  # told before seconds go into importing torch
    from hubft import engine

    console = Console(as_json=as_json)
    folder = "" if output == Path() else output
    conclude(engine.blend(packages, data, folder, console, greedy=greedy, trust=trust), console)
