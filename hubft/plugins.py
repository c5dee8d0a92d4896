"""Find, isolate, register: one family, one fresh manager."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pluggy

from hubft import hookspecs
from hubft.errors import FamilyError, JobError, suggest
from hubft.hookspecs import Declared
from hubft.job import from_dict

GROUP = "hubft.families"
ROOT = Path(__file__).resolve().parents[1]
TOLD = "hubft tells "  # before the line that `verified` reads from a process of its own
CHECKOUT = ROOT / "plugins"  # beside the package in a checkout, absent in an installed wheel


@dataclass(frozen=True)
class Family:
    """What is known of a family from metadata alone."""

    name: str
    module: str
    distribution: str
    version: str
    hooks: tuple[str, ...] = ()
    """What it implements; only known once it was imported."""
    problem: str = ""
    """Why it cannot be used; empty if nothing is known against it."""

    @property
    def in_checkout(self) -> Path:
        """Where its module would lie in a checkout of this repository."""
        return CHECKOUT / f"hubft_{self.name}.py"


def installed() -> list[Family]:
    """Return every family, sorted by name, without importing any.

    Under torch.hub nothing is installed: the checkout's own families are then found by path. A name that
    two distributions claim is marked as a problem on both.
    """
    import hubft

    modules = {path.stem.removeprefix("hubft_"): path.stem for path in CHECKOUT.glob("hubft_*.py")}
    own = {name: Family(name, module, "hubft", hubft.__version__) for name, module in modules.items()}
    found = list(own.values())
    for entry in importlib.metadata.entry_points(group=GROUP):
        distribution = (entry.dist and entry.dist.name) or "unknown"  # metadata of strangers may be broken
        if not (distribution == "hubft" and entry.name in own):
            version = (entry.dist and entry.dist.version) or ""
            found.append(Family(entry.name, entry.value, distribution, version))
    found.sort(key=lambda family: (family.name, family.distribution))
    return [_with_clash(family, found) for family in dict.fromkeys(found)]


def _with_clash(family: Family, found: list[Family]) -> Family:
    rivals = sorted({f.distribution for f in found if f.name == family.name and f != family})
    if not rivals:
        return family
    problem = f"the name is also claimed by {', '.join(rivals)}: pip uninstall one of them"
    return replace(family, problem=problem)


def find(name: str) -> Family:
    """Return the family of that name.

    :raises FamilyError: unknown, or claimed by two distributions.
    """
    families = {family.name: family for family in installed()}
    if name not in families:
        raise FamilyError(
            f"unknown family {name!r}; installed are {', '.join(families) or 'none'}."
            f"{suggest(name, families) or f' Try: pip install hubft-{name}'}"
        )
    family = families[name]
    if family.problem:
        raise FamilyError(f"family {name!r} of {family.distribution}: {family.problem}")
    return family


def manager(name: str) -> pluggy.PluginManager:
    """Return a fresh manager with the five hooks, the core's defaults, and that one family.

    :raises FamilyError: the family is unknown, clashes, cannot be imported, or does not fit the hooks.
    """
    family = find(name)
    plugin = _import(family)
    from hubft import defaults  # imports torch: what is unknown or broken is told without it

    pm = pluggy.PluginManager(hookspecs.PROJECT)
    pm.add_hookspecs(hookspecs)
    known = sorted(vars(pm.hook))
    pm.register(defaults, name="defaults")
    try:
        pm.register(plugin, name=name)
        pm.check_pending()
    except pluggy.PluginValidationError as error:
        raise FamilyError(
            f"family {name!r} of {family.distribution} does not fit the hooks {', '.join(known)}: {error}"
        ) from error
    if not hooks_of(pm, plugin):
        raise FamilyError(f"family {name!r} of {family.distribution} implements no hook; mark them with hubft.hookimpl")
    if not any(impl.plugin is plugin for impl in pm.hook.load.get_hookimpls()):
        raise FamilyError(f"family {name!r} of {family.distribution} does not implement the hook `load`")
    return pm


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


def _import(family: Family) -> ModuleType:
    try:
        if family.distribution == "hubft" and family.in_checkout.exists():
            return _import_by_path(family.module, family.in_checkout)
        return importlib.metadata.EntryPoint(family.name, family.module, GROUP).load()
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != family.module.partition(":")[0]:
            raise FamilyError(
                f"family {family.name!r} needs {error.name}, which is not installed; try: pip install {error.name}"
            ) from error
        raise FamilyError(
            f"family {family.name!r} of {family.distribution} {family.version} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error


def _import_by_path(module: str, path: Path) -> ModuleType:
    if module in sys.modules:
        return sys.modules[module]
    spec = importlib.util.spec_from_file_location(module, path)
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[module]
        raise
    return loaded


def verified(family: Family) -> Family:
    """Return the family with its hooks, or why it is broken, as found by importing it in a process of its own."""
    if family.problem:
        return family
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from hubft import plugins; plugins.tell({family.name!r})"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],  # -P: modules of the working folder are none of the family's
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
    )
    told = [line.removeprefix(TOLD) for line in done.stdout.splitlines() if line.startswith(TOLD)]
    if told:
        hooks, problem = json.loads(told[-1])
        return replace(family, hooks=tuple(hooks), problem=problem)
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    return replace(family, problem=f"importing it ends the process with status {done.returncode}: {last}")


def tell(name: str) -> None:
    """Print for `verified` the hooks that a family implements and its problem."""
    told: tuple[tuple[str, ...], str]
    try:
        pm = manager(name)
        told = hooks_of(pm, pm.get_plugin(name)), ""
    except FamilyError as error:
        told = (), " ".join(str(error).split())
    print(f"\n{TOLD}{json.dumps(told)}")
