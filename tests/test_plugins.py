"""Families as pip would leave them: found, isolated, broken in every way, and inherited from the core."""

import importlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hubft import plugins
from hubft.build import load_base
from hubft.errors import FamilyError, JobError
from hubft.job import Job, Task

OWN = {path.stem.removeprefix("hubft_") for path in plugins.CHECKOUT.glob("hubft_*.py")}
GOOD = "from hubft import hookimpl\n@hookimpl\ndef load(name, pretrained): return None\n"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A function that installs a family: its module, and a distribution that announces it."""
    site = tmp_path / "site"
    site.mkdir()

    def add(name: str, code: str = GOOD, distribution: str = "", metadata: bool = True) -> None:
        distribution = distribution or f"hubft-{name}"
        module = distribution.replace("-", "_")
        (site / f"{module}.py").write_text(code)
        info = site / f"{module}-1.5.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{name} = {module}\n")
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    yield add
    for name, module in list(sys.modules.items()):
        if str(site) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


def found(name: str) -> list[plugins.Family]:
    return [family for family in plugins.installed() if family.name == name]


def test_a_family_is_listed_with_its_distribution_and_not_imported(install: Install) -> None:
    install("good", "raise AssertionError('imported')", "my-models")
    assert found("good") == [plugins.Family("good", "my_models", "my-models", "1.5")]
    assert "my_models" not in sys.modules


def test_families_are_sorted_and_the_repositorys_own_are_among_them(install: Install) -> None:
    install("aaa")
    names = [family.name for family in plugins.installed()]
    assert names == sorted(names) and names[0] == "aaa"
    assert {"torchvision", "timm", "hub", "pip"} <= OWN <= set(names)
    assert all(f.distribution == "hubft" for f in plugins.installed() if f.name in OWN)


def test_the_repositorys_families_are_found_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: ())
    assert {family.name for family in plugins.installed()} == OWN
    assert plugins.hooks_of(plugins.manager("pip"), sys.modules["hubft_pip"])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("from os import nothing", "cannot be imported: ImportError: cannot import name 'nothing'"),
        ("1 / 0", "family 'bad' of hubft-bad 1.5 cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("def", "cannot be imported: SyntaxError"),
        ("import absent_library.part", "family 'bad' needs absent_library, which is not installed; try: pip install"),
        (GOOD + "@hookimpl\ndef adapt_haed(task): pass", "hooks adapt_head, .*: unknown hook 'adapt_haed'"),
        (GOOD + "@hookimpl\ndef freeze(trian): pass", "does not fit the hooks .*'trian'"),
        ("def load(name, pretrained): pass", "implements no hook; mark them with hubft.hookimpl"),
        (
            "import pluggy\n@pluggy.HookimplMarker('other')\ndef load(name, pretrained): pass",
            "implements no hook; mark them with hubft.hookimpl",
        ),
        ("from hubft import hookimpl\n@hookimpl\ndef freeze(train): pass", "does not implement the hook `load`"),
    ],
    ids=["import", "raises", "exits", "syntax", "dependency", "misspelt", "argument", "unmarked", "marker", "no-load"],
)
def test_a_broken_family_is_named_with_what_is_wrong(install: Install, code: str, said: str) -> None:
    install("bad", code)
    install("good")
    with pytest.raises(FamilyError, match=f"(?s){said}") as caught:
        plugins.manager("bad")
    assert "family 'bad'" in str(caught.value)
    assert plugins.manager("good").hook.load(name="x", pretrained=False) is None


def test_a_name_that_two_distributions_claim_is_marked_on_both_and_refused(install: Install) -> None:
    install("twin", distribution="one-twin")
    install("twin", distribution="other-twin")
    install("good")
    assert [(f.distribution, f.problem) for f in found("twin")] == [
        ("one-twin", "the name is also claimed by other-twin: pip uninstall one of them"),
        ("other-twin", "the name is also claimed by one-twin: pip uninstall one of them"),
    ]
    with pytest.raises(FamilyError, match=r"family 'twin' of .*-twin: the name is also claimed by"):
        plugins.manager("twin")
    assert not {"one_twin", "other_twin"} & set(sys.modules)
    assert plugins.verified(found("twin")[0]) == found("twin")[0]
    assert [f.problem for f in found("good")] == [""]
    plugins.manager("good")


def test_a_stranger_cannot_take_the_name_of_a_family_of_the_core(install: Install) -> None:
    install("timm", distribution="evil-timm")
    assert [bool(f.problem) for f in found("timm")] == [True, True]
    with pytest.raises(FamilyError, match="claimed by"):
        plugins.manager("timm")
    plugins.manager("pip")


def test_a_distribution_without_metadata_breaks_nobody(install: Install) -> None:
    install("odd", metadata=False)
    assert found("odd") == [plugins.Family("odd", "hubft_odd", "unknown", "")]
    plugins.manager("odd")


@pytest.mark.parametrize(
    ("name", "said"),
    [("timn", "Did you mean 'timm'?"), ("zzzzzz", "Try: pip install hubft-zzzzzz")],
)
def test_an_unknown_family_is_answered_with_the_known(name: str, said: str) -> None:
    with pytest.raises(FamilyError) as caught:
        plugins.manager(name)
    message = str(caught.value)
    assert message.startswith(f"unknown family '{name}'; installed are ") and said in message
    assert all(own in message for own in OWN)


def test_a_run_imports_its_family_and_no_other(install: Install) -> None:
    install("good")
    install("bad", "import sys; sys.exit('I was imported')")
    code = (
        "import sys; from hubft import plugins; plugins.manager('good'); "
        "print(sorted(m for m in sys.modules if m.startswith('hubft_')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['hubft_good']\n", "")


@pytest.mark.parametrize(
    ("code", "hooks", "problem"),
    [
        (GOOD + "@hookimpl\ndef freeze(train): pass\nimport atexit; print('hi'); atexit.register(print, 'bye')", 2, ""),
        ("raise RuntimeError('two\\nlines')", 0, "family 'it' of hubft-it 1.5 cannot be imported: RuntimeError: two l"),
        ("import os; os._exit(0)", 0, "importing it ends the process with status 0: no output"),
        ("import os; os.write(2, b'gone\\n'); os.abort()", 0, "importing it ends the process with status -6: gone"),
    ],
    ids=["noisy", "raises", "leaves", "crashes"],
)
def test_verify_imports_in_a_process_of_its_own(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, hooks: int, problem: str
) -> None:
    install("it", code)
    (tmp_path / "pluggy.py").write_text("raise RuntimeError('a module of the working folder')")
    monkeypatch.chdir(tmp_path)
    family = plugins.verified(found("it")[0])
    assert family.hooks == ("freeze", "load")[:hooks]
    assert family.problem.startswith(problem) and bool(family.problem) == bool(problem)
    assert "\n" not in family.problem and "hubft_it" not in sys.modules


OVERRIDES = """
from hubft import hookimpl
from hubft_toy import load

