"""Where packages come from: a folder, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from hubft.errors import PackageError
from hubft.publish.package import FILES, MANIFEST, locate

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def fetch(source: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a package, downloaded if need be; nothing in it is verified yet.

    :param source: folder of a package, or of a run; or `owner/name` or `owner/name@revision` on the Hub.
    :param revision: branch, tag or commit of the Hub repository; without it, the default branch.
    :raises PackageError: there is no such folder or repository, or it cannot be reached.
    """
    folder = Path(source).expanduser()
    found = locate(folder) or locate(folder / "package")
    if found and revision is not None:
        raise PackageError(f"{str(source)!r} is a folder: it has no revision {revision!r}")
    if found:
        return found
    if folder.is_dir():
        raise PackageError(f"{folder} is no package: it has no {MANIFEST}; a run gets its RUN/package when it finishes")
    name, at, pinned = str(source).partition("@")
    if not REPOSITORY.fullmatch(name):
        raise PackageError(
            f"{str(source)!r} is neither a folder nor a Hub repository (owner/name or owner/name@revision)"
        )
    if at and (revision is not None or not pinned):
        raise PackageError(f"{str(source)!r} with revision {revision!r}: give one revision, once")
    return _download(name, pinned or revision)


def _download(name: str, revision: str | None) -> Path:
    """Return the snapshot's folder in the Hub's cache; the one place that knows the Hub's errors."""
    from huggingface_hub import errors, snapshot_download

    which = f"{name}@{revision}" if revision else name
    try:
        folder = locate(Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES))))
    except errors.RepositoryNotFoundError as error:  # also gated ones
        raise PackageError(
            f"there is no folder {name!r} here, and no repository {name} on the Hub that you may read; "
            "if it is private: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise PackageError(f"the Hub repository {name} has no revision {revision!r}") from error
    except errors.LocalEntryNotFoundError as error:
        raise PackageError(
            f"there is no folder {name!r} here, the Hub cannot be reached, and {which} is not in its cache "
            f"({type(error.__cause__ or error).__name__})"
        ) from error
    except Exception as error:  # whatever else: the classes of the client's HTTP library change with its versions
        line = " ".join(str(error).split())
        raise PackageError(f"{which} cannot be had from the Hub: {type(error).__name__}: {line[:300]}") from error
    if folder is None:
        raise PackageError(f"the Hub repository {which} is no package: it has no {MANIFEST}")
    return folder
