"""From a path to a model that answers: a package, or a file that was exported from one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hubft.base.errors import ExportError, JobError, PackageError
from hubft.deploy.export import exportable, formats
from hubft.deploy.export.exportable import About
from hubft.deploy.export.formats import Format
from hubft.hookspecs import Loaded
from hubft.inputs import Inputs, images
from hubft.publish import carried
from hubft.publish import manifest as manifests
from hubft.publish.manifest import Manifest
from hubft.publish.package import Package
from hubft.share import load
from hubft.share.averaging import Averaging
from hubft.share.opened import Opened


def opened(source: str | Path, trust: bool = False, threads: int = 0, exact: bool = False) -> Opened:
    """Return what a user names, as a model that answers.

    :param source: an exported file; or a package, as `share.load.load` takes it.
    :param trust: also run code that a package asks for, or that the file holds.
    :param threads: that a file's runtime computes with; 0 are those of PyTorch here.
    :param exact: have a file computed in fp32, also where the machine has something faster.
    :raises ExportError: no file of a format, or one that was not written by hubft.
    """
    path = Path(source)
    if not is_file(path):
        return load.opened(load.package(source), trust)
    form = formats.of(path)
    if form is None:
        known = ", ".join(formats.named(name).suffix for name in formats.FORMATS)
        raise JobError(f"{str(path)!r} is neither a package nor an exported file; their suffixes are {known}")
    formats.require(form, form.runtime, f"to run {path.name}")
    if not formats.runs_here(form):
        raise ExportError(f"{path.name} runs on another system than this: it needs {formats.SYSTEMS[form.platform]}")
    manifest, about = stated(form, path)
    if form.code and not trust:
        raise ExportError(
            f"{path.name} holds code, which runs when it is loaded; if you trust whoever made it, add --trust"
        )
    return Opened(manifest, partial(_loaded, form, path, manifest, about, threads, exact))


def averaging(source: str | Path, others: Sequence[str | Path], tta: str, trust: bool = False) -> Averaging:
    """Return of what the answers of a model shall be the mean.

    :param source: the model that is named first.
    :param others: further ones, as `opened` takes them.
    :param tta: views of a picture, as `share.averaging.WAYS` names them; or nothing.
    :raises JobError: one is named twice.
    """
    names = [str(one) for one in (source, *others)]
    if len(set(names)) < len(names):
        raise JobError(f"--with {names[-1]}: name each package once")
    return Averaging(tta, {str(one): opened(one, trust) for one in others}, names[0])


def package(source: str | Path) -> Package:
    """Return the package that a user names, where a file will not do.

    :raises PackageError: none, or a file.
    """
    if is_file(Path(source)):
        raise PackageError(f"{str(source)!r} is a file: name the package that it was made from, or the folder of a run")
    return load.package(source)


def is_file(path: Path) -> bool:
    """Tell whether a path is that of an exported file, which for some formats is a folder."""
    try:
        return path.is_file() or (path.is_dir() and formats.of(path) is not None)
    except OSError:  # a name that no file system takes
        return False


def stated(form: Format, path: Path) -> tuple[Manifest, About]:
    """Return what a file states: of its package, with the inputs as the file takes them, and of itself.

    :raises ExportError: it states nothing, or what cannot be.
    """
    from hubft.deploy.export import running

    return parsed(path, running.metadata(form, path))


def beside(path: Path, inputs: Inputs) -> dict[Path, bytes]:
    """Return what lies beside an exported file for its inputs, path -> bytes: `model.onnx.tokenizer.json`."""
    return {path.with_name(f"{path.name}.{file}"): content for file, content in carried.texts(inputs).items()}


def parsed(path: Path, texts: Mapping[str, str]) -> tuple[Manifest, About]:
    """Return what a file states, from the texts in it and the files beside it; `stated` says more."""
    if exportable.OURS not in texts:
        raise ExportError(f"{path.name} was not written by hubft: it has no {exportable.OURS!r} in its metadata")
    try:
        manifest = manifests.parse(texts[exportable.OURS].encode("ascii"))
        inputs = carried.filled(manifest.inputs, manifest.files, path.parent, f"{path.name}.")
        manifest = replace(manifest, inputs=inputs)
        about = exportable.about(texts.get(exportable.ABOUT, "null"))
    except (PackageError, JobError, ValueError) as error:
        raise ExportError(f"{path.name}: {error}") from error
    if about.pixels:
        manifest = replace(manifest, inputs=exportable.raw(images(manifest.inputs)))
    return manifest, about


def _loaded(form: Format, path: Path, manifest: Manifest, about: About, threads: int, exact: bool) -> Loaded:
    import torch

    from hubft.deploy.export import running

    run = running.here(form, path, threads or torch.get_num_threads(), exact or about.exact)
    model = running.Running(run, about, manifest)
    return Loaded(model, "", {}, manifest.inputs, manifest.base)


def size(path: Path) -> int:
    """Return the bytes of an exported file, with those that belong to it."""
    form = formats.of(path)
    assert form is not None
    parts = [path, *form.companions(path)]
    files = [one for part in parts for one in (part.rglob("*") if part.is_dir() else [part]) if one.is_file()]
    return sum(one.stat().st_size for one in files)
