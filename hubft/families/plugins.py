"""Find, isolate, register: one family, one fresh manager."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pluggy

from hubft import hookspecs
from hubft.base import distributions
from hubft.base.distributions import DISABLE, DISABLED, GROUP, OWN, Family
from hubft.base.errors import FamilyError, JobError, suggest
from hubft.base.serialize import from_dict
from hubft.hookspecs import API, Declared

if TYPE_CHECKING:
    from hubft.job import Job

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = ROOT / "plugins"  # beside the package in a checkout, absent in an installed wheel


def installed() -> list[Family]:
    """Return every family, sorted by name, without importing any.

    Under torch.hub nothing is installed: the checkout's own families are then found by path. A name that
    two distributions claim is marked as a problem on both, unless one of them is disabled.
    """
    import hubft

    modules = {path.stem.removeprefix("hubft_"): path.stem for path in CHECKOUT.glob("hubft_*")}
    found = [Family(name, module, OWN, hubft.__version__) for name, module in modules.items()]
    found += [f for f in distributions.announced() if not (f.distribution == OWN and f.name in modules)]
    off = {_canonical(word) for word in os.environ.get(DISABLE, "").split(",")} - {""}
    found = [replace(family, problem=DISABLED) if _is_off(family, off) else family for family in found]
    found.sort(key=lambda family: (family.name, family.distribution))
    return [_with_clash(family, found) for family in dict.fromkeys(found)]


def _canonical(name: str) -> str:
    """Return a distribution's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _is_off(family: Family, off: set[str]) -> bool:
    return bool({_canonical(family.name), _canonical(family.distribution)} & off) or (
        "all" in off and family.distribution != OWN
    )


def _with_clash(family: Family, found: list[Family]) -> Family:
    rivals = [f for f in found if f.name == family.name and f != family and not f.disabled]
    if family.problem or not family.name or not rivals:
        return family
    removals = [removal for claim in found if claim in (family, *rivals) for removal in claim.removal]
    stranger = next((f.distribution for f in rivals if f.distribution != OWN), family.distribution)
    why = f"is unusable: the name is also claimed by {', '.join(f.distribution for f in rivals)}"
    return replace(family, problem=family.line(why, *removals, f"{DISABLE}={stranger}"))


def find(name: str, typed: bool = False) -> Family:
    """Return the family of that name.

    :param typed: the user wrote the name: only then is one that is unknown answered with a distribution to install. A
        name in a package, a catalogue or somebody's run would let a stranger say what is installed here.
    :raises FamilyError: unknown, disabled, claimed by two distributions, or of malformed metadata.
    """
    found = installed()
    claims = [family for family in found if family.name == name]
    if not claims:
        raise _unknown(name, found, typed)
    family = min(claims, key=lambda family: (family.disabled, family.problem))
    if family.disabled:
        raise FamilyError(family.line(f"is {DISABLED}={os.environ[DISABLE]}; to use it, take it out of that variable"))
    if family.problem:
        raise FamilyError(family.problem)
    return family


def _unknown(name: str, found: list[Family], typed: bool) -> FamilyError:
    names = list(dict.fromkeys(family.name for family in found if family.name))
    there = f"installed are {', '.join(names) or 'none'}."
    unreadable = "; ".join(family.problem for family in found if not family.name and not family.disabled)
    there += f" But {unreadable}." if unreadable else ""
    if typed:
        cure = suggest(name, names) or f" Try: pip install hubft-{name.replace('_', '-')}"
        return FamilyError(f"unknown family {name!r}; {there}{cure}")
    return FamilyError(
        f"this needs the family {name!r}, which is not installed; {there} Ask whoever made the package what {name!r} "
        "is, and install only what you trust"
    )


def manager(name: str) -> pluggy.PluginManager:
    """Return a fresh manager with the five hooks, the core's defaults, and that one family.

    :raises FamilyError: the family is unknown, disabled, clashes, cannot be imported, was written for other
        hooks, or does not fit them.
    """
    family = find(name)
    plugin = imported(family)
    pm = core()
    register(pm, family, plugin)
    return pm


def core() -> pluggy.PluginManager:
    """Return a fresh manager with the five hooks and the core's defaults, and no family."""
    from hubft.families import defaults  # imports torch: what is unknown or broken is told without it

    pm = hooks()
    pm.register(defaults, name="defaults")
    return pm


def manager_of(job: Job) -> pluggy.PluginManager:
    """Return the manager of a job's family and, where that stands on another, of the other's hooks behind its own.

    A family stands on another where its module has a function `stands_on(name)`, which gives the reference that builds
    the model. Its own hooks are marked `tryfirst`.
    """
    pm = manager(job.family)
    if reference := standing_on(pm, job):
        family = find(reference.partition(":")[0])
        register(pm, family, imported(family))
    return pm


