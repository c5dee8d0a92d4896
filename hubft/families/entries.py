"""Entries of torch.hub repositories, as users name them: arguments as data, the packages that they need, why they fail.

    owner/repo:entry?arch=s&size=224

Behind the question mark stand arguments of the entry, `name=value` by `&`, encoded as in a URL where a value needs it.
A value that reads as an integer or a number is one; `true`, `false` and `none` are what they are in Python; all else is
text, as is what stands in double quotes: `version="1"`.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import torch

from hubft import hub_lock
from hubft.base import network
from hubft.base.display import visible
from hubft.base.errors import FamilyError, reason, suggest

LONGEST, MOST = 1000, 32  # characters and arguments of a name
WORDS = {"true": True, "false": False, "none": None}
CALLED = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""What pip calls a package whose modules have another name."""


@dataclass(frozen=True)
class Named:
    """An entry, as a user names it."""

    text: str
    where: str
    """Of its repository: `owner/repo`, with `@ref` or not, or a folder."""
    entry: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Named:
        """Return what a name says.

        :raises FamilyError: no entry, or arguments that are none, too many or too long.
        """
        place, mark, query = text.partition("?")
        where, _, entry = place.rpartition(":")
        if not where:
            raise FamilyError(
                f"hub:{text[:LONGEST]} names no entry: write hub:owner/repo:entry or hub:/path/to/checkout:entry"
            )
        return cls(text, where, entry, _arguments(query, entry) if mark else {})

    def check(self, function: Callable[..., Any]) -> None:
        """Refuse arguments that the entry does not have.

        :raises FamilyError: names them, and those that it has.
        """
        known = inspect.signature(function).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            return  # it hands them on, and says itself what it does not know
        names = [name for name, parameter in known.items() if parameter.kind is not parameter.VAR_POSITIONAL]
        for name in self.arguments:
            if name not in names:
                has = ", ".join(names) or "none"
                raise FamilyError(
                    f"the entry {self.entry!r} has no argument {name!r}; it has {has}.{suggest(name, names)}"
                )

    def having(self, arguments: Mapping[str, Any]) -> str:
        """Return the name with further arguments in it."""
        more = "&".join(f"{name}={_written(value)}" for name, value in arguments.items())
        return f"{self.text}{'&' if '?' in self.text else '?'}{more}"


def _arguments(query: str, entry: str) -> dict[str, Any]:
    wanted = f"write {entry or 'entry'}?name=value&name=value, at most {MOST} arguments in {LONGEST} characters"
    if len(query) > LONGEST:
        raise FamilyError(f"the arguments of {entry!r} have {len(query):,} characters: {wanted}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=MOST, errors="strict")
    except ValueError as error:
        raise FamilyError(f"the arguments {visible(query)!r} cannot be read ({error}): {wanted}") from error
    found: dict[str, Any] = {}
    for name, value in pairs:
        if not name.isidentifier() or name in found or not value.isprintable():
            raise FamilyError(f"the argument {visible(f'{name}={value}')!r} is no name=value, or there twice: {wanted}")
        found[name] = _read(value)
    return found


def _read(value: str) -> Any:
    if value.lower() in WORDS:
        return WORDS[value.lower()]
    if re.fullmatch(r'".*"', value):
        return value[1:-1]
    if re.fullmatch(r"[+-]?\d{1,18}", value):
        return int(value)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d{1,2})?", value):
        return float(value)
    return value


