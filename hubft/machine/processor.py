"""The processor: what a figure of speed, and of the accuracy of fewer bits, is of."""

from __future__ import annotations

import platform
import re
from pathlib import Path

SETS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
"""Instruction sets that decide what int8 and bf16 are worth, as Linux calls them."""


def name() -> str:
    """Return the processor's name."""
    return _fact("model name") or platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """Return which of SETS it has; none where the system does not tell."""
    there = set((_fact("flags") or _fact("Features")).split())
    return tuple(one for one in SETS if one in there)


def _fact(key: str) -> str:
    """Return what Linux says of the first core."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^{key}\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
