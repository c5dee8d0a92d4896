"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

# Loading the fine-tune of a torch.hub repository runs that repository's code, a model may have code beside its weights,
# and some exported files are code: only on request.
Trust = Annotated[
    bool,
    Parameter(
        negative=(),
        help="Run code that is neither hubft's nor a library's: beside the weights of a model of transformers, of "
        "torch.hub repositories that were fine-tuned, and of exported files.",
    ),
]

Json = Annotated[
    bool,
    Parameter(
        name="--json",
        negative=(),
        help="One JSON object on stdout, and nothing else there: lines for people go to stderr, tables are left out.",
    ),
]

Tta = Annotated[
    Literal["flips", "crops"] | None,
    Parameter(
        help="Answer by the mean over views of a picture: itself and its mirror image, or itself and its four corners."
    ),
]

Others = Annotated[
    tuple[str, ...],
    Parameter(
        name="--with",
        negative=(),
        help="A further package of the same task and names: answers are the mean of those of all packages.",
    ),
]

Private = Annotated[
    bool | None,
    Parameter(
        negative="--public",
        help="A new repository is private, unless --public; one that is there changes only if you say so.",
    ),
]
