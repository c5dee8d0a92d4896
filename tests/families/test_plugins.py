"""Families as pip would leave them: found, isolated, broken in every way, and inherited from the core."""

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hubft.base import distributions
from hubft.base.errors import FamilyError, JobError
from hubft.families import plugins, sandbox
from hubft.families.build import compressed, headed, load_base
from hubft.job import Head, Job

OWN = {path.stem.removeprefix("hubft_") for path in plugins.CHECKOUT.glob("hubft_*")}
GOOD = "from hubft import hookimpl\n@hookimpl\ndef load(name, pretrained): return None\n"
METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: 1.5\n"
ASLEEP = "disabled by HUBFT_DISABLE_FAMILIES"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A function that installs a family: its module, and a distribution that announces it."""
    site = tmp_path / "site"
    site.mkdir()

    def add(name: str, code: str = GOOD, distribution: str = "", metadata: str = METADATA, lines: str = "") -> None:
        distribution = distribution or f"hubft-{name}"
        module = distribution.replace("-", "_")
        (site / f"{module}.py").write_text(code)
        info = site / f"{module}-1.5.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(lines or f"[{plugins.GROUP}]\n{name} = {module}\n", "latin-1")
        if metadata:
            (info / "METADATA").write_text(metadata.format(distribution), "latin-1")
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


def test_metadata_is_read_again_where_something_was_installed_or_removed(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, real = [], importlib.metadata.entry_points
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: read.append(group) or real(group=group))
    assert not found("early") and not found("late") and len(read) == 1
    install("late")
    assert found("late") and found("late") and len(read) == 2
    shutil.rmtree(tmp_path / "site" / "hubft_late-1.5.dist-info")
    assert not found("late") and len(read) == 3


def test_families_are_sorted_and_the_repositorys_own_are_among_them(install: Install) -> None:
    install("aaa")
    names = [family.name for family in plugins.installed()]
    assert names == sorted(names) and names[0] == "aaa"
    assert {"torchvision", "timm", "hub", "pip"} <= OWN <= set(names)
    assert all(f.distribution == "hubft" for f in plugins.installed() if f.name in OWN)


def test_the_repositorys_families_are_found_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "announced", list)
    assert {family.name for family in plugins.installed()} == OWN
    assert plugins.hooks_of(plugins.manager("pip"), sys.modules["hubft_pip"])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("from os import nothing", "cannot be imported: ImportError: cannot import name 'nothing'"),
        ("1 / 0", "family 'bad' of hubft-bad 1.5 cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3; try: pip uninstall hubft-bad"),
        ("class Panic(BaseException): pass\nraise Panic('at once')", "cannot be imported: Panic: at once; try: pip un"),
        ("def", "cannot be imported: SyntaxError"),
        (
            "import absent_library.part",
            "family 'bad' of hubft-bad 1.5 needs absent_library, which is not installed; "
            "try: pip install absent_library, or pip uninstall hubft-bad",
        ),
        ("import torch.absent", "cannot be imported: ModuleNotFoundError: No module named 'torch.absent'; try: pip un"),
        (GOOD + "@hookimpl\ndef adapt_haed(task): pass", "hooks adapt_head, .*: unknown hook 'adapt_haed'"),
        (
            GOOD + "@hookimpl\ndef freeze(trian): pass",
            "does not fit the hooks .*'trian'.*; try: pip uninstall hubft-bad",
        ),
        ("def load(name, pretrained): pass", "implements no hook; mark them with hubft.hookimpl"),
        (
            "import pluggy\n@pluggy.HookimplMarker('other')\ndef load(name, pretrained): pass",
            "implements no hook; mark them with hubft.hookimpl",
        ),
        ("from hubft import hookimpl\n@hookimpl\ndef freeze(train): pass", "does not implement the hook `load`"),
    ],
    ids=[
        "import",
        "raises",
        "exits",
        "panics",
        "syntax",
        "dependency",
        "part",
        "misspelt",
        "argument",
        "unmarked",
        "marker",
        "no-load",
    ],
)
def test_a_broken_family_is_named_with_what_is_wrong(install: Install, code: str, said: str) -> None:
    install("bad", code)
    install("good")
    with pytest.raises(FamilyError, match=f"(?s){said}") as caught:
        plugins.manager("bad")
    assert "family 'bad'" in str(caught.value)
    assert plugins.manager("good").hook.load(name="x", pretrained=False, config={}, task="") is None


def test_what_pluggy_does_not_take_is_told_in_one_line(install: Install) -> None:
    install("odd", lines=f"[{plugins.GROUP}]\nodd = hubft.families.defaults\n")
    with pytest.raises(
        FamilyError, match=r"does not fit the hooks .* already registered .*try: pip uninstall hubft-odd"
    ):
        plugins.manager("odd")


def test_a_name_that_two_distributions_claim_is_marked_on_both_and_refused(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("twin", distribution="one-twin")
    install("twin", distribution="other-twin")
    install("good")
    cures = "try: pip uninstall one-twin, or pip uninstall other-twin, or HUBFT_DISABLE_FAMILIES="
    one, other = [f"family 'twin' of {dist} 1.5 is unusable: the name is also claimed by {rival}; {cures}{rival}"
                  for dist, rival in (("one-twin", "other-twin"), ("other-twin", "one-twin"))]  # fmt: skip
    assert [(f.distribution, f.problem) for f in found("twin")] == [("one-twin", one), ("other-twin", other)]
    with pytest.raises(FamilyError) as caught:
        plugins.manager("twin")
    assert str(caught.value) == one
    assert not {"one_twin", "other_twin"} & set(sys.modules)
    assert sandbox.verified(found("twin")) == found("twin")
    assert [f.problem for f in found("good")] == [""]
    plugins.manager("good")
    monkeypatch.setenv(plugins.DISABLE, "one-twin")
    assert [f.problem for f in found("twin")] == [ASLEEP, ""]
    plugins.manager("twin")
    assert {"one_twin", "other_twin"} & set(sys.modules) == {"other_twin"}


def test_a_stranger_cannot_take_the_name_of_a_family_of_the_core(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("timm", distribution="evil-timm")
    cure = "; try: pip uninstall evil-timm, or HUBFT_DISABLE_FAMILIES=evil-timm"
    evil, ours = [family.problem for family in found("timm")]
    assert evil == f"family 'timm' of evil-timm 1.5 is unusable: the name is also claimed by hubft{cure}"
    assert ours.endswith(f"is unusable: the name is also claimed by evil-timm{cure}")
    with pytest.raises(FamilyError, match="claimed by"):
        plugins.manager("timm")
    plugins.manager("pip")
    monkeypatch.setenv(plugins.DISABLE, "evil-timm")
    assert plugins.find("timm").distribution == "hubft"


@pytest.mark.parametrize(
    ("metadata", "known", "problem"),
    [
        ("", "hubft_odd", "its METADATA is missing, or has no name or no version"),
        ("Metadata-Version: 2.1\nName: odd\n", "hubft_odd", "its METADATA is missing, or has no name or no version"),
        (METADATA + "Summary: \xe9\n", "hubft_odd", "its METADATA is malformed (UnicodeDecodeError: 'utf-8' codec"),
    ],
    ids=["missing", "no version", "no utf-8"],
)
def test_a_distribution_with_malformed_metadata_breaks_nobody(
    install: Install, metadata: str, known: str, problem: str
) -> None:
    install("odd", metadata=metadata)
    install("good")
    [odd] = found("odd")
    assert (odd.module, odd.distribution, odd.version) == ("hubft_odd", known, "")
    assert odd.problem.startswith(f"family 'odd' of {known} is unusable: {problem}")
    assert odd.problem.endswith("site/hubft_odd-1.5.dist-info") and "; try: delete " in odd.problem  # pip cannot
    with pytest.raises(FamilyError, match=r"family 'odd' of hubft_odd is unusable: its METADATA"):
        plugins.manager("odd")
    plugins.manager("good")


@pytest.mark.parametrize("line", ["odd hubft_odd", "odd = \xe9"], ids=["no equals sign", "no utf-8"])
def test_a_distribution_with_malformed_entry_points_breaks_nobody(install: Install, line: str) -> None:
    install("odd", lines=f"[{plugins.GROUP}]\n{line}\n")
    install("stranger", lines="[of.others]\nno equals sign\n")
    install("good")
    odd, stranger = found("")
    assert (odd.module, odd.distribution, odd.version) == ("", "hubft-odd", "1.5")
    assert odd.problem.startswith("hubft-odd 1.5 is unusable: its entry_points.txt is malformed (")
    assert odd.problem.endswith("site/hubft_odd-1.5.dist-info") and "; try: delete " in odd.problem
    assert stranger.problem.startswith("hubft-stranger 1.5 is unusable")  # torch cannot be imported beside it, either
    assert [family.name for family in plugins.installed() if family.problem] == ["", ""]
    plugins.manager("good")
    install("bad", "1 / 0")
    with pytest.raises(FamilyError, match=r"hubft-bad 1\.5 cannot be imported: ZeroDivisionError"):
        plugins.manager("bad")
    install("reads", "import importlib.metadata; importlib.metadata.entry_points()")  # as torch does
    with pytest.raises(FamilyError, match=r"^hubft-odd 1\.5 is unusable: its entry_points\.txt is malformed"):
        plugins.manager("reads")
    with pytest.raises(
        FamilyError, match=r"^this needs the family 'odd', which .* installed are .*\. But hubft-odd 1.5 is unusable"
    ):
        plugins.manager("odd")


def test_of_a_distribution_that_is_there_twice_the_first_on_the_path_is_meant(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("twice")
    install("odd", lines=f"[{plugins.GROUP}]\nodd\n")
    info = tmp_path / "nearer" / "hubft_twice-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA.format("hubft-twice").replace("1.5", "2.0"))
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\ntwice = hubft_twice\n")
    monkeypatch.syspath_prepend(info.parent)
    assert [(family.version, family.problem) for family in found("twice")] == [("2.0", "")]


@pytest.mark.parametrize(
    ("words", "asleep"),
    [
        ("bad", {"bad"}),
        ("Hubft_Bad", {"bad"}),
        (" hubft-good , timm,absent", {"good", "timm"}),
        ("hubft", OWN),
        ("all", {"bad", "good", "toy"}),
        ("", set()),
        (",", set()),
    ],
)
def test_families_are_disabled_by_their_name_and_by_their_distributions(
    install: Install, monkeypatch: pytest.MonkeyPatch, words: str, asleep: set[str]
) -> None:
    install("bad", "raise AssertionError('imported')")
    install("good")
    monkeypatch.setenv(plugins.DISABLE, words)
    assert {family.name for family in plugins.installed() if family.problem == ASLEEP} == asleep
    assert sandbox.verified(found("bad"))[0].disabled == ("bad" in asleep)


def test_a_disabled_family_says_how_to_enable_it(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("bad", "raise AssertionError('imported')")
    monkeypatch.setenv(plugins.DISABLE, "x,bad")
    with pytest.raises(FamilyError) as caught:
        plugins.manager("bad")
    told = "is disabled by HUBFT_DISABLE_FAMILIES=x,bad; to use it, take it out of that variable"
    assert str(caught.value) == f"family 'bad' of hubft-bad 1.5 {told}"


NEWER = "hubft_family = {'api': (1, 9), 'colour': 1}\n" + GOOD + "@hookimpl\ndef paint(colour): pass\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (NEWER, "is written for version 1.9 of the hooks, and hubft has 1.5; try: update hubft, or pip un"),
        (NEWER.replace("1, 9", "2, 0"), "is written for version 2.0 of the hooks, and hubft has 1.5; try: update"),
        (
            NEWER.replace("1, 9", "0, 9"),
            "version 0.9 of the hooks, and hubft has 1.5; try: pip install -U hubft-it, or",
        ),
        (NEWER.replace("(1, 9)", "'1.9'"), "says api '1.9' in hubft_family; write it as (1, 5); try: pip uninstall"),
        (NEWER.replace("(1, 9)", "(1, True)"), "says api (1, True) in hubft_family; write it as (1, 5); try: pip uni"),
        (GOOD + "hubft_family = {'api': (1, 0), 'exmaple': 'x'}", "unknown key 'exmaple'. Did you mean 'example'?"),
        (GOOD + "hubft_family = 'me'", "hubft_family: expected an object, got str"),
    ],
    ids=["minor", "major", "older", "text", "bool", "key", "no dict"],
)
def test_a_family_for_other_hooks_is_refused_before_anything_else_of_it_is_read(
    install: Install, code: str, said: str
) -> None:
    install("it", code)
    with pytest.raises(FamilyError) as caught:
        plugins.manager("it")
    assert said in str(caught.value) and str(caught.value).startswith("family 'it'")
    assert sandbox.verified(found("it"))[0].problem == str(caught.value)


@pytest.mark.parametrize("api", ["", "hubft_family = {}", "hubft_family = {'api': [1, 0]}"])
def test_a_family_for_these_hooks_is_taken(install: Install, api: str) -> None:
    install("it", GOOD + api)
    assert plugins.declared(plugins.manager("it"), "it").api == (1, 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [("timn", "Did you mean 'timm'?"), ("zzzzzz", "Try: pip install hubft-zzzzzz")],
)
def test_an_unknown_family_that_was_typed_is_answered_with_the_known(name: str, said: str) -> None:
    with pytest.raises(FamilyError) as caught:
        plugins.find(name, typed=True)
    message = str(caught.value)
    assert message.startswith(f"unknown family '{name}'; installed are ") and said in message
    assert all(own in message for own in OWN)


def test_what_nobody_typed_names_no_distribution(install: Install) -> None:
    for look in (plugins.find, plugins.manager):
        with pytest.raises(FamilyError) as caught:
            look("evil_one")
        message = str(caught.value)
        assert message.startswith("this needs the family 'evil_one', which is not installed; installed are ")
        assert "Ask whoever made the package" in message
        assert "pip " not in message and "hubft-evil" not in message and "evil-one" not in message


def test_a_run_imports_its_family_and_no_other(install: Install) -> None:
    install("good")
    install("bad", "import sys; sys.exit('I was imported')")
    code = (
        "import sys; from hubft.families import plugins; plugins.manager('good'); "
        "print(sorted(m for m in sys.modules if m.startswith('hubft_')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['hubft_good']\n", "")


IT = "family 'it' of hubft-it 1.5 cannot be imported:"


@pytest.mark.parametrize(
    ("code", "hooks", "problem"),
    [
        (GOOD + "@hookimpl\ndef freeze(train): pass\nimport atexit; print('hi'); atexit.register(print, 'bye')", 2, ""),
        ("raise RuntimeError('two\\nlines')", 0, f"{IT} RuntimeError: two lines; try: pip"),
        (
            "import os; os._exit(0)",
            0,
            f"{IT} that ends the process with status 0: no output; try: pip uninstall hubft-it",
        ),
        (
            "import os; os.write(2, b'gone\\n'); os.abort()",
            0,
            f"{IT} that ends the process with status -6: gone; try: pip",
        ),
    ],
    ids=["noisy", "raises", "leaves", "crashes"],
)
def test_verify_imports_in_a_process_of_its_own(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, hooks: int, problem: str
) -> None:
    install("it", code)
    (tmp_path / "pluggy.py").write_text("raise RuntimeError('a module of the working folder')")
    monkeypatch.chdir(tmp_path)
    [family] = sandbox.verified(found("it"))
    assert family.hooks == ("freeze", "load")[:hooks]
    assert family.problem.startswith(problem) and bool(family.problem) == bool(problem)
    assert "\n" not in family.problem and "hubft_it" not in sys.modules


def test_verify_waits_no_longer_than_its_limit_whatever_a_family_leaves_behind(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'])\n"
    install("child", child + GOOD)
    install("slow", child + "time.sleep(60)")
    start = time.monotonic()
    [one] = sandbox.verified(found("child"))
    assert (one.hooks, one.problem) == (("load",), "")
    monkeypatch.setattr(sandbox, "LIMIT", 1)
    [other] = sandbox.verified(found("slow"))
    assert time.monotonic() - start < 15
    told = "cannot be imported: that was not done after 1 seconds; try: pip uninstall hubft-slow"
    assert other.problem == f"family 'slow' of hubft-slow 1.5 {told}"


def test_many_are_verified_in_forks_of_one_process_and_none_hurts_another(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {
        "good": GOOD,
        "noisy": GOOD + "print('hubft tells nothing'); print('hi', file=__import__('sys').stderr)",
        "patches": "import torch; torch.nn.Linear = None\n" + GOOD,
        "checks": "import torch; torch.nn.Linear(1, 1)\n" + GOOD,
        "raises": "raise RuntimeError('two\\nlines')",
        "leaves": "import os; os._exit(7)",
        "crashes": "import os; os.write(2, b'gone\\n'); os.abort()",
        "group": "import os, signal; os.killpg(0, signal.SIGKILL)",
        "slow": "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)",
    }
    for name, code in codes.items():
        install(name, code)
    monkeypatch.setattr(sandbox, "LIMIT", 20)
    alone: list[object] = []
    monkeypatch.setattr(sandbox, "_alone", alone.append)
    done: list[int] = []
    families = [family for family in plugins.installed() if family.name in codes]
    verdicts = {one.name: one for one in sandbox.verified(families, lambda: done.append(1))}
    assert len(done) == len(codes) == len(verdicts) and not alone
    assert {name for name, one in verdicts.items() if one.hooks == ("load",)} == {"good", "noisy", "patches", "checks"}
    for name, said in {
        "raises": "cannot be imported: RuntimeError: two lines",
        "leaves": "cannot be imported: that ends the process with status 7: no output",
        "crashes": "cannot be imported: that ends the process with status -6: gone",
        "group": "cannot be imported: that ends the process with status -9: no output",
        "slow": "cannot be imported: that was not done after 20 seconds",
    }.items():
        assert said in verdicts[name].problem, verdicts[name]


def test_what_the_forks_do_not_come_to_gets_a_process_of_its_own(install: Install) -> None:
    install("good")
    install("murder", "import os, signal; os.kill(os.getppid(), signal.SIGKILL)\n" + GOOD)
    install("other")
    names = ("good", "murder", "other")
    [good, murder, other] = sandbox.verified([one for one in plugins.installed() if one.name in names])
    assert (good.hooks, other.hooks) == (("load",), ("load",))
    assert "that ends the process with status -9: and the one that started it" in murder.problem


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
    assert compressed(pm, loaded, "mine", ()).model is loaded.model.head
    with pytest.raises(JobError, match=r"^compress 'bf61': known methods are none, bf16, .*\. Did you mean 'bf16'"):
        compressed(pm, loaded, "bf61", ())
    adapted = headed(pm, loaded, Head(outputs=3))
    assert adapted.model.head.out_features == 3
    batch = (torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]))
    result = pm.hook.train_step(
        model=adapted.model, batch=batch, criterion=torch.nn.CrossEntropyLoss(), forward=adapted.forward
    )
    assert set(result) == {"loss", "outputs"} and result["outputs"].shape == (2, 3)


def test_every_run_has_a_manager_of_its_own() -> None:
    one, other = plugins.manager("toy"), plugins.manager("toy")
    one.unregister(name="toy")
    assert other.has_plugin("toy") and not one.has_plugin("toy")
    assert [name for name, _ in other.list_name_plugin()] == ["defaults", "toy"]
