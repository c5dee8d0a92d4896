"""References to models: `family:name`, and what of one a package may say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hubft.base.errors import JobError

PACKAGE = "package"  # the family of models that are packages themselves
ANY = "any:any"  # of a job whose reference is still to be chosen


@dataclass(frozen=True)
class Reference:
    """`family:name`; all after the first colon belongs to the family."""

    family: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        family, _, name = text.partition(":")
        if name.startswith("//"):
            raise JobError(f"{text!r} is a URL: write family:name, as in timm:resnet18.a1_in1k")
        if not name or not family.isidentifier():
            raise JobError(
                f"{text!r} is no model reference: write family:name, as in timm:resnet18.a1_in1k; "
                "`hubft families` lists the families"
            )
        return cls(family, name)

    def __str__(self) -> str:
        return f"{self.family}:{self.name}"


def unplaced(reference: str, of: str = PACKAGE) -> str:
    """Return a reference to a package of this machine by the name of its folder alone; any other as it is.

    :param of: a family more whose models may lie in folders, where nobody needs the folder any more.
    """
    family, _, name = reference.partition(":")
    folder = Path(name)
    if family not in (PACKAGE, of) or not folder.is_absolute():
        return reference
    return f"{family}:{named(folder.parent if folder.name == 'package' else folder, 'local')}"


def named(path: Path, otherwise: str) -> str:
    """Return the name of a file or folder without where it lies; `otherwise` where it has none that is to be told."""
    return path.name if path.name not in ("", Path.home().name) else otherwise
