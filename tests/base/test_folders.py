"""Folders that are made beside their place: gone after any end, and those of killed processes swept by the next."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hubft.base import files, folders

fcntl = pytest.importorskip("fcntl", reason="the system has no such locks")

WRITER = """
import signal, sys, time
from pathlib import Path
from hubft.base.folders import beside

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
with beside(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print(folder.name, flush=True)
    time.sleep(60)
"""


def begun(path: Path) -> tuple[subprocess.Popen[str], Path]:
    """Return a process that writes this path, and the folder in which it does so, begun some time ago."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    folder = path.parent / process.stdout.readline().strip()
    os.utime(folder, (0, 0))
    return process, folder


def ended(process: subprocess.Popen[str], by: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(by)
        process.communicate()


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    path, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    (tmp_path / ".writing-a.onnx").write_text("a file")
    (living, kept), (killed, left), (_, foreign) = (started := [begun(path), begun(path), begun(other)])
    try:
        for process, _ in started[1:]:
            ended(process, signal.SIGKILL)
        assert (left / "half").is_file() and (foreign / "half").is_file() and killed.returncode == -9
        with folders.beside(path) as mine:
            assert {one.name for one in tmp_path.iterdir()} == {
                ".writing-a.onnx", kept.name, foreign.name, mine.name
            }  # fmt: skip
            assert (kept / "half").is_file() and living.poll() is None
        assert not mine.exists()
    finally:
        for process, _ in started:
            ended(process, signal.SIGKILL)


def test_a_folder_that_has_no_lock_yet_is_not_swept(tmp_path: Path) -> None:
    new = tmp_path / ".writing-a.onnx-new"
    new.mkdir()
    with folders.beside(tmp_path / "a.onnx"):
        assert new.is_dir()
    os.utime(new, (0, 0))
    with folders.beside(tmp_path / "a.onnx"):
        assert not new.exists()


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    process, folder = begun(tmp_path / "a.onnx")
    assert folder.is_dir()
    ended(process, signal.SIGINT)
    assert process.returncode and not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_file_that_was_broken_off_is_the_old_one(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_text(path, "old")
    with pytest.raises(error), files.temporary_file(path) as temporary:
        temporary.write_text("ne")
        raise error
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"] and path.read_text() == "old"


def test_a_name_of_any_length_has_a_folder_beside_it(tmp_path: Path) -> None:
    with folders.new_folder(tmp_path / ("\U0001f41d" * 60)) as new:
        assert new.is_dir()
    assert [one.name for one in tmp_path.iterdir()] == ["\U0001f41d" * 60]


def test_room_is_found_by_writing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    files.check_room(tmp_path, 3 * files.BLOCK)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * files.BLOCK, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.check_room(tmp_path, 3 * files.BLOCK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
