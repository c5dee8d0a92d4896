"""The contract kit itself: a correct family passes everything, and each wrong one fails its own check and no other."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from commands import exit_code
from environments import announced
from mutants import AT_IMPORT, FAMILIES, MUTANTS

from hubft import testing
from hubft.base.errors import FamilyError
from hubft.testing import CHECKS, Outcome, Trial, check_family

HERE = Path(__file__).parents[1]
IMPORTS = [name for name in CHECKS if name.startswith("import_")]
PROCESSES = {*IMPORTS, "new_process_computes_the_same"}  # of a second or two each
Install = Callable[..., None]
Hubft = Callable[..., tuple[object, str, str]]


@pytest.fixture(scope="module", autouse=True)
def mutants_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The families of `mutants.py`, installed as one distribution."""
    site = tmp_path_factory.mktemp("mutants")
    entries = "".join(f"{name} = mutants:FAMILIES.{name}\n" for name in vars(FAMILIES))
    with pytest.MonkeyPatch.context() as patch:
        announced(site, "hubft-mutants", entries)
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", f"{site}{os.pathsep}{HERE}", prepend=os.pathsep)
        yield


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A function that installs a family of the name `own` from the code of its module."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)  # for those that write there

    def add(code: str, by: str = "hubft-own") -> None:
        module = by.replace("-", "_")
        (site / f"{module}.py").write_text(code)
        announced(site, by, f"own = {module}\n")
        importlib.invalidate_caches()

    yield add
    torch.set_grad_enabled(True)
    sys.modules.pop("hubft_own", None)


def outcomes(family: str, without: set[str]) -> list[Outcome]:
    trial = Trial.of(family, "", CHECKS)
    torch.set_grad_enabled(True)
    return [trial.outcome(check) for name, check in CHECKS.items() if name not in without]


# --- every check sees what it is for ----------------------------------------------------------------------------


def test_every_check_has_a_promise_a_mutant_and_a_place() -> None:
    assert {*MUTANTS, *(name for name, *_ in AT_IMPORT)} == set(CHECKS) and 25 <= len(CHECKS) <= 40
    before: set[str] = set()
    for name, check in CHECKS.items():
        assert check.promise.endswith(".") and name == check.name and len(name) <= 32
        assert all(CHECKS[needed.name] is needed for needed in check.needs)
        before.add(name)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_family_fails_its_check_and_no_other(name: str) -> None:
    found = outcomes(name, PROCESSES - {name})
    assert [o.check for o in found if o.status == "failed"] == [name], found
    reason = next(o.reason for o in found if o.check == name)
    assert reason and "\n" not in reason


@pytest.mark.parametrize(("name", "code", "reason"), AT_IMPORT, ids=["network", "output", "file", "random", "setting"])
def test_what_happens_at_import_is_seen(name: str, code: str, reason: str, install: Install) -> None:
    install(f"from hubft_toy import hubft_family, load\n{code}\n")
    wrong = [o for o in outcomes("own", {"new_process_computes_the_same"}) if o.status == "failed"]
    assert [o.check for o in wrong] == [name] and reason in wrong[0].reason


@pytest.mark.parametrize("family", ["correct", "weightless"])
def test_a_family_that_keeps_the_contract_fails_nothing(family: str) -> None:
    """`correct` is what all wrong ones are made of; the toy family passes below, its processes too."""
    skipped = {o.check: o.reason for o in outcomes(family, PROCESSES) if o.status != "passed"}
    assert skipped == {"own_methods_stay_in_tolerance": "it declares no methods of its own"}


def test_checks_leave_the_random_state_of_the_caller() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    outcomes("correct", PROCESSES)
    assert torch.equal(torch.get_rng_state(), before)


# --- what is told -----------------------------------------------------------------------------------------------


def test_what_builds_on_a_broken_check_is_skipped_with_its_name() -> None:
    found = {o.check: o for o in outcomes("stages_cover_everything_once", PROCESSES)}
    assert (
        found["stages_cover_everything_once"].reason == "parameter block.0.weight lies in no stage, not in exactly one"
    )
    skipped = [o for o in found.values() if o.status == "skipped"]
    assert {o.reason for o in skipped} == {"needs stages_cover_everything_once, which fails"} and len(skipped) > 10


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("def load(name, pretrained): pass", "implements no hook"),
    ],
    ids=["raises", "exits", "unmarked"],
)
def test_a_family_that_cannot_be_imported_has_outcomes_too(code: str, reason: str, install: Install) -> None:
    install(code)
    first, *others = check_family("own")
    assert (first.check, first.status) == ("entry_point", "failed") and reason in first.reason
    assert {(o.status, o.reason) for o in others} == {("skipped", "needs entry_point, which fails")}


def test_a_name_of_two_distributions_fails_the_first_check(install: Install) -> None:
    install("from hubft_toy import hubft_family, load")
    install("from hubft_toy import hubft_family, load", by="rival-own")
    first, *_ = check_family("own")
    assert first.status == "failed" and "is also claimed by" in first.reason


