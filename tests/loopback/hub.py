"""A Hugging Face Hub on the loopback: what the real client (huggingface_hub 2.4) needs to publish and to read models.

    with serving(Hub()) as hub:
        hub.commit("me/flowers", folder)
        hub.faults.append(Fault("POST .*/commit/", status=503, times=2))
        ... a process with HF_ENDPOINT=hub.url and HF_TOKEN=hub.token

Here is the state; `hub_read.py` and `hub_write.py` answer requests from it, one function a route; `hub_api.py` is the
table of routes, `hub_http.py` the wire. Unknown routes are answered with 404, and tests must not count on the exact
list of requests: the client's versions differ in it.
"""

import hashlib
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loopback.hub_http import Handler

Files = dict[str, bytes]


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose `METHOD /path` the expression `on` is found in."""

    on: str
    times: int = 1
    status: int = 0
    """Answer this and carry nothing out."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of that answer."""
    before: Callable[[], object] | None = None
    """Called before the request is carried out."""
    after: Callable[[], object] | None = None
    """Called after it is carried out, before the answer."""
    lost: bool = False
    """Cut the connection in place of the answer."""
    flip: bool = False
    """Serve the answer's last byte with one bit flipped."""
    hold: bool = False
    """Set `reached` in the middle of the upload or download, and go on when `go` is set."""
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)


@dataclass
class Hub:
    """Repositories with their commits, the requests that were made, and the faults to come."""

    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    """owner/name -> branch or tag -> commit."""
    commits: dict[str, Files] = field(default_factory=dict)
    """Commit, 40 hex digits -> path -> bytes."""
    requests: list[str] = field(default_factory=list)
    """`METHOD /path` of each."""
    url: str = ""
    token: str = "hf_good"
    """The only one there is; reading what is public needs none."""
    user: str = "me"
    forbidden: set[str] = field(default_factory=set)
    """Owners under whose names the user may not write."""
    private: set[str] = field(default_factory=set)
    """owner/name that only the token can see."""
    large: int = 10 * 2**20
    """Files of this many bytes, and all safetensors, are stored by their sha256 (LFS), the others in git."""
    part: int = 0
    """Size of the parts in which larger files come up; 0: whole."""
    xet: Path | None = None
    """Folder of a local xet store, for clients whose xet is on."""
    faults: list[Fault] = field(default_factory=list)
    parents: dict[str, str] = field(default_factory=dict)
    """Commit -> the one before it."""
    messages: dict[str, str] = field(default_factory=dict)
    tags: set[tuple[str, str]] = field(default_factory=set)
    """(owner/name, ref) of the refs that are no branches."""
    objects: Files = field(default_factory=dict)
    """sha256 -> bytes of the large files that came up, committed or not."""
    received: list[bytes] = field(default_factory=list)
    """All that came up, request by request, but for the header with the token."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def commit(self, name: str, folder: Path, ref: str = "main") -> str:
        """Put a folder's files into a repository, in place of what it holds; return the commit, 40 hex digits."""
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        return self.put(name, files, ref)

    def put(self, name: str, files: Files, ref: str = "main", message: str = "") -> str:
        """Commit files, as `commit` does."""
        with self.lock:
            sha = hashlib.sha1(repr((name, len(self.commits), sorted(files))).encode()).hexdigest()
            self.commits[sha], self.messages[sha] = files, message
            head = self.refs.setdefault(name, {}).get(ref)
            if head is not None:
                self.parents[sha] = head
            self.refs[name][ref] = sha
            return sha

    def history(self, name: str, ref: str = "main") -> list[str]:
        """Return the commits of a branch, the newest first."""
        commits = [self.refs[name][ref]]
        while commits[-1] in self.parents:
            commits.append(self.parents[commits[-1]])
        return commits

    def resolve(self, name: str, revision: str) -> str | None:
        """Return the commit that a branch, tag or commit of a repository means."""
        if revision in self.refs[name]:
            return self.refs[name][revision]
        return revision if any(revision in self.history(name, ref) for ref in self.refs[name]) else None

    def files(self, name: str, ref: str = "main") -> Files:
        """Return what a branch holds."""
        return self.commits[self.refs[name][ref]]

    def is_large(self, path: str, size: int) -> bool:
        return size > 0 and (size >= self.large or path.endswith(".safetensors"))

    def fault(self, request: str) -> Fault:
        """Return what is to go wrong with a request, which is used up by it."""
        with self.lock:
            for fault in self.faults:
                if fault.times and re.search(fault.on, request):
                    fault.times -= 1
                    return fault
        return Fault("")


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the hub at `hub.url` while the context lasts."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        for fault in hub.faults:
            fault.go.set()
        server.shutdown()
        server.server_close()
        thread.join()
