"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

# Loading the fine-tune of a torch.hub repository runs that repository's code, and some exported files are code: only on
# request.
Trust = Annotated[
    bool,
    Parameter(negative=(), help="Run the code of torch.hub repositories that were fine-tuned, and of exported files."),
]

Private = Annotated[
    bool | None,
    Parameter(
        negative="--public",
        help="A new repository is private, unless --public; one that is there changes only if you say so.",
    ),
]
