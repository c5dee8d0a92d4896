"""One bad plugin never stops the others: real wheels of every kind, installed by pip in one environment."""

import json
from pathlib import Path

import pictures
import pytest
from environments import Environment, wheel

from hubft.hookspecs import API

NETS = (Path(__file__).parents[1] / "toy_family.py").read_text(
    encoding="utf-8"
)  # the good one, with hooks and a network
HOOKS = ".".join(map(str, API))
HOOK = "from hubft import hookimpl\n@hookimpl\n"
GOOD = f"{HOOK}def load(name, pretrained): return None\n"
BAD = {  # family -> the code of its module, and what is said of it
    "broken": ("from os import nothing", "cannot be imported: ImportError: cannot import name 'nothing' from 'os'"),
    "leaver": ("import sys; sys.exit(0)", "cannot be imported: SystemExit: 0"),
    "killer": ("import os; os._exit(3)", "cannot be imported: that ends the process with status 3"),
    "misspelt": (f"{GOOD}@hookimpl\ndef adapt_haed(task): pass", "unknown hook 'adapt_haed'"),
    "marker": (
        "import pluggy\n@pluggy.HookimplMarker('hubfft')\ndef load(name, pretrained): pass",
        "implements no hook; mark them with hubft.hookimpl",
    ),
    "argument": (f"{GOOD}@hookimpl\ndef freeze(trian): pass", "Argument(s) {'trian'} are declared in the hookimpl"),
    "newer": (
        f"{GOOD}hubft_family = {{'api': (1, 99), 'colour': 'red'}}\n@hookimpl\ndef paint(colour): pass",
        f"is written for version 1.99 of the hooks, and hubft has {HOOKS}; try: update hubft, or",
    ),
    "hookless": ("def load(name, pretrained): pass", "implements no hook; mark them with hubft.hookimpl"),
    "loadless": (f"{HOOK}def freeze(train): pass", "does not implement the hook `load`"),
}
TWINS = ("hubft-twin", "other-twin")  # two distributions that claim one name
DAMAGED = "hubft_damaged"  # by its folder: nothing else says its name
DISABLE = "hubft,asleep"
OFF = "disabled by HUBFT_DISABLE_FAMILIES"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with every kind of bad plugin, and the good ones `toy`, of hubft-nets, and `timm`, of hubft."""
    wheels = tmp_path_factory.mktemp("wheels")

    def built(family: str, code: str, distribution: str = "", version: str = "1.0") -> Path:
        distribution = distribution or f"hubft-{family}"
        module = distribution.replace("-", "_")
        return wheel(wheels, distribution, module, code, f"[hubft.families]\n{family} = {module}\n", version)

    environment = Environment(tmp_path_factory.mktemp("environment") / "bad")
    environment.install(
        built("toy", NETS, "hubft-nets", "1.7"),
        built("damaged", GOOD),
        built("asleep", "raise AssertionError('imported')"),
        *(built("twin", GOOD, distribution) for distribution in TWINS),
        *(built(family, code) for family, (code, _) in BAD.items()),
    )
    # No release of pip installs a wheel without UTF-8, so this happens to one that is there.
    with (environment.site / "hubft_damaged-1.0.dist-info" / "METADATA").open("ab") as metadata:
        metadata.write(b"Summary: caf\xe9\n")
    return environment


def rows(output: str) -> dict[str, list[str]]:
    """Return the rows of the table that was printed, by distribution."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line[:1] == "│"]
    return {row[1]: row for row in cells if row[1] != "hubft"}


def test_verify_names_each_bad_plugin_with_its_reason_and_how_to_be_rid_of_it(environment: Environment) -> None:
    ran = environment.hubft("families", "--verify", HUBFT_DISABLE_FAMILIES=DISABLE)
    assert (ran.returncode, ran.stderr) == (0, "")
    states = {distribution: row[4] for distribution, row in rows(ran.stdout).items()}
    broken = {f"hubft-{family}" for family in BAD} | {*TWINS, DAMAGED}
    assert states == {"hubft-nets": "ok", "hubft-asleep": OFF} | dict.fromkeys(broken, "broken")
    told = [line for line in ran.stdout.splitlines() if line.startswith("family ")]
    assert len(told) == len(broken)
    for family, (_, reason) in BAD.items():
        [line] = [line for line in told if line.startswith(f"family '{family}' of hubft-{family} 1.0 ")]
        assert reason in line and line.endswith(f"pip uninstall hubft-{family}")
    for one, other in (TWINS, TWINS[::-1]):
        [line] = [line for line in told if line.startswith(f"family 'twin' of {one} 1.0 ")]
        assert f"also claimed by {other}; try: pip uninstall hubft-twin, or pip uninstall other-twin, or " in line
    [line] = [
        line
        for line in told
        if line.startswith(f"family 'damaged' of {DAMAGED} is unusable: its METADATA is malformed")
    ]
    assert line.endswith(f"; try: delete {environment.site / 'hubft_damaged-1.0.dist-info'}")


