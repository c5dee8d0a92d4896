"""`hubft export`, as a table of contents: checked, written beside its place, proved, put in place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hubft import modality
from hubft.base.bars import Counting, nobody
from hubft.base.console import Console
from hubft.base.errors import ExportError, HubftError, JobError, Option, Unconvertible
from hubft.base.files import check_room, fsync, save_file, write_bytes, writing
from hubft.base.folders import beside
from hubft.compress import structure
from hubft.deploy.export import asked as asking
from hubft.deploy.export import exportable, formats, opening, proof, running, samples
from hubft.deploy.export.asked import Asked
from hubft.deploy.export.exportable import About, Exportable
from hubft.deploy.export.formats import Format
from hubft.deploy.export.proof import Judge, Proof
from hubft.inputs import Inputs
from hubft.publish import lines
from hubft.share import load
from hubft.share.opened import Opened

SELFTEST = ".selftest.safetensors"  # behind the name of a file
BESIDE = 2**20  # bytes that a file may have beside its weights and its tokenizer: graph, texts, self-test


@dataclass(frozen=True)
class Exported:
    """A file that lies in its place."""

    path: Path
    about: About
    proof: Proof
    refused: tuple[str, ...]
    """Faster ways that were tried before, each with what was against it."""
    notes: tuple[str, ...]
    """What a user should know of it."""
    inputs: Inputs
    """What its model takes."""

    @property
    def size(self) -> int:
        """Bytes of the file, and of those that belong to it."""
        return opening.size(self.path)

    def lines(self) -> Iterator[str]:
        """Yield what a user is told of it, and in the end the command that asks it."""
        batch = f"batches of {self.about.batch}" if self.about.batch else "batches of any size"
        batch += f", filled up to {self.inputs}" if self.about.whole else ""
        word = modality.of(self.inputs).word
        yield f"proved   {self.proof}"
        yield from (f"note: {note}" for note in self.notes)
        yield f"written  {self.path}: {self.size / 1e6:,.2f} MB, {self.about.way}, {batch}"
        yield f"try      {lines.predict(str(self.path), word.upper(), formats.named(self.about.format).code)}"


def judging(opened: Opened, asked: Asked, counting: Counting = nobody) -> Judge | None:
    """Return what files of a package's model are judged by, where there is data: its own answers for it."""
    if not asked.data:
        return None
    found = samples.read(opened.manifest, asked.data, asked.with_preprocess, asked.max_drop, counting)
    return Judge(found, *found.told(opened))


def export(
    source: str | Path,
    asked: Asked,
    trust: bool = False,
    console: Console | None = None,
    judge: Judge | None = None,
) -> Exported:
    """Return a package's model as a file of another runtime, proved before it was put in place.

    :param source: of a package, as `share.load.load` takes it.
    :param judge: as `judging` gives it, where it is known already.
    :raises JobError: an unknown format, a precision that it has not, a library that is not installed.
    :raises ExportError: the format cannot hold this model, or no file of it is as good as it must be.
    """
    form, console = asking.check(asked), console or Console(quiet=True)
    package = opening.package(source)
    path = _target(form, asked, package.folder)
    opened = load.opened(package, trust)
    judge = judge or judging(opened, asked, console.counting)
    it = exportable.of(opened, asked.with_preprocess)
    refused: list[tuple[str, ExportError]] = []
    ways = form.ways(it, asked.precision)
    for way in ways:
        try:
            with writing(path, "nothing was written; make room, or name another --output"), beside(path) as folder:
                new = folder / path.name
                with _full(folder, it.size + sum(map(len, opening.beside(new, it.inputs).values()))):
                    about, proved = _made(it, form, new, way, asked, judge, console.counting)
                _put([*form.companions(new), *opening.beside(new, it.inputs)], new, path)
            tried = tuple(f"{other}: {error}" for other, error in refused)
            notes = (*form.notes(it, path), *_widened(it), *_cures(proved))
            return Exported(path, about, proved, tried, notes, it.inputs)
        except Unconvertible as error:  # whatever the way
            raise Unconvertible(f"{path.name} was not written. ", *error.args) from error
        except ExportError as error:
            refused.append((way, error))
            if len(ways) > 1:
                console.say(f"refused  {way}: {error.typed()}")
    raise _refusal(path, asked, refused)


