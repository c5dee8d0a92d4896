"""The local store that the xet client writes to where a server sends it to `local://FOLDER`.

Clients name large files by sha256, the store by xet hash: which is which stands in the store's shards. A shard has a
header, and then for each file 48-byte records, little-endian: the file (xet hash, flags, number of segments), its
segments, as many again if it has verification, and one with its sha256 if it has metadata.
"""

import itertools
import struct
from pathlib import Path

HEADER, RECORD = 48, 48
END = b"\xff" * 32
HAS_VERIFICATION, HAS_METADATA = 1 << 31, 1 << 30


def hashes(store: Path) -> dict[str, str]:
    """Return sha256 -> xet hash of every file in the store."""
    found: dict[str, str] = {}
    for path in store.rglob("*.mdb"):
        shard = path.read_bytes()
        records = (shard[at : at + RECORD] for at in itertools.count(HEADER, RECORD))
        while (file := next(records))[:32] != END:
            flags, count = struct.unpack_from("<II", file, 32)
            for _ in range(2 * count if flags & HAS_VERIFICATION else count):
                next(records)
            if flags & HAS_METADATA:
                found[_hex(next(records)[:32])] = _hex(file[:32])
    return found


def read(store: Path, sha256: str) -> bytes | None:
    """Return a file's bytes, or None where the store does not have it."""
    import hf_xet

    if sha256 not in (known := hashes(store)):
        return None
    streams = hf_xet.XetSession().new_download_stream_group(endpoint=f"local://{store}")
    return b"".join(streams.download_stream(hf_xet.XetFileInfo(known[sha256])))


def _hex(digest: bytes) -> str:
    """Return 32 bytes as xet writes them: four 64-bit numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))
