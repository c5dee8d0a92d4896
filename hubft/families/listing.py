"""The names of a family's models, where it has a list of them: nothing is fetched.

A family may have, beside its hooks, a function `names()` in its module that gives them.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from hubft.base.errors import FamilyError, JobError
from hubft.families import plugins


def names(family: str) -> list[str]:
    """Return the names of a family's models, sorted.

    :raises FamilyError: it has no list, or the family cannot be used.
    """
    module = plugins.manager(family).get_plugin(family)
    listing = getattr(module, "names", None)
    if not callable(listing):
        raise FamilyError(
            f"the family {family!r} has no list of its models: name them, as in hubft rank {family}:NAME "
            f"{family}:OTHER DATA"
        )
    return sorted(map(str, listing()))


def matching(pattern: str) -> list[str]:
    """Return the references that a pattern means, as in `timm:resnet*`.

    :param pattern: FAMILY:PATTERN, with *, ? and [...] as in a shell.
    :raises JobError: it is none, or it means no model.
    """
    family, colon, wanted = pattern.partition(":")
    if not (family and colon and wanted):
        raise JobError(f"--all {pattern!r}: must be FAMILY:PATTERN, as in --all timm:resnet*")
    plugins.find(family, typed=True)
    known = names(family)
    found = [f"{family}:{name}" for name in known if fnmatchcase(name, wanted)]
    if not found:
        raise JobError(
            f"--all {pattern!r}: none of the {len(known):,} models of {family} is called so, such as {known[0]}; "
            f"try --all {family}:*{wanted.strip('*')[:6]}*"
        )
    return found
