"""A process of somebody who has what hubft depends on, and not hubft: what torch.hub finds on another machine."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HIDDEN = ("hubft", "_editable_impl_hubft", "__editable__", "timm")

NOT_INSTALLED = """
import json, os, sys, torch
for name in ("hubft", "timm"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported")
"""


def checkout() -> dict[str, bytes]:
    """Return the files of the project that torch.hub needs, by path."""
    paths = [ROOT / "hubconf.py", *(p for d in ("hubft", "plugins") for p in sorted((ROOT / d).rglob("*")))]
    return {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in paths if p.is_file() and p.suffix != ".pyc"}


def files(folder: Path) -> dict[str, bytes]:
    """Return the files under a folder by path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def altered(files: Mapping[str, bytes], path: str, old: str, new: str) -> dict[str, bytes]:
    """Return the files with a text in one of them replaced."""
    text = files[path].decode()
    assert old in text
    return {**files, path: text.replace(old, new).encode()}


def site(folder: Path, hidden: tuple[str, ...] = HIDDEN) -> Path:
    """Return a folder with links to what is installed here, but what starts with one of the hidden names."""
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.lower().startswith(hidden):
            (folder / path.name).symlink_to(path)
    return folder


def start(code: str, paths: Sequence[Path], cwd: Path, extra: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a fresh Python that has the standard library and `paths`, and nothing else; TORCH_HOME is cwd/torch."""
    environment = {k: v for k, v in os.environ.items() if k not in ("SSL_CERT_DIR", "GITHUB_TOKEN")} | dict(extra)
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "TORCH_HOME": str(cwd / "torch")}
    command = [sys.executable, "-S", "-W", "error", "-c", code]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, stdout=pipe, stderr=pipe)


def run(code: str, paths: Sequence[Path], cwd: Path, extra: Mapping[str, str]) -> str:
    """Return what such a process prints; it must end well."""
    process = start(code, paths, cwd, extra)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output
