"""A package's way to the Hub: one commit, guarded by its parent, and looked at again when it is there.

The client's commit has no retry where a second try is safe, and fails although it landed where an answer is lost
(huggingface_hub 2.4). So whatever happens, the head is read again, and its tree says what is true.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hubft.base import digest, urls
from hubft.base.bars import Counting
from hubft.base.errors import HubError, Option
from hubft.publish import exports, package
from hubft.publish.hub import COMMIT, REPOSITORY, explained, info, unanswered
from hubft.publish.package import CARD, FILES, MANIFEST, Package

if TYPE_CHECKING:
    from huggingface_hub import HfApi

WAITS = (1, 2, 4, 8)  # seconds before the commit is tried again, unless the Hub names a time
LONGEST_WAIT = 120  # seconds; where the Hub asks for more, the user is told instead
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP status: may go well next time
GO_ON = "nothing is lost, the package is as it was; type the same command again: what has arrived is not sent twice"

Ids = dict[str, str]  # path -> sha256, or git's blob id of a file that the Hub does not keep in LFS


@dataclass(frozen=True)
class Tip:
    commit: str
    tree: Ids
    private: bool


@dataclass(frozen=True)
class Parcel:
    """What shall lie on the Hub, as it lies here."""

    package: Package
    exports: Mapping[str, Path]
    """Path there -> exported file here, or one that belongs to it."""
    folder: Path
    """Empty, for what is written of it."""


@dataclass(frozen=True)
class Landed:
    """What lies on the Hub."""

    head: Tip
    manifest: str
    """sha256 of the package's hubft.json."""
    gone: tuple[str, ...]
    """Exported files of another package, which were taken away."""


@dataclass(frozen=True)
class _Sending:
    """What a commit makes of the head that it is put on."""

    files: Mapping[str, Path]
    """Path there -> file here."""
    ids: Mapping[str, tuple[str, str]]
    """Path there -> its sha256 and git's blob id: the Hub shows one of them."""
    gone: tuple[str, ...]
    """Exported files that must not stay."""


def upload(parcel: Parcel, name: str, private: bool | None, branch: str, message: str, counting: Counting) -> Landed:
    """Return what now lies at the head of a branch of the repository `name`, owner/name.

    Exported files that are there stay if they were made of this package, and go in the same commit if they were not.

    :param private: a new repository is private unless this is False; one that is there is changed only if it is given.
    :raises HubError: the Hub refuses, cannot be reached, holds something else, or changed meanwhile.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _failing_well(name):
        head = _opened(api, name, private, branch)
    _refuse_others(head, name, parcel.exports)
    with counting("files staged and hashed", None):
        sending = _sending(parcel, head, name)
    with _failing_well(name):
        if not _holds(head, sending):
            head = _committed(api, sending, name, branch, head, message)
        if not _holds(head, sending):
            raise HubError(f"{name}@{head.commit} holds other bytes than were sent: do not use it, and push again")
        if private is False and head.private:
            api.update_repo_settings(name, private=False)
            head = _head(api, name, branch) or head
    return Landed(head, sending.ids[MANIFEST][0], sending.gone)


def check_target(name: str, branch: str) -> None:
    """Check what the user typed, before any request.

    :raises HubError: no owner/name, or a commit where a branch is meant.
    """
    if not REPOSITORY.fullmatch(name):
        raise HubError(
            urls.answer(name, package=True)
            or f"{name!r} is no repository of the Hub: write owner/name, as in me/flowers"
        )
    if COMMIT.fullmatch(branch):
        raise HubError(
            Option("revision"),
            f" {branch}: a commit cannot be pushed to; name a branch, as in ",
            Option("revision"),
            " v2",
        )


@contextmanager
def _failing_well(name: str) -> Iterator[None]:
    try:
        yield
    except HubError:
        raise
    except Exception as error:  # the client's own classes, those of its HTTP library, and those of its data store
        raise HubError(f"{explained(error, name)} ({GO_ON})") from error


def _opened(api: HfApi, name: str, private: bool | None, branch: str) -> Tip:
    """Return the branch's head; the repository and the branch are made where they are not there."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        there = info(name)
    except RepositoryNotFoundError:
        api.create_repo(name, private=private is not False, exist_ok=True)
    else:
        if private and not there.private:
            api.update_repo_settings(name, private=True)  # before anything is sent
    head = _head(api, name, branch)
    if head is None:
        api.create_branch(name, branch=branch, exist_ok=True)
        head = _head(api, name, branch)
    if head is None:
        raise HubError(f"{name}: the Hub does not show the branch {branch!r} that was made; {GO_ON}")
    return head


