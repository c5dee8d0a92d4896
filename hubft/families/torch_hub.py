"""What torch.hub leaves to its callers when several processes load a repository for the first time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

LOCK = "hubft.lock"  # in the folder of torch.hub


@contextmanager
def hub_lock() -> Iterator[None]:
    """Let one process, and one of its threads, at a time into torch.hub.

        with hubft.hub_lock():
            model = torch.hub.load("OWNER/REPOSITORY", "finetuned", "me/flowers", trust_repo=True)

    torch.hub downloads to `REF.zip`, unpacks and moves the folder into place without a lock: of processes that do so
    at once some fail, with FileNotFoundError or `Directory not empty`, and two repositories whose refs have one name
    overwrite each other's archive. No repository can mend that, because it happens before its hubconf.py is read.
    Under the lock the first one downloads and the others find what it left.

    Where hubft is not installed, torch's own dependency does the same, and waits for the same lock:

        with filelock.FileLock(torch.hub.get_dir() + "/hubft.lock"):
            model = torch.hub.load(...)

    Or load once before the processes start: a folder that is there is read and not changed. The lock can be taken
    again by the thread that has it. A folder that cannot be written is used as it is: nothing can be downloaded to it.
    """
    import torch
    from filelock import FileLock

    folder = Path(torch.hub.get_dir())
    taken: AbstractContextManager[object]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = FileLock(folder / LOCK, is_singleton=True).acquire()  # one object a path can be taken again
    except OSError:
        taken = nullcontext()
    with taken:
        yield
