"""What is published, and what is fetched: from a run to the Hugging Face Hub, and from there to a machine."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubft.base.bars import Counting, counted, nobody
from hubft.base.display import visible
from hubft.base.errors import Option, PackageError
from hubft.base.files import writing
from hubft.base.folders import new_folder
from hubft.base.serialize import to_dict
from hubft.job import PACKAGE
from hubft.publish import hub, lines, measured
from hubft.publish import package as packages
from hubft.publish.manifest import Manifest
from hubft.publish.package import MANIFEST, Package
from hubft.share import load, upload
from hubft.share.upload import Parcel

Along = Callable[[Package, Path], Mapping[str, Path]]
"""Makes what is sent along with a package: gets it and an empty folder, gives path on the Hub -> file here."""

LOCAL = re.compile(r"[/~\\]|[A-Za-z]:[/\\]|\.{1,2}([/\\]|$)")  # how a path of this machine begins


@dataclass(frozen=True)
class Pushed:
    """A package as it lies on the Hub."""

    name: str
    """owner/name"""
    revision: str
    """Of the commit that holds it, 40 hex digits."""
    manifest: str
    """sha256 of its hubft.json."""
    private: bool
    """Whether only its owner can read it."""
    trust: bool
    """Whether loading it runs foreign code, which asks for trust."""
    gone: tuple[str, ...] = ()
    """Paths of exported files there that were made of another package, and were taken away."""

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}"

    def taken(self) -> Iterator[str]:
        """Yield what a user is told of the files that were taken away, if there are any."""
        if self.gone:
            yield f"removed  {', '.join(self.gone)}: exports of another package; --with sends those of this one"


@dataclass(frozen=True)
class Pulled:
    """A package of the Hub that was downloaded and proved."""

    package: Package
    revision: str
    """Of its commit, 40 hex digits."""
    difference: float
    """Largest, between the logits of its self-test here and those that it states."""


def push(
    source: str | Path,
    name: str,
    *,
    private: bool | None = None,
    revision: str = "",
    message: str = "",
    along: Along | None = None,
    counting: Counting = nobody,
) -> Pushed:
    """Return the package of a run or a folder as it now lies on the Hub, every file compared.

    It is complete and verified on this disk before anything is sent, and what is sent is one commit; what lies in
    `source` is not changed, whatever happens.

    :param name: owner/name of the repository; it is made if need be.
    :param private: a new repository is private unless this is False; one that is there is changed only if it is given.
    :param revision: the branch, made if need be; `main` if empty.
    :param message: of the commit; what was fine-tuned on what, if empty.
    :param along: makes exported files that are sent in the same commit, before the first request; what it raises is
        raised, and nothing is sent.
    :raises PackageError: no package, an altered one, or one that nobody else could load.
    :raises HubError: the Hub refuses, cannot be reached, holds something else, or changed meanwhile.
    """
    branch = revision or "main"
    upload.check_target(name, branch)
    found = packages.read(hub.here(source))
    _check_publishable(found.manifest)
    with tempfile.TemporaryDirectory(prefix="hubft-") as temporary:
        made, staged = (Path(temporary) / part for part in ("made", "staged"))
        for folder in (made, staged):
            folder.mkdir()
        parcel = Parcel(found, along(found, made) if along else {}, staged)
        landed = upload.upload(parcel, name, private, branch, message or _message(found.manifest), counting)
        head, trust = landed.head, lines.foreign(found.manifest)
        return Pushed(name, head.commit, landed.manifest, head.private, trust, landed.gone)


def pull(source: str, *, output: Path | None = None, trust: bool = False, counting: Counting = nobody) -> Pulled:
    """Return a package of the Hub, `owner/name` or `owner/name@revision`: in its cache, verified, and proved.

    :param output: a folder that gets a copy of it; it must not exist.
    :param trust: also prove what is built by code of a repository, which runs that code.
    :raises PackageError: altered, or its self-test fails; or `output` exists.
    :raises HubError: there is no such repository or revision, or it cannot be reached.
    """
    if hub.local(source):
        raise PackageError(f"{source!r} is a folder here: pull takes owner/name or owner/name@revision")
    if output and output.exists():
        raise PackageError(f"{str(output)!r} exists: nothing was written; name another ", Option("output"))
    found = load.package(source)
    _, difference = load.proved(found, trust, counting)
    revision = found.folder.name  # a snapshot is named after its commit
    if output:
        found = _copied(found, output, counting)
    return Pulled(found, revision, difference)


def _copied(package: Package, folder: Path, counting: Counting = nobody) -> Package:
    with writing(folder, "nothing was written; make room, or name another --output"), new_folder(folder) as new:
        names = (MANIFEST, *package.manifest.files)
        for name in counted(counting, names, len(names), "files copied"):
            shutil.copyfile(package.folder / name, new / name)
        packages.read(new)
    return Package(folder, package.manifest)


def _message(manifest: Manifest) -> str:
    reached = measured.headline(manifest)
    what = f"{manifest.job.reference} fine-tuned on {manifest.job.data}"
    return visible(f"{what}: {reached}" if reached else what, 200)


def _check_publishable(manifest: Manifest) -> None:
    """Check that a package says nothing of this machine, and that others can get its base.

    :raises PackageError: a reference to a folder of this machine, or a path in any of the manifest's texts.
    """
    base = manifest.base
    for reference in (manifest.job.reference, base.reference, *base.same_as, *base.below):
        family, _, name = reference.partition(":")
        if LOCAL.match(name) and family == PACKAGE:
            raise PackageError(
                "it lies over a package of this machine, which nobody else could load: push that package first, "
                "and fine-tune it as package:owner/name; or fine-tune it again without --package delta, or with --merge"
            )
        if LOCAL.match(name):
            entry = name[name.rfind(":") :]
            raise PackageError(
                f"its base is a folder of this machine ({family}:...{entry}), which nobody else could load: publish "
                "that repository, and fine-tune it as hub:owner/repo:entry"
            )
    home = str(Path.home())
    for text in _texts(to_dict(manifest)):
        if len(home) > 1 and home in text:
            raise PackageError(f"{MANIFEST} holds the path of your home folder: fine-tune again without it in a name")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*_texts(key), *_texts(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
