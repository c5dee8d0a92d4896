"""Models whose code lies beside their weights (`auto_map` of a config.json): run on request, as transformers runs it.

The files are those of the folder, or of that very commit of the repository. Their sha256 are part of what builds the
model, so that a package which holds none of them is built by the same code or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_class_from_dynamic_module, get_relative_import_files
from transformers.models.auto.auto_factory import add_generation_mixin_to_remote_model

from hubft.base import digest
from hubft.base.display import listed, visible
from hubft.base.errors import FamilyError, HubftError
from hubft.base.quiet import quiet
from hubft.families import entries
from hubft.families.trust import TRUST
from hubft_transformers import files
from hubft_transformers.configs import MAP
from hubft_transformers.models import Brought, Use

CONFIG = "AutoConfig"


def use(reference: str, name: str, stated: Mapping[str, Any], uses: Sequence[Use]) -> tuple[Use, dict[str, str]]:
    """Return what a model is for whose config.json asks for code, with the classes of that code, and the sha256 of its
    files by name.

    :param name: of the reference, by which the files are found, downloaded if need be.
    :raises FamilyError: nobody said that it may run; it is not there, lies elsewhere, fails, or has no such class.
    :raises BaseMismatch: it is not the code that a package was trained with.
    """
    asked = stated[MAP] if isinstance(stated[MAP], Mapping) else {}
    found = next((one for one in uses if one.auto in asked), None)
    wanted = [asked[key] for key in ((CONFIG, found.auto) if found else asked) if key in asked]
    modules = list(dict.fromkeys(_module(reference, one) for one in wanted))
    TRUST.get().require(reference, [f"{one}.py" for one in modules])
    if found is None:
        raise FamilyError(
            f"{reference}: its code has no {' and no '.join(one.auto for one in uses)}, which this task takes, but "
            f"{visible(listed(asked), 400)}: take another model"
        )
    folder = files.found(name, pretrained=False, code=True).folder
    try:
        sha256 = _digests(folder, modules)
        TRUST.get().verify(reference, sha256)
        with quiet():
            *config, model = (get_class_from_dynamic_module(one, folder, local_files_only=True) for one in wanted)
    except HubftError:
        raise
    except (Exception, SystemExit) as error:  # anyone's code
        raise FamilyError(f"{reference}: its code cannot be run: {entries.why(error)}") from error
    model = add_generation_mixin_to_remote_model(model) if found.own else model
    return replace(found, brought=Brought(model, *config)), sha256


def _module(reference: str, stated: Any) -> str:
    """Return the module of a class, as `auto_map` names it."""
    repository, apart, path = str(stated).rpartition("--")
    if apart:
        raise FamilyError(
            f"{reference}: its code lies in another repository, {visible(repository)}, at no revision that is stated: "
            f"put its files into a folder with the model, and leave '{visible(repository)}--' out of {MAP} there"
        )
    if not re.fullmatch(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", path):
        raise FamilyError(f"{reference}: {MAP} names {visible(str(stated))!r}, which is no class of a module")
    return path.partition(".")[0]


def _digests(folder: Path, modules: Sequence[str]) -> dict[str, str]:
    """Return the sha256 of the modules and of all that they import of each other, by name of the file."""
    own = [folder / f"{one}.py" for one in modules]
    every = {*own, *(Path(one) for path in own for one in get_relative_import_files(path))}
    return {path.relative_to(folder).as_posix(): digest.of_file(path) for path in sorted(every)}