def _written(value: Any) -> str:
    """Return a value so that `_read` gives it back."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return quote(text if _read(text) == value else f'"{text}"', safe='"')


def found(named: Named) -> tuple[Path, Callable[..., Any], str]:
    """Return the folder of a repository, fetched if need be, its entry, and the ref that was asked for.

    This runs its hubconf.py.

    :raises FamilyError: no such repository, entry or argument, or a package that the repository lists is missing.
    """
    folder, ref = _checkout(named.where)
    entry = _entry(folder, named.entry)
    named.check(entry)
    return folder, entry, ref


def _checkout(where: str) -> tuple[Path, str]:
    """Return the folder of a repository, fetched if need be, and the ref that was asked for."""
    folder = Path(where).expanduser()
    if where.startswith((".", "~")) or folder.is_absolute():
        if not (folder / "hubconf.py").is_file():
            raise FamilyError(f"{folder} has no hubconf.py")
        return folder, ""
    repository, _, ref = where.partition("@")
    if repository.count("/") != 1:
        raise FamilyError(f"{where!r} is neither owner/repo on GitHub nor a path; a path starts with / or ./ or ~")
    with hub_lock():
        there = _cached(repository, ref)
        why = network.unreachable(f"https://github.com/{repository}") if not (there and ref) else ""
        if why and not there:
            raise FamilyError(f"{why}, and {repository} is not in the cache of torch.hub")
        if not why:
            torch.hub.list(f"{repository}:{ref}" if ref else repository, trust_repo=True, verbose=False)  # fetches it
            there = _cached(repository, ref)
    if there:
        return there, ref
    raise FamilyError(f"torch.hub fetched {where} and left no folder for it in {torch.hub.get_dir()}")


def _cached(repository: str, ref: str) -> Path | None:
    """Return the folder that torch.hub keeps of a repository, by the name that it gives to its folders."""
    for candidate in [ref] if ref else ["main", "master"]:
        folder = Path(torch.hub.get_dir()) / f"{repository}/{candidate}".replace("/", "_")
        if folder.is_dir():
            return folder
    return None


def _entry(folder: Path, entry: str) -> Callable[..., Any]:
    if absent := missing((folder / "hubconf.py").read_text(encoding="utf-8")):
        raise FamilyError(f"{folder / 'hubconf.py'} lists {absent}")
    with on_path(folder), redirect_stdout(sys.stderr):
        spec = importlib.util.spec_from_file_location("hubconf", folder / "hubconf.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    entries = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
    if entry not in entries:
        raise FamilyError(f"{folder} has no entry {entry!r}; it has {', '.join(entries)}.{suggest(entry, entries)}")
    found: Callable[..., Any] = getattr(module, entry)
    return found


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Have a repository's own modules found by import."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def missing(source: str) -> str:
    """Return in a phrase which packages that a hubconf.py lists are not installed, and how to get them; or nothing.

    :param source: of the hubconf.py, which is read and not run: what it imports may be just that.
    """
    listed: list[str] = []
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        if any(isinstance(t, ast.Name) and t.id == "dependencies" for t in targets) and isinstance(node, ast.Assign):
            items = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else ()
            listed = [str(item.value) for item in items if isinstance(item, ast.Constant)]
    absent = [name for name in listed if not _there(name)]
    return f"{', '.join(map(visible, absent))}, not installed here{_cure(absent)}" if absent else ""


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):  # a module without a spec is one that is imported
        return True


def _cure(modules: list[str]) -> str:
    tops = list(dict.fromkeys(module.partition(".")[0] for module in modules))
    if not all(top.isidentifier() and len(top) <= 80 for top in tops):
        return ""
    return f"; try: pip install {' '.join(CALLED.get(top, top) for top in tops)}"


def why(error: BaseException) -> str:
    """Return why an entry failed, as one line: a package that it imports and that is not there comes with its cure."""
    absent = error if isinstance(error, ModuleNotFoundError) else error.__cause__
    if not isinstance(absent, ModuleNotFoundError) or not absent.name:
        return reason(error)
    top = absent.name.partition(".")[0]
    if not _there(top):
        return f"its code imports {visible(top)!r}, which is not installed{_cure([top])}, if that is its name there"
    try:
        installed = f"{top} {version(CALLED.get(top, top))}"
    except PackageNotFoundError:
        installed = top
    return f"its code imports {visible(absent.name)!r}, which the {installed} installed here does not have"
