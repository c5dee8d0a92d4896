"""The house rules that a reader relies on, held by the sources and the README themselves."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hubft
from hubft import hookspecs
from hubft.base import errors
from hubft.families.plugins import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
FAMILIES = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), ROOT / "hubft" / "README.md"]
PAGES += sorted(ROOT.glob("benchmarks/*.md"))
SOURCES = sorted([*ROOT.glob("hubft/**/*.py"), *ROOT.glob("plugins/**/*.py"), *ROOT.glob("hubconf.py")])
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if hasattr(hook, f"{hookspecs.PROJECT}_spec")}
MAX_FILE, MAX_FUNCTION = 260, 45  # lines


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, Any]]:
    """Yield (where, node) of every node of these kinds in the sources."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield f"{name}:{getattr(node, 'lineno', 0)}", node


def imported(tree: ast.AST) -> set[str]:
    """Return the dotted names of the modules that a source imports, and what it takes from each."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def test_the_sources_are_found() -> None:
    assert {"hubft/job.py", "hubft/train/loop.py", "plugins/hubft_timm.py", "hubconf.py"} <= TREES.keys()
    assert set(HOOKS) == {"load", "adapt_head", "freeze", "train_step", "compress"}


# --- the pages tell the truth ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", HOOKS)
def test_the_page_on_families_has_a_row_for_each_hook_with_its_arguments(hook: str) -> None:
    """A row is `| `hook` | argument, argument | gives | default |`."""
    rows = [line for line in FAMILIES.splitlines() if line.startswith(f"| `{hook}` |")]
    assert len(rows) == 1
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", rows[0])[1:-1]]
    assert cells[1].split(", ") == list(inspect.signature(HOOKS[hook]).parameters)
    assert len(cells) == 4 and all(cells)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_names_files_that_exist(page: Path) -> None:
    named = set(re.findall(r"`((?:tests|hubft|plugins|benchmarks|docs|\.ci)/[\w./-]*)`", page.read_text("utf-8")))
    assert all((ROOT / name).exists() or (ROOT / f"{name}.py").exists() for name in named), named


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 180 and "`hubft/README.md`" in README


# --- names, sizes, errors ---------------------------------------------------------------------------------------


def test_the_public_names_are_sorted_and_complete() -> None:
    taken = {alias.asname or alias.name for n in TREES["hubft/__init__.py"].body if isinstance(n, ast.ImportFrom)
             for alias in n.names}  # fmt: skip
    assert hubft.__all__ == sorted(hubft.__all__)
    lazy = {
        alias.name
        for n in ast.walk(TREES["hubft/__init__.py"])
        if isinstance(n, ast.ImportFrom) and n.module == "hubft.api"
        for alias in n.names
    }
    taken = (taken | lazy) & set(hubft.__all__)
    assert set(lazy) == set(hubft.LAZY)
    assert set(hubft.__all__) == taken and all(getattr(hubft, name).__doc__ for name in taken - {"hookimpl"})


@pytest.mark.parametrize("name", TREES)
def test_files_and_functions_are_short(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= MAX_FILE
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION, node.name
            typed = name.startswith("hubft/api/")  # by `Options`
            assert not node.args.kwarg or typed or not name.startswith("hubft/"), (
                f"{node.name}: no **kwargs in the core"
            )


def test_every_error_is_in_the_tree_at_the_top_of_its_module() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []  # the names on the way down to this line
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"(?P<stem>[ │├└─]*)(?P<name>[A-Z]\w+)  +\w", line):
            del above[len(match["stem"]) // 4 :]
            drawn[match["name"]] = above[-1] if above else "Exception"
            above.append(match["name"])
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.HubftError)]
    assert drawn == {c.__name__: c.__base__.__name__ for c in classes if c.__base__}
    for where, node in nodes(ast.ClassDef):
        bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        assert where.startswith("hubft/base/errors.py") or not bases & drawn.keys(), (
            f"{where}: errors live in errors.py"
        )


# --- what no source does ----------------------------------------------------------------------------------------


def test_no_pickle_is_read_and_no_text_is_run() -> None:
    banned = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "yaml"}
    for name, tree in TREES.items():
        plain = {"yaml"} if name == "hubft/data/yolo.py" else set()  # which reads YAML as plain data
        assert not {module.partition(".")[0] for module in imported(tree)} & (banned - plain), name
        assert not {"torch.load", "torch.hub.load_state_dict_from_url"} & imported(tree), name
    for where, call in nodes(ast.Call):
        assert called(call) not in ("eval", "exec", "os.system"), where
        assert not called(call).startswith("yaml.") or called(call) == "yaml.safe_load", where
        if called(call) in ("torch.load", "torch.serialization.load"):
            only = {k.arg: k.value for k in call.keywords}.get("weights_only")
            safe = isinstance(only, ast.Constant) and only.value is True
            sent = where.startswith("hubft/testing/worker.py")  # it unpickles what its parent pickled: that is its test
            assert safe or sent, f"{where}: torch.load without weights_only"
        if called(call).endswith("load_state_dict_from_url"):
            raise AssertionError(f"{where}: it unpickles")


def test_families_are_not_known_to_the_core() -> None:
    families = {path.stem for path in ROOT.glob("plugins/hubft_*")}
    for name, tree in TREES.items():
        if name.startswith("hubft/"):
            assert not {module.partition(".")[0] for module in imported(tree)} & families, name


STOPWATCHES = {
    f"hubft/{name}.py"
    for name in (
        *("base/console", "engine", "run/budget", "run/plan", "run/teaching", "train/meter", "train/laps"),
        *("machine/bench", "machine/choose", "images/sizes", "deploy/latency"),
        *("choosing/backbone", "choosing/halving", "choosing/asked", "choosing/trial"),
    )
}


DATED = "hubft/tracking/"
"""Trackers show when a number came."""


def test_results_depend_on_no_clock() -> None:
    clocks = r"(time\.(time|time_ns|localtime|gmtime|strftime|ctime)|(datetime|date)\.(now|today|utcnow)|uuid\d?)$"
    for where, call in nodes(ast.Call):
        assert where.startswith(DATED) or not re.search(rf"(^|\.){clocks}", called(call)), where
        if called(call).endswith("perf_counter"):
            assert where.rpartition(":")[0] in STOPWATCHES, (
                f"{where}: for what is shown, how to compute, and a budget of time"
            )


def test_nothing_names_a_path_of_a_machine() -> None:
    published = [*SOURCES, *ROOT.glob("benchmarks/**/*.*"), *PAGES, ROOT / "pyproject.toml"]
    for path in published:
        if path.suffix in (".py", ".md", ".toml", ".json"):
            found = re.search(r"(?<![\w.~}])/(work|home|root|Users|tmp|mnt|opt|var)/", path.read_text(encoding="utf-8"))
            assert not found, f"{path}: {found and found[0]}"
