"""The package: what is published of a run. Its format (schema 2), written atomically, read with suspicion.

    hubft.json              the manifest (`hubft/publish/manifest.py`)
    model.safetensors       all weights, or
    delta.safetensors       only the tensors that differ from the base; the manifest lists those to be taken from it, or
    adapter_model.safetensors, adapter_config.json
                            an adapter and the head in the files of the library peft, over the whole of the base
    selftest.safetensors    images and the logits they must give (`hubft/publish/selftest.py`)
    README.md               the model card (`hubft/publish/card.py`), with
    picture.png             its picture
    tokenizer.json          of a model of text: how a text becomes numbers, in the format of the library `tokenizers`
    config.json             what the family's own library needs to load a full package without hubft

A package is data: nothing in it is ever run.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from hubft.base import digest
from hubft.base.errors import DamagedPackage, PackageError
from hubft.base.files import MANIFEST, fsync
from hubft.compress import structure
from hubft.families.stages import under
from hubft.job import PACKAGE, Reference, unplaced
from hubft.publish import card, carried, tensors
from hubft.publish import manifest as manifests
from hubft.publish.carried import File
from hubft.publish.manifest import CARD, CONFIG, FILES, PICTURE, ROLES, SELFTEST, WEIGHTS, Manifest

__all__ = [
    "CARD",
    "CONFIG",
    "FILES",
    "MANIFEST",
    "PICTURE",
    "SELFTEST",
    "WEIGHTS",
    "Manifest",
    "Package",
    "locate",
    "read",
    "write",
]


@dataclass(frozen=True)
class Package:
    """A package that was read and checked."""

    folder: Path
    manifest: Manifest


def write(
    folder: Path,
    manifest: Manifest,
    state: Mapping[str, Tensor],
    selftest: Mapping[str, Tensor],
    base_digests: Mapping[str, str] | None = None,
    extras: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Return the complete manifest of the package that now lies in `folder`.

    A package that was there is replaced in the end, by renaming: a crash leaves the old one or the new one.

    :param manifest: without `delta` and `files`; paths of this machine are taken out of its job.
    :param state: the trained model's `state_dict()`; with an adapter apart, its tensors and the weights without it.
    :param selftest: of `selftest.make`.
    :param base_digests: sha256 by name of the base's tensors; needed where the job asks for a delta.
    :param extras: the bytes of PICTURE, CONFIG and an adapter's own config, where there are any.
    :raises PackageError: the folder holds something else, or the manifest would not be readable.
    """
    folder = folder.resolve()
    new, old = _beside(folder)
    _recover(folder)
    if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
        raise PackageError(f"{folder} is not empty and is no package: nothing was written")
    reused = None
    if manifest.job.over_base:
        assert base_digests is not None, "what lies over a base needs its digests"
        same = {n: base_digests[n] for n, t in state.items() if base_digests.get(n) == digest.of_tensor(t)}
        kept = form.kept if (form := structure.form(manifest.structure)) else ()
        reused = {n: sha256 for n, sha256 in same.items() if not any(under(n, name) for name in kept)}
    manifest = _published(manifest, reused)
    new.mkdir(parents=True)
    try:
        written = _filled(new, manifest, state, selftest, extras or {})
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    _put(new, folder, old)
    return written


def _filled(
    new: Path,
    manifest: Manifest,
    state: Mapping[str, Tensor],
    selftest: Mapping[str, Tensor],
    extras: Mapping[str, bytes],
) -> Manifest:
    own = {n: t for n, t in state.items() if n not in (manifest.delta or {})}
    if form := structure.form(manifest.structure):
        tensors.save_plain(new / manifest.weights, form.packed(own))
    else:
        tensors.save(new / manifest.weights, own)
    tensors.save_plain(new / SELFTEST, selftest)
    for name, data in {**carried.texts(manifest.inputs), **extras}.items():
        (new / name).write_bytes(data)
    manifest = replace(manifest, files=_files(new))
    (new / CARD).write_text(card.text(manifest), encoding="utf-8")
    for name in (manifest.weights, SELFTEST):
        shutil.copymode(new / CARD, new / name)  # safetensors lets only the owner read
    (new / MANIFEST).write_text(manifests.to_json(replace(manifest, files=_files(new))), encoding="ascii")
    return read(new).manifest  # what cannot be read is never put in place


