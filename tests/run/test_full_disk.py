"""A disk that is full, or a folder that cannot be written: one line, nothing half-written, and then the run goes on."""

import errno
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import packages
import pictures
import pytest
from commands import exit_code
from runs import job

from hubft import engine
from hubft.base.errors import WriteError
from hubft.publish import tensors
from hubft.run.folder import Run
from hubft.share import catalogue, organisation, transfer
from hubft.train import checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.folder(tmp_path_factory.mktemp("data") / "insects")


@contextmanager
def full(name: str) -> Iterator[None]:
    """Let every write to files of this name fail, after they were opened, as on a disk that fills up meanwhile."""
    real, struck = Path.open, []

    def opened(path: Path, mode: str = "r", *its: Any, **named: Any) -> Any:
        if not re.fullmatch(name, path.name) or mode[0] not in "wa":
            return real(path, mode, *its, **named)
        real(path, mode, *its, **named).close()
        struck.append(path)
        return real(Path("/dev/full"), mode.replace("a", "w"), *its, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", opened)
        yield
    assert struck, f"nothing was written to {name}"


NO_ROOM = "No space left on device"
WRITTEN = ["plan.json", "metrics.jsonl", "state.json", "manifest.json", "results.json", "curves.png", "confusion.png"]
WRITTEN += ["README.md", "hubft.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", WRITTEN)
def test_a_run_on_a_full_disk_stops_in_one_line_and_goes_on_with_room(data: Path, tmp_path: Path, name: str) -> None:
    asked = job(data, tmp_path / "run", recipe={"epochs": 1})
    run = Run(tmp_path / "run")
    with full(name if name == "metrics.jsonl" else rf"(\.writing-)?{name}"), pytest.raises(WriteError) as told:
        engine.finetune(asked)
    assert re.fullmatch(
        rf"'{tmp_path}/run.*' cannot be written: {NO_ROOM}; .* go on with: hubft finetune --resume {run.folder}",
        str(told.value),
    )
    assert not list(run.folder.rglob(".*")) and not run.package.exists()
    assert engine.resume(run.folder).run.package.exists()


@pytest.mark.parametrize(
    ("module", "file"), [(checkpoint, "checkpoints/.*/state.safetensors"), (tensors, "package.*/model.safetensors")]
)
def test_tensors_on_a_full_disk_are_an_error_of_the_system(
    module: ModuleType, file: str, data: Path, tmp_path: Path
) -> None:
    """Theirs is another class of error, raised by another language; a limit of the process stands for the disk."""
    resource = pytest.importorskip("resource")
    run, real, limits = Run(tmp_path / "run"), module.save_file, resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(its: Any, path: Path) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
        try:
            real(its, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "save_file", limited)
        with pytest.raises(WriteError, match=f"{run.folder}/.*{file}' cannot be written: File too large; .* --res"):
            engine.finetune(job(data, run.folder, recipe={"epochs": 1}))
    assert not list(run.folder.rglob(".*")) and not run.package.exists()
    assert engine.resume(run.folder).run.package.exists()


@pytest.mark.parametrize("name", ["data.json", "job.json"])
def test_a_run_that_cannot_begin_leaves_nothing(data: Path, tmp_path: Path, name: str) -> None:
    asked = job(data, tmp_path / "run", recipe={"epochs": 0})
    with (
        full(rf"\.writing-{name}"),
        pytest.raises(WriteError, match=f"{name}' cannot .* name another --output"),
    ):
        engine.finetune(asked)
    assert list(tmp_path.iterdir()) == []


def command(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return the one line in which a command that cannot write ends, with exit code 2."""
    code, said = exit_code(*words), capsys.readouterr()
    assert code == 2 and said.err.count("\n") == 1 and "Traceback" not in said.err, said.err
    return said.err


def test_what_lies_below_a_file_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one folder that root cannot write either."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    packages.write(tmp_path / "package", packages.toy_job())
    for words in (
        ["finetune", "toy:small", data, "--epochs", 0, "--workers", 0, "--output", "file/run"],
        ["families", "new", "petals", "--output", "file/petals"],
        ["init-hub", "file/hub"],
        ["demo", "--output", "file/demo"],
    ):
        assert re.search(r"'file/.*' cannot be written: (Not a dir|File e)", command(capsys, *words)), words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "package"]
    with pytest.raises(WriteError, match=r"'file/copy' cannot be written: .*'file'; nothing was written"):
        transfer._copied(transfer.packages.read(tmp_path / "package"), Path("file/copy"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_catalogue_on_a_full_disk_is_as_it_was(tmp_path: Path) -> None:
    organisation.init(tmp_path / "hub")
    file = tmp_path / "hub" / "catalogue.json"
    before = file.read_bytes()
    entry = catalogue.Entry("insects", "toy:small", f"me/insects@{40 * 'a'}", 64 * "b")
    with full(r"\.writing-catalogue.json"), pytest.raises(WriteError, match=f"{NO_ROOM}; the catalogue is as it was"):
        catalogue.write("insects", entry, file)
    assert file.read_bytes() == before and not list(file.parent.glob(".writing*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_printed_is_told(tmp_path: Path) -> None:
    with open("/dev/full", "w") as nowhere:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "hubft", "families"], stdout=nowhere, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, f"hubft: 'what is printed here' cannot be written: {NO_ROOM}\n")


def test_a_cache_on_a_full_disk_is_gone_without(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("HUBFT_CACHE", str(tmp_path / "file" / "cache"))
    assert engine.finetune(job(data, tmp_path / "run", recipe={"train": "head"})).run.package.exists()


def test_without_room_for_temporary_files_a_run_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from hubft.base import store

    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(store.tempfile, "gettempdir", none)
    assert store.Scratch(memory=0).take(10) is None
