"""A process of hubft's own, set up for training; a process that only imports hubft is left as it is."""

from __future__ import annotations

import ctypes
import logging
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def set_up() -> None:
    """Have memory kept that a layer gives back, for the next layer to take; and threads that wait, sleep.

    glibc returns large blocks to the kernel, and every page of the next layer's outputs is then zeroed anew: in
    EfficientNet-Lite0 at 224 pixels that took a third of the processor time. Other C libraries are left alone.
    Threads that spin beside busy workers cost up to a hundred times. ONNX Runtime, which counts its uses for its makers
    (1.32 on Linux), is told not to, unless the user wants it. What torch 2.14 says of the way in which torchao 0.18
    registers its classes is left unsaid: a user cannot mend it.
    """
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
