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
from hubft.base.errors import HubError, Option
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


def upload(package: Package, name: str, private: bool | None, branch: str, message: str) -> Tip:
    """Return the head that holds the package, on a branch of the repository `name`, owner/name.

    :param private: a new repository is private unless this is False; one that is there is changed only if it is given.
    :raises HubError: the Hub refuses, cannot be reached, holds something else, or changed meanwhile.
    """
    from huggingface_hub import HfApi

    api, ids = HfApi(), _ids(package)
    with _failing_well(name):
        head = _opened(api, name, private, branch)
        _refuse_others(head, name)
        if not _holds(head, ids):
            head = _committed(api, package, name, branch, head, ids, message)
        if not _holds(head, ids):
            raise HubError(f"{name}@{head.commit} holds other bytes than were sent: do not use it, and push again")
        if private is False and head.private:
            api.update_repo_settings(name, private=False)
            head = _head(api, name, branch) or head
    return head


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


def _refuse_others(head: Tip, name: str) -> None:
    others = sorted(set(head.tree) - {CARD, ".gitattributes"})
    if others and MANIFEST not in head.tree:
        raise HubError(f"{name} holds something that is no package of hubft ({', '.join(others[:3])}): push elsewhere")


def _ids(package: Package) -> dict[str, tuple[str, str]]:
    """Return each file's sha256, of the manifest, and git's blob id, of the disk: the Hub shows one of them."""
    sha256 = {MANIFEST: digest.of_file(package.folder / MANIFEST)}
    sha256 |= {path: file.sha256 for path, file in package.manifest.files.items()}
    return {path: (known, _blob_id(package.folder / path)) for path, known in sha256.items()}


def _blob_id(path: Path) -> str:
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            blob.update(chunk)
    return blob.hexdigest()


def _holds(head: Tip, ids: Mapping[str, tuple[str, str]]) -> bool:
    """Return whether a head's tree has the package's files, and no other file that a package may have."""
    equal = all(head.tree.get(path) in known for path, known in ids.items())
    return equal and not [path for path in FILES if path in head.tree and path not in ids]


def _committed(
    api: HfApi, package: Package, name: str, branch: str, parent: Tip, ids: Mapping[str, tuple[str, str]], message: str
) -> Tip:
    """Return the head after one commit on `parent`, whichever way the answer to it went."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    added = [CommitOperationAdd(path, package.folder / path) for path in ids]
    gone = [CommitOperationDelete(path) for path in FILES if path in parent.tree and path not in ids]

    def commit() -> None:
        api.create_commit(name, [*added, *gone], commit_message=message, revision=branch, parent_commit=parent.commit)

    for wait in (*WAITS, None):
        failed = _tried(commit)
        head = _head(api, name, branch) or parent
        if failed is None or _holds(head, ids):
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
