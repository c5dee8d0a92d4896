"""What a config.json says, read with suspicion: it may be anyone's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import transformers

from hubft.base.errors import FamilyError, reason, suggest
from hubft.base.quiet import quiet

MAP = "auto_map"  # in a config.json, the classes that its own code has
FOREIGN = (MAP, "attn_implementation", "_attn_implementation", "experts_implementation", "quantization_config")
"""Keys of a config.json by which transformers would run or fetch code that is not its own, or change the layers."""
LABELS = ("id2label", "label2id")
DEEPEST, LARGEST = 1024, 2**24  # blocks of a stranger's config, and any other whole number in it


def native(reference: str, stated: Mapping[str, Any]) -> Any:
    """Return a config of a class that is transformers' own.

    :raises FamilyError: of a kind that it does not have; `read` says what else.
    """
    kind, types = stated.get("model_type"), transformers.CONFIG_MAPPING
    if not isinstance(kind, str) or kind not in types:
        near = suggest(str(kind), list(types.keys()))
        version = transformers.__version__
        raise FamilyError(f"{reference}: transformers {version} knows no models of type {kind!r}.{near}")
    return read(reference, stated, types[kind])


def read(reference: str, stated: Mapping[str, Any], kind: Any) -> Any:
    """Return a config of a class.

    :raises FamilyError: it asks for code that is not known, or for sizes that nobody builds, or is not one.
    """
    _require_bounds(reference, stated)
    try:
        with silent():
            return kind.from_dict(dict(stated))
    except Exception as error:  # whatever a class says of values that are none
        raise FamilyError(f"{reference}: its config cannot be used: {reason(error)}") from error


def _require_bounds(reference: str, stated: Mapping[str, Any]) -> None:
    """Refuse what asks for other code, or for sizes that nobody builds, in a config or in one inside it."""
    if foreign := [key for key in FOREIGN if stated.get(key)]:
        raise FamilyError(f"{reference}: its config asks for {foreign[0]}, which hubft does not follow")
    for key, value in stated.items():
        if type(value) is int and abs(value) > (DEEPEST if "layers" in key else LARGEST):
            raise FamilyError(f"{reference}: {key} of {value:,} in its config")
        if isinstance(value, Mapping) and key not in LABELS:
            _require_bounds(reference, value)


@contextmanager
def silent() -> Iterator[None]:
    """Have transformers and what it imports say nothing, and show no bar: what counts is asked for, and told as an
    error."""
    log = transformers.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with quiet():
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
