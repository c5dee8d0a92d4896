"""`hubft push --with`: exports of a package, made and proved before anything of it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hubft import methods
from hubft.base.console import Console
from hubft.base.errors import JobError, Option
from hubft.deploy import candidates
from hubft.deploy.candidates import Candidate
from hubft.deploy.export import export
from hubft.deploy.export.asked import Asked
from hubft.publish import exports
from hubft.publish.package import Package

WITH = Option("with")


@dataclass(frozen=True)
class Exports:
    """What is sent along with a package, as `transfer.push` calls it."""

    words: tuple[str, ...]
    """Formats, with `:PRECISION` where it is not fp32."""
    data: str = ""
    """Labelled data: to calibrate on, and to judge by."""
    max_drop: float = Asked.max_drop
    """Points of the task's score on the validation part that a file may lose."""
    trust: bool = False
    console: Console | None = None

    def __call__(self, package: Package, folder: Path) -> dict[str, Path]:
        """Return path on the Hub -> file here, of exports that now lie in a folder, each proved.

        :raises JobError: a word that is no format which the Hub's tools have a place for, or that cannot be written.
        :raises ExportError: the package cannot be written so, or no file is as good as it must be.
        """
        for one in self._wanted(package):
            path = folder / exports.PLACES[one.format, one.precision]
            path.parent.mkdir(exist_ok=True)
            asked = Asked(one.format, one.precision, str(path), self.data, max_drop=self.max_drop)
            done = export.export(package.folder, asked, self.trust, self.console)
            if self.console:
                self.console.say(f"proved   {path.relative_to(folder).as_posix()}: {done.proof}")
        return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def _wanted(self, package: Package) -> list[Candidate]:
        wanted = candidates.parse(self.words, package.manifest.built.family, WITH)
        for one in wanted:
            if one.methods != methods.NONE or (one.format, one.precision) not in exports.PLACES:
                known = ", ".join(form if bits == "fp32" else f"{form}:{bits}" for form, bits in exports.PLACES)
                raise JobError(WITH, f" {one.name!r}: the package itself is sent as {known}")
            if one.precision == "int8" and not self.data:
                needs = " needs data to calibrate on and to judge by: give "
                raise JobError(WITH, f" {one.name}{needs}", Option("data"), " DATA, as for finetune")
        return wanted
