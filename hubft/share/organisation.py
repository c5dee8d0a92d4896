"""An organisation's own torch.hub repository: make one, publish entries to it, prove them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hubft.base.bars import Counting, nobody
from hubft.base.display import visible
from hubft.base.errors import HubftError
from hubft.base.files import writing
from hubft.base.folders import new_folder
from hubft.publish import hub, lines, measured
from hubft.publish import package as packages
from hubft.publish.manifest import Manifest
from hubft.share import catalogue, load, transfer
from hubft.share.catalogue import Entry

TEMPLATES = Path(__file__).parent / "templates" / "hub"
SUFFIX = ".txt"  # of a template, so that no tool takes it for a source of hubft itself
INSTALL = "pip install hubft"  # in a template: stands for the command that installs it from where it is


@dataclass(frozen=True)
class Verdict:
    """What `verify` found of an entry."""

    name: str
    difference: float | None = None
    """Of the self-test's logits; None if they were not compared."""
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        return "nothing published yet" if self.difference is None else f"proved, logits differ by {self.difference:.2g}"


def publish(
    source: Path, name: str, to: str, *, file: Path, description: str = "", private: bool | None = None
) -> tuple[Entry, transfer.Pushed]:
    """Return the entry that now stands in the catalogue, and its package as it lies on the Hub.

    What can be refused is refused before anything is sent. Killed between the push and the writing of the entry, the
    same call ends well: what lies on the Hub already is not sent again.

    :param source: folder of a run or of a package.
    :param name: of the entry: an identifier in lower case.
    :param to: owner/name on the Hub; it is made if need be.
    :param file: the catalogue.
    :param description: one line; the model, its data, classes and accuracy, if empty.
    :param private: as for `hubft.share.transfer.push`.
    :raises HubftError: no package, another entry is there, or what `hubft.share.transfer.push` raises.
    """
    folder = hub.here(source)
    manifest = packages.read(folder, verify=False).manifest  # whoever sends it verifies it
    catalogue.check(name, manifest.origin, to, file)
    if not os.access(file, os.W_OK) or not os.access(file.parent, os.W_OK):
        raise HubftError(f"{file} cannot be written: nothing was pushed")
    pushed = transfer.push(folder, to, private=private)
    entry = Entry(description or summary(manifest), manifest.origin, str(pushed), pushed.manifest)
    return catalogue.write(name, entry, file), pushed


def summary(manifest: Manifest) -> str:
    """Return one line on a package: model, data, names of its outputs, headline with its interval."""
    names = manifest.task.names
    shown = [visible(name, 24) for name in names[:5]]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    reached = visible(measured.headline(manifest), 200)
    what = f"{manifest.job.reference} fine-tuned on {visible(str(manifest.job.data))}: {', '.join(shown)}{more}."
    return f"{what} {reached[0].upper()}{reached[1:]}." if reached else what


def verify(names: Sequence[str], file: Path, trust: bool = False, counting: Counting = nobody) -> Iterator[Verdict]:
    """Yield a verdict on each of these entries, of all if none is named: fetched, built, and proved by its self-test.

    :param trust: also prove what is built by code of repositories, which runs that code.
    """
    for name in names or catalogue.names(file):
        try:
            yield _proved(name, file, trust, counting)
        except Exception as error:  # of whatever library: the others are to be looked at too
            kind = "" if isinstance(error, HubftError) else f"{type(error).__name__}: "
            yield Verdict(name, problem=kind + " ".join(str(error).split()))


def _proved(name: str, file: Path, trust: bool, counting: Counting) -> Verdict:
    package = catalogue.fetch(name, file)
    if package is None:
        return Verdict(name)
    return Verdict(name, load.proved(package, trust, counting)[1])


def init(folder: Path) -> list[Path]:
    """Return the files of the torch.hub repository that now lies in `folder`, written whole or not at all.

    :raises HubftError: the folder is there and not empty, or cannot be written.
    """
    target = folder.resolve()
    if target.exists() and not target.is_dir():
        raise HubftError(f"{folder} is no folder: nothing was written; name a new one")
    if target.exists() and any(target.iterdir()):
        raise HubftError(f"{folder} is not empty: nothing was written; name a new folder")
    if target == Path.cwd():
        raise HubftError("a folder is made from outside of it: cd .. and name it")
    with writing(folder, "nothing was written; make room, or name another folder"), new_folder(target) as new:
        for template in TEMPLATES.glob(f"*{SUFFIX}"):
            text = template.read_text(encoding="utf-8").replace(INSTALL, lines.install())
            (new / template.name.removesuffix(SUFFIX)).write_text(text, encoding="utf-8")
    return sorted(folder.iterdir())
