"""Virtual environments made at test time, wheels to install in them, and commands to run there."""

import base64
import hashlib
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Environment:
    """A fresh virtual environment that sees the packages of this one, hubft among them."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        [self.site] = folder.glob("lib/python*/site-packages")
        parent = sysconfig.get_path("purelib")
        (self.site / "parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")

    def install(self, *wheels: Path) -> None:
        """Install wheels with pip, from these files alone."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet", "--no-compile"]
        done = subprocess.run(
            [*pip, "--no-index", "--no-deps", *map(str, wheels)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: object, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the environment's Python; `toy`, which conftest has on the path, is not installed here."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [str(self.python), *map(str, arguments)],
            cwd=cwd or self.site.parent,
            env={**inherited, "COLUMNS": "400", **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    def hubft(self, *arguments: object, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "hubft", *arguments, cwd=cwd, **environ)


@contextmanager
def installed(site: Path, family: str, source: Path) -> Iterator[None]:
    """Have a family of one module on the path, here and in processes that are begun here, as pip would leave it."""
    (site / f"hubft_{family}.py").symlink_to(source)
    announced(site, f"hubft-{family}", f"{family} = hubft_{family}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        yield


def announced(site: Path, distribution: str, entry_points: str) -> None:
    """Leave in a folder what pip leaves of a distribution that announces these families, but for its modules."""
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hubft.families]\n{entry_points}")


def wheel(folder: Path, distribution: str, module: str, code: str, entry_points: str, version: str = "1.0") -> Path:
    """Write a valid wheel of one module, as a build backend would, and return its path."""
    stem = f"{distribution.replace('-', '_')}-{version}"
    files = {
        f"{module}.py": code,
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hubft\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/entry_points.txt": entry_points,
    }
    record = f"{stem}.dist-info/RECORD"
    lines = [f"{name},sha256={_digest(text)},{len(text.encode())}" for name, text in files.items()]
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (files | {record: "\n".join([*lines, f"{record},,", ""])}).items():
            archive.writestr(name, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