def declare(monkeypatch: pytest.MonkeyPatch, name: str, **facts: object) -> None:
    """Have a mutant declare more."""
    mutant = MUTANTS[name]
    monkeypatch.setattr(mutant, "hubft_family", {**mutant.hubft_family, **facts}, raising=False)


def test_an_expected_failure_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "accumulation_equals_large_batch"
    declare(monkeypatch, name, expected_failures={name: "the loss is\na sum"})
    found = outcomes(name, PROCESSES)
    assert [o for o in found if o.status == "expected"] == [Outcome(name, "expected", "the loss is a sum")]
    assert not [o for o in found if o.status == "failed"]


def test_an_expected_failure_that_passes_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, "api_version", expected_failures={"head_fits_the_task": "long ago", "api_version": "new"})
    found = {o.check: o for o in outcomes("api_version", PROCESSES)}
    assert found["head_fits_the_task"].status == "failed"
    assert found["head_fits_the_task"].reason == "it passes now: take it out of expected_failures"
    assert found["api_version"].status == "expected"
    assert found["training_lowers_the_loss"].status == "passed", "what needs it is tried all the same"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"expected_failures": {"builds_agre": "x"}}, "'builds_agre', which is no check. Did you mean 'builds_agree'?"),
        ({"expected_failures": {"???": "x"}}, "'???', which is no check. They are entry_point, api_version, "),
        (
            {"example": ""},
            "declares no example to check; say `hubft families check builds_agree --model NAME`, or write",
        ),
    ],
    ids=["nearly", "nothing", "no-example"],
)
def test_what_cannot_be_tried_is_one_line(facts: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, "builds_agree", **facts)
    with pytest.raises(FamilyError) as caught:
        check_family("builds_agree")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_family_is_answered_with_the_known() -> None:
    with pytest.raises(FamilyError, match="Did you mean 'correct'"):
        check_family("corect")


def test_a_model_that_is_named_is_the_one_that_is_tried() -> None:
    found = Trial.of("toy", "remote", CHECKS).outcome(CHECKS["builds_agree"])  # its weights cannot be had
    assert found.status == "failed" and "toy:remote needs a package" in found.reason


# --- as a test, as a command ------------------------------------------------------------------------------------


def test_pytest_runs_a_test_for_each_check(tmp_path: Path) -> None:
    """A correct family, one that fails, and one that says so: in a pytest of their own."""
    (tmp_path / "test_mine.py").write_text(
        """
import mutants
from hubft.testing import parametrize_with_checks

NAME = "accumulation_equals_large_batch"
crude = mutants.MUTANTS[NAME]
wrong, excused = parametrize_with_checks(NAME), {NAME: "the loss is a sum", "api_version": "it was"}
crude.hubft_family = {**crude.hubft_family, "expected_failures": excused}
excused = parametrize_with_checks(NAME)

@parametrize_with_checks("toy")
def test_toy(check):
    check()

@wrong
def test_wrong(check):
    check()

@excused
def test_excused(check):
    check()
"""
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-rfxXs", "--tb=line", "-k"]
    chosen = " or ".join(("accumulation", "api_version", "own_methods_stay", "training_moves"))
    done = subprocess.run([*command, chosen], cwd=tmp_path, capture_output=True, text=True, check=False)
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", done.stdout.splitlines()[-1])}
    assert counts | {"deselected": 0} == {"failed": 2, "passed": 6, "skipped": 3, "xfailed": 1, "deselected": 0}
    assert "AssertionError: the gradient of stem.0.weight by halves is off by" in done.stdout
    assert "FAILED test_mine.py::test_wrong[accumulation_equals_large_batch]" in done.stdout
    assert "FAILED test_mine.py::test_excused[api_version]" in done.stdout
    assert "XFAIL test_mine.py::test_excused[accumulation_equals_large_batch] - the loss is a sum" in done.stdout
    assert "it declares no methods of its own" in done.stdout


@pytest.fixture
def hubft(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Hubft:
    """The command; it gives its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: str) -> tuple[object, str, str]:
        return exit_code(*arguments), *capsys.readouterr()

    return run


def test_the_command_tells_every_outcome(hubft: Hubft) -> None:
    code, out, err = hubft("families", "check", "toy", "--json")
    told = [Outcome(**json.loads(line)) for line in out.splitlines()]
    assert (code, err) == (0, "") and [o.check for o in told] == list(CHECKS)
    assert [(o.check, o.reason) for o in told if o.status != "passed"] == [
        ("own_methods_stay_in_tolerance", "it declares no methods of its own")
    ]


def test_the_command_fails_where_a_check_does(hubft: Hubft) -> None:
    code, out, err = hubft("families", "check", "entry_point")
    assert code == 2 and "unknown key 'exmaple'" in out and "needs entry_point, which fails" in out
    assert err == f"hubft: family 'entry_point' fails 1 of {len(CHECKS)} checks: entry_point\n"
    code, out, err = hubft("families", "check", "hub")
    assert (code, out) == (2, "") and "hubft families check hub --model NAME" in err


def test_the_public_names_are_sorted_and_there() -> None:
    assert testing.__all__ == sorted(testing.__all__) and all(hasattr(testing, name) for name in testing.__all__)
