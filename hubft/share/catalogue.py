"""The catalogue: the named packages that a hubconf.py offers as entry points.

An entry is a record of a file catalogue.json. Its package lies beside that file in the folder catalogue/NAME, or on
the Hub, recorded with commit and sha256; until there is one, the entry is its base, ready to be fine-tuned. Where
catalogue/NAME holds the package's card, the entry's docstring quotes it.
"""

from __future__ import annotations

import json
import keyword
import re
import symtable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubft.base import digest
from hubft.base.display import listed, visible
from hubft.base.errors import HubftError, PackageError, suggest
from hubft.base.files import write_json, writing
from hubft.base.serialize import from_dict, to_dict
from hubft.publish import hub
from hubft.publish.package import MANIFEST, Package, locate, read

OWN = Path(__file__).with_name("catalogue.json")
"""That of this checkout, or of the hubft that is installed."""
PLACES = ("catalogue.json", "hubft/share/catalogue.json")
"""Where it lies beside a hubconf.py: in an organisation's own repository, and in a checkout of hubft."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")


@dataclass(frozen=True)
class Entry:
    description: str
    """One line."""
    reference: str
    """Of the base, as family:name."""
    hub: str = ""
    """owner/name@COMMIT of the package, 40 hex digits."""
    manifest: str = ""
    """sha256 of that package's hubft.json."""


def of(repository: Path) -> Path | None:
    """Return the catalogue of a torch.hub repository, a folder with a hubconf.py; None where there is none."""
    if not (repository / "hubconf.py").is_file():
        return None
    return next((repository / place for place in PLACES if (repository / place).is_file()), None)


def names(file: Path = OWN) -> list[str]:
    """Return the names of all entries, in the order of the file."""
    return list(_records(file))


def find(name: str, file: Path = OWN) -> Entry:
    """Return the entry of that name.

    :raises HubftError: unknown, the message lists the known ones; or not to be read.
    """
    records = _records(file)
    if name not in records:
        known = listed(records) or "no entry at all"
        raise HubftError(f"the catalogue has no entry {name!r}; it has {known}.{suggest(name, records)}")
    return from_dict(Entry, records[name], f"catalogue.{name}")


def own(name: str, file: Path = OWN) -> Path | None:
    """Return the folder of the package that lies beside the catalogue for this entry, if there is one."""
    return locate(file.parent / "catalogue" / name)


def fetch(name: str, file: Path = OWN) -> Package | None:
    """Return an entry's package, downloaded if need be, every file verified; None while it has none.

    :raises HubftError: not to be had, or not the one that was recorded.
    """
    entry, beside = find(name, file), own(name, file)
    if beside or not entry.hub:
        return read(beside) if beside else None
    if not PINNED.fullmatch(entry.hub):
        raise PackageError(f"the catalogue's {name}: {entry.hub!r} is not pinned to a commit of 40 hex digits")
    package = hub.package(entry.hub)
    if digest.of_file(package.folder / MANIFEST) != entry.manifest:
        raise PackageError(f"the catalogue's {name}: {MANIFEST} of {entry.hub} is not the one that was recorded")
    return package


def check(name: str, reference: str, repository: str, file: Path = OWN) -> None:
    """Check that a fine-tune of `reference` in the Hub's `repository` may become the entry `name`.

    A newer revision of the same repository may; a fine-tune of its own base may where the entry has no package yet.

    :raises HubftError: not a name for an entry, not a repository, or another entry is there.
    """
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise HubftError(
            f"{visible(name)!r} cannot name an entry: it takes lower case letters, digits and _, a letter first, "
            "and no word of Python itself"
        )
    if name in _defined(file):
        raise HubftError(f"{name!r} cannot name an entry: hubconf.py has something of that name; choose another")
    if not hub.REPOSITORY.fullmatch(repository):
        raise HubftError(f"{repository!r} is no repository of the Hub: write owner/name")
    if beside := own(name, file):
        raise HubftError(f"the entry {name!r} has its package in {beside}: choose another name, or take that away")
    if name not in _records(file):
        return
    there = find(name, file)
    if there.hub and there.hub.partition("@")[0] != repository:
        raise HubftError(
            f"the entry {name!r} is {there.hub} already ({there.description}): choose another name, or publish to "
            "that repository"
        )
    if not there.hub and unpinned(there.reference) != unpinned(reference):
        raise HubftError(
            f"the entry {name!r} waits for a fine-tune of {there.reference}, and this is one of {reference}: choose "
            "another name"
        )


def write(name: str, entry: Entry, file: Path = OWN) -> Entry:
    """Return the entry as it now stands in the catalogue; a crash leaves the old file or the new one.

    :raises HubftError: see `check`; or not pinned by commit and sha256.
    """
    check(name, entry.reference, entry.hub.partition("@")[0], file)
    if not PINNED.fullmatch(entry.hub) or not re.fullmatch(r"[0-9a-f]{64}", entry.manifest):
        raise HubftError(f"{entry.hub!r} and {entry.manifest!r} do not pin a package: a commit and a sha256 do")
    entry = replace(entry, description=visible(" ".join(entry.description.split()), 400))
    with writing(file, "the catalogue is as it was; the package is on the Hub: make room, and type it again"):
        write_json(file, {**_records(file), name: to_dict(entry)})
    return entry


def unpinned(reference: str) -> str:
    """Return a reference without the version of its weights or code: `hub:o/r@main:e` becomes `hub:o/r:e`."""
    return re.sub(r"@[^:]*", "", reference)


def _records(file: Path) -> dict[str, Any]:
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HubftError(f"{file} cannot be read as a catalogue: {type(error).__name__}: {error}") from error
    if not isinstance(records, dict):
        raise HubftError(f"{file} is no catalogue: it holds a {type(records).__name__}, not an object of entries")
    return records


def _defined(file: Path) -> set[str]:
    """Return the names that the hubconf.py of this catalogue gives a meaning, its entries left out."""
    file = file.resolve()
    for folder in file.parents[:3]:
        if of(folder) == file:
            code = (folder / "hubconf.py").read_text(encoding="utf-8")
            found = symtable.symtable(code, "hubconf.py", "exec").get_symbols()
            return {s.get_name() for s in found if s.is_assigned() or s.is_imported()}
    return {"dependencies", "finetuned"}
