"""Tensors in a safetensors file: checked against the model before anything is allocated, narrowed without loss.

Storage rule: where every float32 tensor of a file holds only values that bfloat16 holds too, all of them are
stored as bfloat16, at half the size. Else, where every one of two or more dimensions holds only what int8 with a scale
for each channel holds (`hubft/compress/int8.py`), these are stored so, at a quarter: `NAME` is int8, and `NAME..scale`
bfloat16 `[channels]`, a name that no parameter can have, for no part of one is empty. Reading widens them again, to
equal values. All or nothing, so an uncompressed package keeps plain float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from hubft.base.errors import PackageError
from hubft.base.files import save_file
from hubft.compress import int8

HEADER_LIMIT = 8 * 2**20  # bytes; that of a ResNet-50 has 29 kB, and 87 MB of empty tensors take 21 s to parse

SCALE = "..scale"

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a model's tensors to a new file, by the storage rule."""
    save_file(stored(tensors, f"{path.name} was not written"), path)


def save_plain(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write finite tensors that are no weights to a new file, as they are."""
    require_finite(f"{path.name} was not written", tensors)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def size(tensors: Mapping[str, Tensor]) -> int:
    """Return how many bytes the tensors of a file take that `save` would write, without its header."""
    return sum(tensor.nbytes for tensor in stored(tensors, "the model").values())


def in_int8(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether `save` would write int8 with scales."""
    return any(name.endswith(SCALE) for name in stored(tensors, "the model"))


def stored(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return tensors as the storage rule has them, on the CPU, no two in one memory: tied ones once, by the first name.

    :param where: how an error begins.
    :raises PackageError: something that is no tensor, or a number that is not finite.
    """
    plain: dict[str, Tensor] = {}
    seen: dict[int, list[Tensor]] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise PackageError(f"the model's state holds {name}, a {type(tensor).__name__}: only tensors are packaged")
        beside = seen.setdefault(tensor.untyped_storage().data_ptr(), [])
        if any(_same(tensor, other) for other in beside):
            continue
        whole = tensor.detach().cpu().contiguous()
        plain[name] = whole.clone() if beside else whole  # safetensors refuses tensors that share memory
        beside.append(tensor)
    require_finite(where, plain)
    wide = [name for name, tensor in plain.items() if tensor.dtype == torch.float32]
    if all(torch.equal(plain[name], plain[name].bfloat16().float()) for name in wide):
        return plain | {name: plain[name].bfloat16() for name in wide}
    return plain | _scaled({name: plain[name] for name in wide if int8.takes(plain[name])})


def _same(one: Tensor, other: Tensor) -> bool:
    """Tell whether tensors of one memory are one: tied, not parts or views of each other."""
    places = [(t.storage_offset(), t.shape, t.stride(), t.dtype) for t in (one, other)]
    return places[0] == places[1] and one.numel() > 0


def _scaled(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights as int8 with their scales; nothing, where one of them has other bits then."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        q, scale = int8.quantized(tensor)
        if not torch.equal(int8.widened(q, scale).view(torch.int32), tensor.view(torch.int32)):
            return {}
        found |= {name: q, name + SCALE: scale}
    return found


def read(path: Path, like: Mapping[str, Tensor], tied: Mapping[str, str] = MappingProxyType({})) -> dict[str, Tensor]:
    """Return the file's tensors, which must be those of `like` in name, shape and dtype; nobody reads its values.

    They are mapped from the file, copy on write: whoever writes to the tensors does not write to the file.

    :param tied: names that the file need not have, each with that of the tensor that it is, too.

    :raises PackageError: not a safetensors file, other tensors than those of `like`, or a number that is not finite.
    """
    stored = header(path)
    scaled = [n for n, (dtype, _) in stored.items() if dtype == torch.int8 and n in like and int8.takes(like[n])]
    wanted = {n: (t.dtype, tuple(t.shape)) for n, t in like.items() if n in stored or n not in tied}
    wanted |= {name + SCALE: (torch.bfloat16, wanted[name][1][:1]) for name in scaled}
    same_names(path.name, stored, wanted)
    for name, (dtype, shape) in stored.items():
        its, size = wanted[name]
        narrowed = its == torch.float32 and (dtype == torch.bfloat16 or name in scaled)
        if shape != size or not (dtype == its or narrowed):
            raise PackageError(f"{path.name}: {name} is {dtype} {list(shape)}, where the model has {its} {list(size)}")
    found = mapped(path)
    require_finite(path.name, found)
    weights = {name: int8.widened(found[name], found.pop(name + SCALE)) for name in scaled}
    require_finite(path.name, weights)  # a scale near the largest number can give infinity
    return {name: tensor.to(like[name].dtype) for name, tensor in {**found, **weights}.items()}


def require_finite(where: str, tensors: Mapping[str, Tensor]) -> None:
    """Check that no tensor holds NaN or infinity: a model that does gives no answers.

    Reads each once, 100 MB in 8 ms; the files of a package were hashed a moment ago, in ten times that.

    :raises PackageError: one does; it is named.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel() and not all(end.isfinite() for end in tensor.aminmax()):
            raise PackageError(f"{where}: the tensor {name[:200]!r} holds numbers that are not finite")


def mapped(path: Path) -> dict[str, Tensor]:
    """Return a file's tensors as they are stored; call `header` first.

    :raises PackageError: offsets out of bounds, overlapping, or not of the tensor's size.
    """
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise PackageError(f"{path.name}: {error}") from error


def header(path: Path) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Return dtype and shape of every tensor of a file by name, from its header alone.

    Offsets are not looked at: the library checks them when it maps the file.

    :raises PackageError: no safetensors header, one above HEADER_LIMIT, or a name that stands twice.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(HEADER_LIMIT, path.stat().st_size - 8):
            raise PackageError(f"{path.name}: a header of {length} bytes; at most {HEADER_LIMIT}, and within the file")
        entries = parse_json(file.read(length), path.name)
    entries.pop("__metadata__", None)
    return {name: _entry(path.name, name, entry) for name, entry in entries.items()}


def _entry(file: str, name: str, entry: Any) -> tuple[torch.dtype, tuple[int, ...]]:
    dtype = DTYPES.get(str(entry.get("dtype"))) if isinstance(entry, dict) else None
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if dtype is None or not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise PackageError(f"{file}: the header's entry for {name!r} is broken, or of a dtype that is not known")
    return dtype, tuple(shape)


def same_names(file: str, stored: Iterable[str], wanted: Iterable[str]) -> None:
    """Check that a file has exactly the tensors that the model wants of it.

    :raises PackageError: one is missing or too many; the first is named.
    """
    stored, wanted = dict.fromkeys(stored), dict.fromkeys(wanted)
    for verb, first, second in (("lacks", wanted, stored), ("has", stored, wanted)):
        odd = [name for name in first if name not in second]
        if odd:
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            tail = "" if verb == "lacks" else ", which the model has not"
            raise PackageError(f"{file}: {verb} {odd[0][:200]!r}{more}{tail}")


def parse_json(text: bytes, where: str) -> dict[str, Any]:
    """Return the object that a JSON text holds.

    :raises PackageError: no JSON, no object, NaN or infinity, a key that stands twice, too deep nesting.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key stands twice")
        return found

    def never(name: str) -> None:
        raise ValueError(f"{name} is no JSON number")

    try:
        value = json.loads(text, object_pairs_hook=once, parse_constant=never)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{where}: not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise PackageError(f"{where}: holds {type(value).__name__}, not an object")
    return value