def standing_on(pm: pluggy.PluginManager, job: Job) -> str:
    """Return the reference that builds a job's model where its family stands on another; else nothing."""
    stands_on = getattr(pm.get_plugin(job.family), "stands_on", None)
    return str(stands_on(job.name)) if stands_on else ""


def hooks() -> pluggy.PluginManager:
    """Return a manager that knows the five hooks, and no implementation of any."""
    pm = pluggy.PluginManager(hookspecs.PROJECT)
    pm.add_hookspecs(hookspecs)
    return pm


def register(pm: pluggy.PluginManager, family: Family, plugin: object) -> tuple[str, ...]:
    """Register an imported family and return the names of the hooks that it implements.

    :raises FamilyError: it was written for other hooks, does not fit these, or declares what is not known.
    """
    _fits_api(family, plugin)
    known = sorted(vars(pm.hook))
    try:
        pm.register(plugin, name=family.name)
        pm.check_pending()
    except Exception as error:  # pluggy's own, and whatever an object does when it is looked at
        why = f"does not fit the hooks {', '.join(known)}: {error}"
        raise FamilyError(family.line(why, *family.removal)) from error
    implemented = hooks_of(pm, plugin)
    if not implemented:
        raise FamilyError(family.line("implements no hook; mark them with hubft.hookimpl", *family.removal))
    if "load" not in implemented:
        raise FamilyError(family.line("does not implement the hook `load`", *family.removal))
    declared(pm, family.name)
    return implemented


def _fits_api(family: Family, plugin: object) -> None:
    """Refuse other hooks before anything else is read: what is new in them would be called unknown."""
    data = getattr(plugin, "hubft_family", None)
    api = data.get("api", Declared.api) if isinstance(data, dict) else Declared.api
    if not (isinstance(api, tuple | list) and [type(part) for part in api] == [int, int]):
        raise FamilyError(family.line(f"says api {api!r} in hubft_family; write it as {API}", *family.removal))
    if api[0] == API[0] and api[1] <= API[1]:
        return
    update = f"update {OWN}" if tuple(api) > API else f"pip install -U {family.distribution}"
    why = f"is written for version {api[0]}.{api[1]} of the hooks, and hubft has {API[0]}.{API[1]}"
    raise FamilyError(family.line(why, update, *family.removal))


def hooks_of(pm: pluggy.PluginManager, plugin: object) -> tuple[str, ...]:
    """Return the names of the hooks that a registered plugin implements, sorted."""
    return tuple(sorted(caller.name for caller in pm.get_hookcallers(plugin) or []))


def declared(pm: pluggy.PluginManager, name: str) -> Declared:
    """Return what a family, registered under its name, declares of itself.

    :raises FamilyError: an unknown key, or a value of the wrong type.
    """
    try:
        return from_dict(Declared, getattr(pm.get_plugin(name), "hubft_family", {}), "hubft_family")
    except JobError as error:
        raise FamilyError(f"family {name!r}: {error}") from error


def foreign_code(name: str) -> bool:
    """Return whether loading a model of a family runs code that is neither the family's nor its library's.

    A family that is not here cannot be asked: then what it would run is foreign to whoever reads the answer.
    """
    try:
        return declared(manager(name), name).foreign_code
    except FamilyError:
        return True


def in_checkout(name: str) -> Path | None:
    """Return the file of a family of this repository, where that is a checkout: of a module, or of a package."""
    module = CHECKOUT / f"hubft_{name}"
    return next((path for path in (module.with_suffix(".py"), module / "__init__.py") if path.exists()), None)


def imported(family: Family) -> ModuleType:
    """Return the family's module, or what else its entry point names.

    :raises FamilyError: importing it raises, or ends the process.
    """
    try:
        if family.distribution == OWN and (path := in_checkout(family.name)):
            return _import_by_path(family.module, path)
        module: ModuleType = importlib.metadata.EntryPoint(family.name, family.module, GROUP).load()
        return module
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, and the panics of extension modules, are no Exception
        if culprit := distributions.culprit(error):
            raise FamilyError(culprit) from error
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and "." not in missing and missing != re.split(r"[.:]", family.module)[0]:
            why, cures = f"needs {missing}, which is not installed", (f"pip install {missing}", *family.removal)
        else:
            why, cures = f"cannot be imported: {type(error).__name__}: {error}", family.removal
        raise FamilyError(family.line(why, *cures)) from error


def _import_by_path(module: str, path: Path) -> ModuleType:
    if module in sys.modules:
        return sys.modules[module]
    inside = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(module, path, submodule_search_locations=inside)
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[module]
        raise
    return loaded
