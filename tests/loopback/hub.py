"""A Hugging Face Hub on the loopback, as far as the real client needs it to read models.

Learned from the client's requests (huggingface_hub 2.4): unknown routes are answered with 404, and tests must
not count on the exact list of requests, only on there being none.
"""

import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

Files = dict[str, bytes]


@dataclass
class Hub:
    """Repositories with their commits, and the requests that were made."""

    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    """owner/name -> branch or tag -> commit."""
    commits: dict[str, Files] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def commit(self, name: str, folder: Path, ref: str = "main") -> str:
        """Put a folder's files into a repository; return the commit, 40 hex digits."""
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        sha = hashlib.sha1(repr((name, len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[sha] = files
        self.refs.setdefault(name, {})[ref] = sha
        return sha


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the hub at `hub.url` while the context lasts."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        match = re.fullmatch(r"/(api/models/)?([\w.-]+/[\w.-]+)(?:/(revision|tree|resolve)/([^/]+)(?:/(.*))?)?", path)
        if not match or match[2] not in self.hub.refs:
            return self._error("RepoNotFound", "Repository not found")
        api, name, what, revision, file = match.groups()
        refs = self.hub.refs[name]
        sha = refs.get(revision or "main", revision or "")
        if sha not in refs.values():
            return self._error("RevisionNotFound", f"Invalid rev id: {revision}")
        files = self.hub.commits[sha]
        if api and what == "tree":
            return self._json([_entry(path, data) for path, data in files.items()])
        if api:
            return self._json({"id": name, "sha": sha, "siblings": [{"rfilename": path} for path in files]})
        if file not in files:
            return self._error("EntryNotFound", "Entry not found", {"X-Repo-Commit": sha})
        return self._file(files[file], sha)

    do_HEAD = do_GET

    def _file(self, data: bytes, sha: str) -> None:
        self._answer(200, data, {"X-Repo-Commit": sha, "ETag": f'"{_git_id(data)}"'})

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self._answer(404, b"{}", {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(path: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(data), "oid": _git_id(data)}


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
