"""The tensors of a checkpoint where a model is in shards: by `torch.distributed.checkpoint`, a file of each process.

The files are safetensors, as those of a whole model: nothing in them is run by who reads them. Another number of
processes reads them too, each its own shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

from torch import Size, Tensor, dtype

from hubft.base import digest
from hubft.machine.ranks import Ranks

FILES = "*.safetensors"


def save(folder: Path, tensors: Iterable[tuple[str, Tensor]], ranks: Ranks) -> dict[str, str]:
    """Write what this process has of tensors; return the sha256 of the files of all processes, by name; each must call
    it.

    :raises OSError: one of them cannot write.
    """
    from torch.distributed.checkpoint import state_dict_saver  # not at the top: few runs need it
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    with _told():
        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        state_dict_saver.save(dict(sorted(tensors, key=itemgetter(0))), storage_writer=writer)  # in one order
    own = ranks.own(sorted(folder.glob(FILES)))
    return dict(sorted(one for its in ranks.told([(p.name, digest.of_file(p)) for p in own]) for one in its))


def stored(folder: Path) -> dict[str, tuple[Size, dtype]]:
    """Return the shape and type of each tensor that was written, all its shards together, by name."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    its: Mapping[str, Any] = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {name: (one.size, one.properties.dtype) for name, one in its.items()}


def load(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill tensors, in place, with what was written under their names: of those in shards this process's own."""
    from torch.distributed.checkpoint import state_dict_loader
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    with _told():
        state_dict_loader.load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)))


@contextmanager
def _told() -> Iterator[None]:
    """Raise what the system has against a file as it is: the library raises the failures of all processes in one."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error
