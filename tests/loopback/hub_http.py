"""The wire of the loopback Hub: requests come in, answers and faults go out."""

from __future__ import annotations

import http.server
import urllib.parse
from typing import TYPE_CHECKING

from loopback import hub_read, hub_write  # noqa: F401  what they answer is entered in the table of routes
from loopback.hub_api import Answer, Request, answer

if TYPE_CHECKING:
    from loopback.hub import Fault, Hub

HOLD = 60  # seconds after which a held request goes on by itself: a test that failed must not block the others


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        try:
            self._serve()
        except ConnectionError:  # the client was killed
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_GET

    def _serve(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        name = f"{self.command} {urllib.parse.unquote(url.path)}"
        self.hub.requests.append(name)
        fault = self.hub.fault(name)
        body = self._receive(fault)
        headers = {key.lower(): value for key, value in self.headers.items()}
        token = headers.pop("authorization", "").removeprefix("Bearer ")
        self.hub.received.append(f"{self.requestline}\n{headers}\n".encode() + body)
        method = "GET" if self.command == "HEAD" else self.command
        request = Request(method, url.path, urllib.parse.parse_qs(url.query), headers, token, body)
        if fault.before:
            fault.before()
        if fault.status:
            result = Answer(b'{"error": "as the test wants it"}', fault.status, fault.headers)
        else:
            with self.hub.lock:
                result = answer(self.hub, request)
        if fault.after:
            fault.after()
        if fault.lost:
            self.close_connection = True
        else:
            self._send(result, fault)

    def _receive(self, fault: Fault) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self._read(size))
                self.rfile.readline()
                self._hold(fault)
            self.rfile.readline()
            return b"".join(chunks)
        size = int(self.headers.get("Content-Length") or 0)
        first = self._read(size // 2)
        if size:
            self._hold(fault)
        return first + self._read(size - len(first))

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the client went away")
        return data

    def _send(self, result: Answer, fault: Fault) -> None:
        body = result.body
        if fault.flip:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(result.status)
        for key, value in {**result.headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self._hold(fault)
            self.wfile.write(body[len(body) // 2 :])

    def _hold(self, fault: Fault) -> None:
        if fault.hold and not fault.reached.is_set():
            fault.reached.set()
            fault.go.wait(HOLD)