def _head(api: HfApi, name: str, branch: str) -> Tip | None:
    from huggingface_hub.errors import RevisionNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        info = api.model_info(name, revision=branch)
    except RevisionNotFoundError:
        return None
    files = [file for file in api.list_repo_tree(name, revision=info.sha, recursive=True) if isinstance(file, RepoFile)]
    tree = {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}
    return Tip(str(info.sha), tree, bool(info.private))


def _refuse_others(head: Tip, name: str, sent: Mapping[str, Path]) -> None:
    others = sorted(set(head.tree) - {CARD, ".gitattributes"})
    if others and MANIFEST not in head.tree:
        raise HubError(f"{name} holds something that is no package of hubft ({', '.join(others[:3])}): push elsewhere")
    foreign = [folder for folder in exports.folders(sent) if exports.marked(folder) not in head.tree]
    if theirs := [path for path in sent if path in head.tree and exports.folders([path]) <= set(foreign)]:
        raise HubError(f"{name} holds {theirs[0]}, which hubft did not put there: delete it there, or push elsewhere")


def _sending(parcel: Parcel, head: Tip, name: str) -> _Sending:
    """Return what makes of a head one that holds a package, with the exported files that are of it."""
    mark = parcel.folder / exports.MARK
    mark.write_bytes(exports.mark(parcel.package.manifest))
    marked = _of_disk(mark)
    kept, stale = exports.sorted_out(head.tree, marked)
    there = [place for place in exports.PLACES.values() if place in kept or place in parcel.exports]
    staged = package.stage(parcel.package, parcel.folder / "package", name, there)
    ours = {path: staged.folder / path for path in (MANIFEST, *staged.manifest.files)}
    sent = dict(parcel.exports) | {exports.marked(folder): mark for folder in exports.folders(parcel.exports)}
    sha256 = {path: file.sha256 for path, file in staged.manifest.files.items()}
    ids = {path: (sha256.get(path) or digest.of_file(file), _blob_id(file)) for path, file in ours.items()}
    ids |= {path: _of_disk(file) for path, file in sent.items()}
    return _Sending(ours | sent, ids, tuple(path for path in stale if path not in sent))


def _of_disk(path: Path) -> tuple[str, str]:
    return digest.of_file(path), _blob_id(path)


def _blob_id(path: Path) -> str:
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            blob.update(chunk)
    return blob.hexdigest()


def _holds(head: Tip, sending: _Sending) -> bool:
    """Return whether a head's tree has the files, and none that must go."""
    equal = all(head.tree.get(path) in known for path, known in sending.ids.items())
    return equal and not _going(head, sending)


def _going(head: Tip, sending: _Sending) -> list[str]:
    """Return the paths of a head that must go: what else a package may have, and exported files of another."""
    return [path for path in (*FILES, *sending.gone) if path in head.tree and path not in sending.ids]


def _committed(api: HfApi, sending: _Sending, name: str, branch: str, parent: Tip, message: str) -> Tip:
    """Return the head after one commit on `parent`, whichever way the answer to it went."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    added = [CommitOperationAdd(path, file) for path, file in sending.files.items()]
    gone = [CommitOperationDelete(path) for path in _going(parent, sending)]

    def commit() -> None:
        api.create_commit(name, [*added, *gone], commit_message=message, revision=branch, parent_commit=parent.commit)

    for wait in (*WAITS, None):
        failed = _tried(commit)
        head = _head(api, name, branch) or parent
        if failed is None or _holds(head, sending):
            return head
        if head.commit != parent.commit:
            raise HubError(
                f"{name} changed while the package was sent: its {branch} is now commit {head.commit}, made by someone "
                "else; look at it, then push again to put yours on top; nothing is lost"
            )
        wait = wait and max(wait, _asked(failed))
        if wait is None or wait > LONGEST_WAIT or not _passing(failed):
            raise failed
        time.sleep(wait)
    raise AssertionError("the last wait is None")


def _tried(commit: Callable[[], None]) -> Exception | None:
    try:
        commit()
    except Exception as error:  # the tree says what became of it
        return error
    return None


def _passing(error: Exception) -> bool:
    """Return whether a request that failed may go well in a while: so says its status, or there was no answer."""
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in PASSING
    return unanswered(error)


def _asked(error: Exception) -> int:
    """Return the seconds that the Hub asks to wait, 0 if it names none."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    asked = headers.get("Retry-After", "")
    return int(asked) if asked.isdigit() else 0
