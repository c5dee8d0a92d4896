"""`hubft families new`: what it writes is built, installed, tested and fine-tuned as it is."""

import io
import re
import subprocess
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pictures
import pytest
from commands import Ran, exit_code
from environments import Environment

from hubft.families import plugins
from hubft.families.plugins import ROOT

NAME = "my_nets"
FILES = ["README.md", "hubft_my_nets.py", "pyproject.toml", "tests/test_hubft_my_nets.py"]


def new(*arguments: object) -> Ran:
    """Run `hubft families new` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = exit_code("families", "new", *arguments)
    return Ran(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin as it is written."""
    folder = tmp_path_factory.mktemp("new") / "hubft-my-nets"
    assert new(NAME, "--output", folder).code == 0
    return folder


@pytest.fixture(scope="module")
def environment(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment in which the plugin is installed beside hubft, from a wheel that its backend built."""
    wheels = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "--wheel-dir", str(wheels), str(plugin)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    environment = Environment(tmp_path_factory.mktemp("environment") / "good")
    environment.install(*wheels.iterdir())
    return environment


def test_it_writes_a_plugin_and_says_what_to_type_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = new(NAME)
    assert ran == Ran(
        0,
        f"wrote    {', '.join(FILES)} in hubft-my-nets\n"
        "try      pip install -e 'hubft-my-nets[test]'\n"
        "try      pytest hubft-my-nets\n"
        "try      hubft finetune my_nets:small YOUR_IMAGES/\n",
        "",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["hubft-my-nets"]
    written = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert [str(path.relative_to(tmp_path / "hubft-my-nets")) for path in written] == FILES
    for path in written:
        assert not re.search(r"\$|module\.txt", path.read_text(encoding="utf-8")), f"{path}: a placeholder is left"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My_nets", "'My_nets' cannot be the name of a family: take an identifier in lower case"),
        ("my-nets", "'my-nets' cannot be the name of a family"),
        ("nets_", "'nets_' cannot be the name of a family"),
        ("2nets", "'2nets' cannot be the name of a family"),
        ("netz\u00e9", "cannot be the name of a family"),
        ("../nets", "'../nets' cannot be the name of a family"),
        ("nets\n", "cannot be the name of a family"),
        ("", "'' cannot be the name of a family"),
        ("class", "'class' cannot be the name of a family: take an identifier in lower case that is no keyword"),
        ("n" * 41, "cannot be the name of a family"),
        ("all", "'all' means something else to hubft; try: hubft families new my_all"),
        ("timm", "'timm' is the name of a family of hubft; try: hubft families new my_timm"),
        ("toy", "'toy' is the name of a family of hubft-toy; try: hubft families new my_toy"),
    ],
)
def test_a_wrong_name_gets_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.DISABLE, "toy")  # it is installed, asleep or not
    ran = new(name)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["folder", "file"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    target = tmp_path / "mine"
    target.mkdir() if there == "folder" else target.write_text("mine")
    ran = new(NAME, "--output", target)
    told = f"hubft: {str(target)!r} exists, and nothing is overwritten; try: --output ANOTHER_FOLDER\n"
    assert ran == Ran(2, "", told)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    ran = new(NAME, "--output", tmp_path / "file" / "mine")
    assert (ran.code, ran.err.count("\n")) == (2, 1) and "mine' cannot be written: " in ran.err
    written: list[Path] = []

    def full(path: Path, text: str, encoding: str) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    ran = new(NAME, "--output", tmp_path / "new" / "mine")
    assert ran.code == 2 and "mine' cannot be written: No space left on device; " in ran.err
    assert len(written) == 3 and not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize("name", ["a", "n" * 40])
def test_it_is_clean_to_linter_and_formatter(tmp_path: Path, name: str) -> None:
    assert new(name, "--output", tmp_path / "new").code == 0
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    for command in (["check", f"--select={','.join(ruff['lint']['select'])}"], ["format", "--check"]):
        clean([sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", "new"], tmp_path)


@pytest.mark.timeout(1200)
def test_it_is_clean_to_the_type_checker(plugin: Path) -> None:
    # As hubft itself is checked, with the same cache: to read torch and what else hubft imports takes minutes.
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=pyproject.toml"]
    clean([*mypy, str(plugin / "hubft_my_nets.py"), str(plugin / "tests")], ROOT)


def clean(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_installed_plugin_is_listed_and_keeps_the_contract(environment: Environment) -> None:
    listed = environment.hubft("families", "--strict", HUBFT_DISABLE_FAMILIES="hubft")
    assert listed.returncode == 0
    assert re.search(r"│ my_nets +│ hubft-my-nets │ 0\.1\.0 +│ load +│ ok +│", listed.stdout)
    checked = environment.hubft("families", "check", NAME)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "│ entry_point" in checked.stdout and "failed" not in checked.stdout


def test_the_installed_plugin_is_fine_tuned(environment: Environment, tmp_path: Path) -> None:
    data = pictures.folder(tmp_path / "pictures")
    options = ["--epochs", 1, "--batch-size", 12, "--workers", 0, "--device", "cpu", "--output", tmp_path / "run"]
    ran = environment.hubft("finetune", "my_nets:small", data, *options)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "run" / "package" / "model.safetensors").exists()


def test_the_plugins_own_tests_pass(environment: Environment, plugin: Path) -> None:
    ran = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=plugin)
    assert ran.returncode == 0, ran.stdout
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed and int(passed[1]) > 25


def test_the_wheel_of_hubft_carries_the_templates_and_its_types(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    included = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "hubft").rglob("*.txt")}
    assert len(templates) >= 4 and templates | {"hubft/py.typed"} <= included