def _published(manifest: Manifest, delta: dict[str, str] | None) -> Manifest:
    """Return the manifest without paths of this machine, but for that of a base which a delta needs."""
    base, job = manifest.base, manifest.job.published()
    unneeded = base.config and not base.code  # the folder of the pretrained model
    bare = partial(unplaced, of=Reference.parse(base.architecture).family if unneeded else PACKAGE)
    reference = base.reference if delta is not None else bare(base.reference)
    base = replace(base, reference=reference, below=tuple(map(bare, base.below)))
    job = job if delta is not None else replace(job, reference=bare(job.reference))
    return replace(manifest, job=job, base=base, delta=delta)


def _put(new: Path, folder: Path, old: Path) -> None:
    for path in (*new.iterdir(), new):
        fsync(path)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    fsync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _files(folder: Path) -> dict[str, File]:
    return {path.name: _file(path) for path in sorted(folder.iterdir())}


def _file(path: Path) -> File:
    return File(digest.of_file(path), path.stat().st_size, ROLES[path.name])


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.parent / f".{folder.name}.new", folder.parent / f".{folder.name}.old"


def _recover(folder: Path) -> None:
    """Mend what a crash in `write` left: the old package is put back if it had just been moved away."""
    new, old = _beside(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    for path in (new, old):
        if path.exists():
            shutil.rmtree(path)


def locate(folder: Path) -> Path | None:
    """Return where the package `folder` lies: there, or beside it where a crash in `write` left the old one."""
    return next((place for place in (folder, _beside(folder.resolve())[1]) if (place / MANIFEST).is_file()), None)


def read(folder: Path, verify: bool = True) -> Package:
    """Return the package in a folder, every file but the card compared with what the manifest says of it.

    The card is for people, who may edit it on the Hub; nothing reads it.

    :param verify: read all files and compare their sha256, not only their sizes.
    :raises DamagedPackage: a file is missing, or altered.
    :raises PackageError: of a newer schema, or no package.
    """
    manifest = manifests.read(folder / MANIFEST)
    for name, file in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise DamagedPackage(f"{folder}: {name} is missing")
        if name != CARD and path.stat().st_size != file.size:
            size = path.stat().st_size
            raise DamagedPackage(f"{folder}: {name} has {size} bytes, not the {file.size} of its manifest")
        if name != CARD and verify and digest.of_file(path) != file.sha256:
            raise DamagedPackage(f"{folder}: {name} was altered: its sha256 is not that of the manifest")
    return Package(folder, manifest)


def stage(package: Package, folder: Path, hub: str, exports: Sequence[str] = ()) -> Package:
    """Return a copy of a verified package as `hub`, owner/name, will hold it: its card says how to load it there.

    A card that was edited stays as it is. The other files are links where the system lets us make them.

    :param exports: places of the exported files that lie beside it there, for the card to name.
    """
    folder.mkdir()
    manifest = package.manifest
    for name in manifest.files:
        source = (package.folder / name).resolve()
        try:
            (folder / name).symlink_to(source)
        except OSError:  # Windows asks for a privilege
            shutil.copyfile(source, folder / name)
    if digest.of_file(folder / CARD) == manifest.files[CARD].sha256:
        (folder / CARD).unlink()
        (folder / CARD).write_text(card.text(manifest, hub, exports), encoding="utf-8")
    manifest = replace(manifest, files={**manifest.files, CARD: _file(folder / CARD)})
    (folder / MANIFEST).write_text(manifests.to_json(manifest), encoding="ascii")
    return read(folder, verify=False)