def test_strict_ends_with_one_line_that_names_the_broken(environment: Environment) -> None:
    ran = environment.hubft("families", "--strict", HUBFT_DISABLE_FAMILIES="hubft,asleep,twin,damaged")
    names = ", ".join(f"{family} of hubft-{family}" for family in sorted(BAD))
    assert ran.stderr == f"hubft: {len(BAD)} of {len(BAD) + 11} families are broken: {names}\n"
    assert ran.returncode == 2
    assert "\nfamily 'broken' of hubft-broken 1.0 cannot be imported" in ran.stdout


def test_what_is_disabled_is_not_imported_and_not_broken(environment: Environment) -> None:
    disabled = ",".join([*BAD, "hubft", "other-twin", "damaged", "asleep"])
    ran = environment.hubft("families", "--strict", HUBFT_DISABLE_FAMILIES=disabled)
    assert (ran.returncode, ran.stderr) == (0, "")
    states = {distribution: row[4] for distribution, row in rows(ran.stdout).items()}
    assert [name for name, state in states.items() if state == "ok"] == ["hubft-nets", "hubft-twin"]
    assert set(states.values()) == {"ok", OFF}
    ran = environment.hubft("show", "leaver:x", HUBFT_DISABLE_FAMILIES="all")
    told = "is disabled by HUBFT_DISABLE_FAMILIES=all; to use it, take it out of that variable"
    assert (ran.returncode, ran.stderr) == (2, f"hubft: family 'leaver' of hubft-leaver 1.0 {told}\n")


def test_a_good_family_works_beside_the_bad_and_the_run_records_it(environment: Environment, tmp_path: Path) -> None:
    data = pictures.folder(tmp_path / "pictures")
    options = ["--epochs", 1, "--batch-size", 12, "--workers", 0, "--device", "cpu", "--output", tmp_path / "run"]
    ran = environment.hubft("finetune", "toy:small", data, *options)
    assert (ran.returncode, ran.stderr) == (0, "")
    manifest = json.loads((tmp_path / "run" / "package" / "hubft.json").read_text())
    assert manifest["versions"]["hubft-nets"] == "1.7" and "hubft" in manifest["versions"]
    assert not {"hubft-broken", DAMAGED} & manifest["versions"].keys()


@pytest.mark.parametrize("family", ["leaver", "twin", "damaged"])
def test_a_run_of_a_bad_family_ends_in_one_line_and_writes_nothing(
    environment: Environment, family: str, tmp_path: Path
) -> None:
    data = pictures.folder(tmp_path / "data", ("ant", "bee"), 1, 1)
    ran = environment.hubft("finetune", f"{family}:x", data, "--output", tmp_path / "run")
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert f"family '{family}'" in ran.stderr and "try: " in ran.stderr
    assert not (tmp_path / "run").exists()


def test_entry_points_that_are_malformed_keep_torch_from_all_and_are_named(
    environment: Environment, tmp_path: Path
) -> None:
    file = environment.site / "hubft_asleep-1.0.dist-info" / "entry_points.txt"
    good = file.read_text()
    file.write_text("[of.a.stranger]\nno equals sign\n")
    try:
        torch = environment.run("-c", "import torch")
        found = environment.hubft("families", "--strict", HUBFT_DISABLE_FAMILIES=f"hubft,{','.join(BAD)},twin,damaged")
        data = pictures.folder(tmp_path / "data", ("ant", "bee"), 1, 1)
        run = environment.hubft("finetune", "toy:small", data, "--output", tmp_path / "run")
    finally:
        file.write_text(good)
    assert torch.returncode != 0  # whatever hubft does: torch reads the entry points of all
    told = "hubft-asleep 1.0 is unusable: its entry_points.txt is malformed (TypeError: "
    assert [line.startswith(told) for line in found.stdout.splitlines() if "try: " in line] == [True]
    assert found.stderr == f"hubft: 2 of {len(BAD) + 11} families are broken: hubft-asleep, toy of hubft-nets\n"
    assert run.stderr.startswith(f"hubft: {told}") and run.stderr.endswith(f"; try: delete {file.parent}\n")
    assert (found.returncode, run.returncode, run.stderr.count("\n")) == (2, 2, 1)
    assert not (tmp_path / "run").exists()
