"""GitHub on the loopback: an HTTPS proxy that answers in place of github.com, so that torch.hub runs unpatched.

The client is told by environment: `https_proxy` to come here, `SSL_CERT_FILE` to believe the certificate. The
proxy accepts CONNECT, ends the TLS itself, and serves what torch.hub asks for: the default branch, the names of
branches and tags, and zip archives, which the real GitHub sends by way of codeload.github.com.
"""

import http.server
import io
import json
import re
import ssl
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

HOSTS = ("github.com", "api.github.com", "codeload.github.com")


@dataclass
class GitHub:
    """One repository, and the requests that were made."""

    name: str
    """owner/name."""
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Commit, 40 hex digits -> path -> bytes."""
    pause: float = 0
    """Seconds that every download takes, so that processes which begin together meet in it."""
    requests: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """What a client's process needs to come here; set while it is served."""

    def answer(self, host: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a GET."""
        if host == "github.com" and path == f"/{self.name}/tree/main/":
            return (200 if "main" in self.branches else 404), {}, b""
        if match := re.fullmatch(rf"/repos/{self.name}/(branches|tags)\?per_page=100&page=(\d+)", path):
            refs = (self.branches if match[1] == "branches" else self.tags) if match[2] == "1" else {}
            items = [{"name": ref, "commit": {"sha": sha}} for ref, sha in refs.items()]
            return 200, {"Content-Type": "application/json"}, json.dumps(items).encode()
        if match := re.fullmatch(rf"/{self.name}/(zipball|legacy\.zip)/(.+)", path):
            sha = self.branches.get(match[2]) or self.tags.get(match[2]) or match[2]
            if sha not in self.commits:
                return 404, {}, b""
            if host == "github.com":
                return 302, {"Location": f"https://codeload.github.com/{self.name}/legacy.zip/{match[2]}"}, b""
            time.sleep(self.pause)
            return 200, {"Content-Type": "application/zip"}, self._zip(sha)
        return 404, {}, b""

    @property
    def downloads(self) -> int:
        """How many archives were sent."""
        return sum(request.startswith("https://codeload.github.com/") for request in self.requests)

    def _zip(self, sha: str) -> bytes:
        buffer, top = io.BytesIO(), f"{self.name.replace('/', '-')}-{sha[:7]}/"
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(top, b"")
            for path, data in self.commits[sha].items():
                archive.writestr(top + path, data)
        return buffer.getvalue()


@contextmanager
def serving(github: GitHub, folder: Path) -> Iterator[GitHub]:
    """Serve the repository while the context lasts; certificates are written to `folder`."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    handler = type("Handler", (_Handler,), {"github": github, "tls": context})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    github.environment = {
        "https_proxy": f"http://127.0.0.1:{server.server_port}",
        "no_proxy": "",
        "SSL_CERT_FILE": str(folder / "authority.pem"),
    }
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    github: GitHub
    tls: ssl.SSLContext
    host = ""

    def log_message(self, *args: object) -> None:
        pass

    def finish(self) -> None:
        super().finish()
        self.connection.close()  # the TLS socket, which the server does not know

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        self.send_response(200)
        self.end_headers()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self) -> None:
        self.github.requests.append(f"https://{self.host}{self.path}")
        status, headers, body = self.github.answer(self.host, self.path)
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True