def _widened(it: Exportable) -> tuple[str, ...]:
    if not structure.needs(it.manifest.structure):
        return ()
    return ("what the package has computed in int8 is computed in fp32 here, from the same weights",)


def _cures(proved: Proof) -> tuple[str, ...]:
    if not proved.spoiled:
        return ()
    return ("without hubft, open it with INFERENCE_PRECISION_HINT f32: by itself the runtime takes bf16 here",)


def _target(form: Format, asked: Asked, folder: Path) -> Path:
    """Return where the file shall lie: its folder is there, and what it would replace is such a file itself."""
    named = folder.resolve().parent.name if folder.name == "package" else folder.name
    bits = "" if asked.precision == "fp32" else f".{asked.precision}"
    path = Path(asked.output or f"{named}{bits}{form.suffix}")
    if not path.name.lower().endswith(form.suffix):
        raise JobError(Option("output"), f" {str(path)!r}: a file of {form.name} is named *{form.suffix}")
    if not path.absolute().parent.is_dir():
        raise JobError(f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}")
    if path.is_symlink() or path.exists():
        try:
            opening.stated(form, path)
        except HubftError as error:
            raise JobError(
                f"{str(path)!r} exists and is no export of hubft: nothing was written; name another ", Option("output")
            ) from error
    return path.absolute()


@contextmanager
def _full(folder: Path, size: int) -> Iterator[None]:
    """Have a full disk told as such: a library says anything of a file that it could not write whole.

    :param folder: of that file, emptied when it failed.
    :param size: bytes of its weights.
    :raises OSError: in place of an ExportError, where they have none.
    """
    try:
        yield
    except ExportError:
        for one in folder.iterdir():
            shutil.rmtree(one) if one.is_dir() else one.unlink()
        check_room(folder, size + BESIDE)
        raise


def _made(
    it: Exportable, form: Format, new: Path, way: str, asked: Asked, judge: Judge | None, counting: Counting
) -> tuple[About, Proof]:
    """Write a file and prove it; return what it states and what was found."""
    with counting(f"{new.name} written", None):
        form.write(it, new, way, judge.samples if judge and asked.precision == "int8" else None)
    for file, content in opening.beside(new, it.inputs).items():
        write_bytes(file, content)
    texts = running.metadata(form, new)
    _, about = opening.parsed(new, texts)
    if lost := it.metadata(about).items() - texts.items():
        raise ExportError(f"its metadata lacks {', '.join(sorted(name for name, _ in lost))}")
    with counting(f"{new.name} proved", None):
        proved = proof.prove(it, form, new, about, judge)
    names = it.names if len(it.names) > 1 else ["inputs"]
    given = it.given(range(len(it.examples)), about.whole)
    tensors = {**it.stored, **dict(zip(names, given, strict=True))}
    tensors |= {name: tensor.contiguous() for name, tensor in zip(it.outputs, it.answers, strict=True)}
    beside = new.with_name(new.name + SELFTEST)
    save_file(tensors, beside)
    beside.chmod(new.stat().st_mode & 0o666)  # safetensors lets only the owner read
    return about, proved


def _put(several: Sequence[Path], new: Path, path: Path) -> None:
    """Put a file and what belongs to it in place: by renaming, so that nobody who reads the old one sees other bytes.

    Where there are several files, the first of the old ones goes before any new one comes: what a crash leaves is
    no model, never halves of two.

    :param several: the further files that make up the model.
    """
    for one in (*several, new):
        if one.is_file():
            fsync(one)
    if several:
        path.unlink(missing_ok=True)
    for one in (*several, new.with_name(new.name + SELFTEST), new):
        place = path.with_name(one.name)
        if place.is_dir():
            shutil.rmtree(place)
        one.replace(place)
    fsync(path.parent)


def _refusal(path: Path, asked: Asked, refused: Sequence[tuple[str, ExportError]]) -> ExportError:
    """Return the error of an export of which no way was good enough, with what was against each."""
    parts: list[object] = [f"{path.name} was not written. "]
    for number, (way, error) in enumerate(refused):
        parts += [f"{'; ' if number else ''}{way}: ", *error.args]
    if asked.precision != "fp32":
        parts += ["; what this model reaches in fp32 is kept by ", Option("precision"), " fp32"]
    return ExportError(*parts)
