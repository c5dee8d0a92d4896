"""Exported files as they lie beside a package on the Hub: in the places where the Hub's own tools look for them.

`onnx/model.onnx` and `onnx/model_quantized.onnx` are those of transformers.js and optimum, the names of OpenVINO those
of optimum-intel and sentence-transformers. Each folder has MARK, which says of which package its files were made: so a
later push knows from the Hub's listing alone whether they are still those of its package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from hubft import modality
from hubft.inputs import Inputs
from hubft.publish import lines
from hubft.publish import manifest as manifests
from hubft.publish.manifest import CARD, Manifest
from hubft.publish.markdown import code, table

PLACES = {
    ("onnx", "fp32"): "onnx/model.onnx",
    ("onnx", "int8"): "onnx/model_quantized.onnx",
    ("openvino", "fp32"): "openvino/openvino_model.xml",
    ("openvino", "bf16"): "openvino/openvino_model_bf16.xml",
    ("openvino", "int8"): "openvino/openvino_model_qint8_quantized.xml",
}
"""Format and precision -> path of the file in the repository; what belongs to it lies beside it, under its name."""
MARK = "hubft_exports.json"  # in each folder with such files
TITLES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}  # of the runtimes


def folders(paths: Collection[str]) -> set[str]:
    """Return the folders of the repository that have some of these files."""
    return {str(PurePosixPath(path).parent) for path in paths}


def marked(folder: str) -> str:
    """Return the path of a folder's MARK."""
    return f"{folder}/{MARK}"


def mark(manifest: Manifest) -> bytes:
    """Return what MARK holds: the sha256 of all that the package states, but of its card, which is for people."""
    stated = replace(manifest, files={name: file for name, file in manifest.files.items() if name != CARD})
    sha256 = hashlib.sha256(manifests.to_json(stated).encode("ascii")).hexdigest()
    return f"{json.dumps({'package': sha256})}\n".encode()


def sorted_out(tree: Mapping[str, str], known: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the places that hold files of a package, and the paths of all that was made of other packages.

    :param tree: path -> id of the repository's files.
    :param known: the ids that the package's MARK may have.
    """
    kept, stale = [], []
    for folder in sorted(folders(PLACES.values())):
        mark = tree.get(marked(folder))
        places = [place for place in PLACES.values() if folder == str(PurePosixPath(place).parent) and place in tree]
        if mark in known:
            kept += places
        elif mark is not None:
            stale += [marked(folder), *(path for path in tree if any(_belongs(path, place) for place in places))]
    return kept, stale


def _belongs(path: str, place: str) -> bool:
    """Return whether a file is that of a place, its weights, or its self-test."""
    return path.startswith(f"{_stem(place)}.")


def _stem(place: str) -> str:
    return str(PurePosixPath(place).with_suffix(""))


def formats(places: Sequence[str]) -> list[str]:
    """Return the formats of the files at these places, which are tags of the Hub."""
    return sorted({format for (format, _), place in PLACES.items() if place in places})


def text(places: Sequence[str], hub: str, inputs: Inputs) -> Iterator[str]:
    """Yield the part of a card that names the files at these places, line by line.

    :param inputs: what the model takes.
    """
    there = [(place, *what) for what, place in PLACES.items() if place in places]
    if not there:
        return
    yield "## Files of other runtimes\n"
    yield from table(
        ("file", "runtime", "precision"), ((f"`{place}`", TITLES[form], bits) for place, form, bits in there)
    )
    yield (
        f"Each was proved by its own runtime before it was sent. It takes {_listed(inputs.arrays)} and gives "
        "`outputs`; classes, task and preprocessing are in the metadata, and `.selftest.safetensors` beside it has "
        f"inputs with the outputs that they must give{_beside(inputs)}.\n"
    )
    if "openvino" in formats(places):
        yield (
            "OpenVINO computes in bf16 by itself where the processor can; `INFERENCE_PRECISION_HINT` `f32` has it "
            "compute in fp32.\n"
        )
    first = there[0][0]
    yield from code(
        f'hf download {hub} --include "{_stem(first)}.*" --local-dir .',
        lines.predict(first, modality.of(inputs).example(inputs), False),
        language="bash",
    )


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _beside(inputs: Inputs) -> str:
    files = [f".{file}" for file in inputs.FILES.values()]
    return f"; {_listed(files)} is what it reads besides" if files else ""