@hookimpl
def freeze(train):
    return frozenset({"stem.0.weight"}) if train == "mine" else None

@hookimpl
def compress(model, method):
    return model.head if method == "mine" else None
"""


def test_a_family_overrides_what_differs_and_inherits_the_rest(install: Install) -> None:
    install("over", OVERRIDES)
    pm = plugins.manager("over")
    loaded = load_base(pm, Job("over:small", "d"), pretrained=True)
    assert pm.hook.freeze(loaded=loaded, train="mine", progress=0.0) == {"stem.0.weight"}
    assert pm.hook.freeze(loaded=loaded, train="head", progress=0.0) == {"head.weight", "head.bias"}
    assert pm.hook.compress(model=loaded.model, method="mine", batches=()) is loaded.model.head
    with pytest.raises(JobError, match=r"--compress 'bf61': known methods are none, bf16\. Did you mean 'bf16'"):
        pm.hook.compress(model=loaded.model, method="bf61", batches=())
    adapted = pm.hook.adapt_head(loaded=loaded, task=Task(outputs=3))
    assert adapted.model.head.out_features == 3
    batch = (torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]))
    result = pm.hook.train_step(model=adapted.model, batch=batch, criterion=torch.nn.CrossEntropyLoss())
    assert set(result) == {"loss", "outputs"} and result["outputs"].shape == (2, 3)


def test_every_run_has_a_manager_of_its_own() -> None:
    one, other = plugins.manager("toy"), plugins.manager("toy")
    one.unregister(name="toy")
    assert other.has_plugin("toy") and not one.has_plugin("toy")
    assert [name for name, _ in other.list_name_plugin()] == ["defaults", "toy"]
