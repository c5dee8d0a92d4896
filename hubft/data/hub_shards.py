"""Which shards a data set of the Hugging Face Hub has, at the commit that it is at now."""

from __future__ import annotations

from collections.abc import Callable

from hubft.base import network
from hubft.base.display import listed
from hubft.base.errors import DataError, reason


def found(data: str, rest: str, suffix: str, expanded: Callable[[str], list[str]]) -> list[tuple[str, str]]:
    """Return (path in the data set, URL at its commit) of each shard, sorted where a folder is named.

    :param data: as messages name it.
    :param rest: `owner/name[@revision]`, and perhaps the path of a shard, a pattern, or a folder behind it.
    :param suffix: of shards.
    :param expanded: makes paths of a pattern.
    :raises DataError: there is no such data set, or no such shard in it.
    """
    from huggingface_hub import HfApi, hf_hub_url  # not at the top: it takes a while to import

    owner, _, rest = rest.partition("/")
    repository, _, path = rest.partition("/")
    name, _, revision = repository.partition("@")
    if not owner or not name:
        raise DataError(f"{data!r} names no data set: write hf://datasets/owner/name")
    name = f"{owner}/{name}"
    try:
        api = HfApi()
        info = network.within(
            network.PATIENCE, lambda: api.dataset_info(name, revision=revision or None, timeout=network.PATIENCE)
        )
    except Exception as error:  # of the network, of the Hub; the client's classes for them change
        raise DataError(f"{data!r} cannot be read: {reason(error)}") from error
    there = {one.rfilename for one in info.siblings or []}
    folder = f"{path.rstrip('/')}/" if path else ""
    if path.endswith(suffix):
        paths = expanded(path)
    else:
        paths = sorted(one for one in there if one.endswith(suffix) and one.startswith(folder))
    if missing := [one for one in paths if one not in there]:
        raise DataError(f"{data!r}: the data set has no {listed(missing)}")
    if not paths:
        raise DataError(f"{data!r} holds no {suffix} files: for tables of the Hub, write datasets:{name}")
    return [(one, hf_hub_url(name, one, repo_type="dataset", revision=info.sha)) for one in paths]
