"""The catalogue: the named packages that hubconf.py offers as entry points.

An entry is a record of catalogue.json. Its package lies in the folder catalogue/NAME, or on the Hub, recorded with
commit and sha256; until there is one, the entry is its base, ready to be fine-tuned. Where catalogue/NAME holds the
package's card, the entry's docstring quotes it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from hubft import digest
from hubft.errors import HubftError, PackageError, suggest
from hubft.job import from_dict
from hubft.publish import hub
from hubft.publish.package import MANIFEST, locate

HERE = Path(__file__).parent
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")


@dataclass(frozen=True)
class Entry:
    description: str
    reference: str
    """Of the base, as family:name."""
    hub: str = ""
    """owner/name@COMMIT of the package, 40 hex digits."""
    manifest: str = ""
    """sha256 of that package's hubft.json."""


def find(name: str) -> Entry:
    """Return the entry of that name.

    :raises HubftError: unknown; the message lists the known ones.
    """
    entries = json.loads(HERE.joinpath("catalogue.json").read_text(encoding="utf-8"))
    if name not in entries:
        raise HubftError(f"the catalogue has no entry {name!r}; it has {', '.join(entries)}.{suggest(name, entries)}")
    return from_dict(Entry, entries[name], f"catalogue.{name}")


def fetch(name: str) -> Path | None:
    """Return the folder of an entry's package, downloaded if need be; None while it has none.

    :raises PackageError: not to be had, or not the one that was recorded.
    """
    entry, own = find(name), locate(HERE / "catalogue" / name)
    if own or not entry.hub:
        return own
    if not PINNED.fullmatch(entry.hub):
        raise PackageError(f"the catalogue's {name}: {entry.hub!r} is not pinned to a commit of 40 hex digits")
    folder = hub.fetch(entry.hub)
    if digest.of_file(folder / MANIFEST) != entry.manifest:
        raise PackageError(f"the catalogue's {name}: {MANIFEST} of {entry.hub} is not the one that was recorded")
    return folder
