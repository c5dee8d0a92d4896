"""Code that a model brings, which is neither its family's nor its library's: whether it may run, and which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from hubft.base.display import listed, visible
from hubft.base.errors import BaseMismatch, FamilyError, Option, PackageError


@dataclass(frozen=True)
class Trust:
    """What may run of the code that a model brings."""

    given: bool = False
    """Whether the user trusts it (`--trust`)."""
    code: Mapping[str, str] | None = None
    """sha256 by name of the files that may run, and no others: of a package, of a run that goes on. None: those that
    are there."""

    def require(self, reference: str, files: Iterable[str]) -> None:
        """Refuse code that nobody said they trust, before any of it is read.

        :raises PackageError: of a package.
        :raises FamilyError: of a model that the user named.
        """
        if self.given:
            return
        if self.code is not None:
            raise untrusted(reference, self.code or files)
        raise FamilyError(
            f"{reference} brings code of its own, {_named(files)}, which runs when the model is built: if you trust "
            "whoever wrote it, say so by ",
            Option("trust"),
        )

    def verify(self, reference: str, found: Mapping[str, str]) -> None:
        """Refuse other code than that which was trusted.

        :param found: sha256 by name.
        :raises BaseMismatch: a file has other bytes, or is new.
        """
        other = [name for name, sha256 in found.items() if self.code is not None and self.code.get(name) != sha256]
        if other:
            raise BaseMismatch(
                f"the code of {reference} is not that which the model was trained with: {_named(other)} has other "
                "bytes, and was not run; bring back what was there"
            )


NONE = Trust()
TRUST: ContextVar[Trust] = ContextVar("trust", default=NONE)
"""Of the model that is loaded: for a family that would run its code."""


@contextmanager
def trusting(given: bool, code: Mapping[str, str] | None = None) -> Iterator[None]:
    """Have `TRUST` be this."""
    token = TRUST.set(Trust(given, code))
    try:
        yield
    finally:
        TRUST.reset(token)


def untrusted(reference: str, files: Iterable[str] = ()) -> PackageError:
    """Return what is said of a package whose model is built by code that nobody said they trust."""
    which = f" ({_named(files)})" if files else ""
    return PackageError(
        f"loading this package runs the code of {reference}{which}, which is no part of it; if you trust that "
        "code, load with trust=True, or --trust"
    )


def _named(files: Iterable[str]) -> str:
    return visible(listed(files), 400)
