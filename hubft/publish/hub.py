"""Where packages come from: a folder, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from hubft.base import network, urls
from hubft.base.errors import DamagedPackage, HubError, PackageError
from hubft.publish.package import FILES, MANIFEST, Package, locate, read

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

REPOSITORY = re.compile(r"(?!.*(--|\.\.|\.git$))\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
DENIED = (401, 403)  # HTTP status: a token that is wrong, or may not do this

log = logging.getLogger(__name__)


def package(source: str | Path, revision: str | None = None) -> Package:
    """Return the package of a folder or of a Hub repository, downloaded if need be, every file verified.

    What is damaged in the Hub's cache is downloaded again, once: the client does not look at the bytes it has.

    :param source: folder of a package, or of a run; or `owner/name` or `owner/name@revision` on the Hub.
    :param revision: branch, tag or commit of the Hub repository; without it, the default branch.
    :raises PackageError: no package, or one that is incomplete or altered.
    :raises HubError: there is no such repository or revision, or it cannot be reached.
    """
    folder = fetch(source, revision)
    try:
        return read(folder)
    except DamagedPackage as damage:
        if local(source):
            raise
        said = str(damage).removeprefix(f"{folder}: ")  # without the path, which is nobody's business
        log.warning("hubft: %s in the Hub's cache is damaged (%s): downloading it again", source, said)
    try:
        return read(_download(*_parsed(source, revision), again=True))
    except DamagedPackage as damage:
        raise DamagedPackage(
            f"{source}: {said}; it cannot be downloaded again, or the Hub has no better one"
        ) from damage
    except HubError as error:
        raise DamagedPackage(f"{source}: {said}; and it cannot be downloaded again: {error}") from error


def fetch(source: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a package, downloaded if need be; nothing in it is verified yet. `package` says more."""
    found = local(source)
    if found and revision is not None:
        raise PackageError(f"{str(source)!r} is a folder: it has no revision {revision!r}")
    return found or _download(*_parsed(source, revision))


def local(source: str | Path) -> Path | None:
    """Return where the package of a folder lies, of a package or of a run; None if there is no such folder.

    :raises PackageError: there is the folder, and it holds no package; or the source is a URL.
    """
    if problem := urls.answer(source, package=True):
        raise PackageError(problem)
    folder = Path(source).expanduser()
    found = locate(folder) or locate(folder / "package")
    if not found and folder.is_dir():
        raise PackageError(f"{folder} is no package: it has no {MANIFEST}; a run gets its RUN/package when it finishes")
    return found


def here(source: str | Path) -> Path:
    """Return where the package of a folder lies, which must be there; `local` says more.

    :raises PackageError: there is no such folder, or it holds no package.
    """
    found = local(source)
    if found is None:
        raise PackageError(f"there is no run or package {str(source)!r} here: hubft finetune makes one")
    return found


def _parsed(source: str | Path, revision: str | None) -> tuple[str, str | None]:
    name, at, pinned = str(source).partition("@")
    if not REPOSITORY.fullmatch(name):
        raise PackageError(
            f"{str(source)!r} is neither a folder nor a Hub repository (owner/name or owner/name@revision)"
        )
    if at and (revision is not None or not pinned):
        raise PackageError(f"{str(source)!r} with revision {revision!r}: give one revision, once")
    return name, pinned or revision


def _download(name: str, revision: str | None, again: bool = False) -> Path:
    """Return the snapshot's folder in the Hub's cache; a pinned commit that is there is not asked about."""
    from huggingface_hub import constants, snapshot_download

    which = f"{name}@{revision}" if revision else name
    pinned = bool(COMMIT.fullmatch(revision or ""))
    kept = pinned and not again and _is_kept(name, revision)
    cached = kept or constants.HF_HUB_OFFLINE or not reachable(name, revision)
    try:
        patterns = list(FILES)
        found = snapshot_download(
            name, revision=revision, allow_patterns=patterns, force_download=again, local_files_only=cached
        )
    except Exception as error:
        raise explained(error, name, revision) from error
    folder = locate(Path(found))
    if folder is None:
        raise PackageError(f"the Hub repository {which} is no package: it has no {MANIFEST}")
    if cached and not pinned:
        log.warning("hubft: the Hub cannot be reached: %s is commit %s of its cache", which, folder.name)
    return folder


def _is_kept(name: str, revision: str | None) -> bool:
    """Return whether the Hub's cache has a package at this commit, with all files that are known to belong to it."""
    from huggingface_hub import errors, snapshot_download

    try:
        found = snapshot_download(name, revision=revision, allow_patterns=list(FILES), local_files_only=True)
    except errors.LocalEntryNotFoundError:
        return False
    return locate(Path(found)) is not None


def reachable(name: str, revision: str | None = None) -> bool:
    """Return whether the Hub answers for a revision: within seconds, where the client's own tries take half a minute.

    :raises HubError: it answers that there is no such repository or revision, or that it denies them.
    """
    from huggingface_hub import errors

    try:
        info(name, revision)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise explained(error, name, revision) from error
    except Exception as error:
        if _status(error) in DENIED:
            raise explained(error, name, revision) from error
        log.debug("%s", error)
        return False
    return True


def info(name: str, revision: str | None = None) -> ModelInfo:
    """Return what the Hub says of a repository; the first question of all, for it is not waited for without end.

    HF_HUB_ETAG_TIMEOUT, the client's own, gives it other seconds than `network.PATIENCE`.
    """
    from huggingface_hub import HfApi, constants

    asked = constants.HF_HUB_ETAG_TIMEOUT
    seconds = network.PATIENCE if asked == constants.DEFAULT_ETAG_TIMEOUT else float(asked)
    return network.within(seconds, lambda: HfApi().model_info(name, revision=revision, timeout=seconds))


def explained(error: Exception, name: str, revision: str | None = None) -> HubError:
    """Return an error of the Hub's client as one of ours; the one place that knows them.

    Its classes for the network change with its versions: whatever is not named here is told as it is.
    """
    from huggingface_hub import errors

    which = f"{name}@{revision}" if revision else name
    status = _status(error)
    if isinstance(error, errors.RepositoryNotFoundError):  # also gated ones
        return HubError(
            f"there is no folder {name!r} here, and no repository {name} on the Hub that you may read; "
            "if it is private: hf auth login"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(f"the Hub repository {name} has no revision {revision!r}")
    if isinstance(error, errors.LocalEntryNotFoundError):
        return HubError(f"there is no folder {name!r} here, the Hub cannot be reached, and {which} is not in its cache")
    if status is None and unanswered(error):
        return HubError(f"{which}: the Hub cannot be reached ({type(error).__name__}: {_shown(error)})")
    if status in DENIED:
        return HubError(f"the Hub refuses {name} ({status}): hf auth login, with a token that may do this")
    return HubError(f"{which}: the Hub does not do it: {type(error).__name__}: {_shown(error)}")


def unanswered(error: Exception) -> bool:
    """Return whether a request failed on its way: an error of the network, or one of the client's HTTP library."""
    return isinstance(error, OSError) or type(error).__module__.startswith("http")


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _shown(error: Exception) -> str:
    """Return the text of an error in one line, without the user's token and home folder."""
    from huggingface_hub import get_token

    line = " ".join(str(error).split())
    for private in (get_token(), str(Path.home())):
        line = line.replace(private, "***") if private and len(private) > 1 else line
    return line[:300]
