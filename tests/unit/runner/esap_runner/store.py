from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Store(ThreadingHTTPServer):
    """A storage element behind HTTP that can be told to fail."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StoreHandler)
        self.files: dict[str, bytes] = {}
        self.failures = 0
        self.refuses_puts = False
        self.cuts: list[int] = []  # how many bytes of an answer to send before hanging up
        self.knows_ranges = True
        self.starts: list[int] = []
        self.puts = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class StoreHandler(BaseHTTPRequestHandler):
    server: Store

    def answer(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fails(self) -> bool:
        if self.server.failures > 0:
            self.server.failures -= 1
            self.answer(503)
            return True
        return False

    def do_GET(self) -> None:
        if not self.fails():
            found = self.server.files.get(self.path)
            self.answer(404) if found is None else self.send_file(found)

    def send_file(self, content: bytes) -> None:
        asked = self.headers.get("Range", "") if self.server.knows_ranges else ""
        start = int(asked[len("bytes=") : -1]) if asked else 0
        self.server.starts.append(start)
        if start >= len(content) > 0:
            return self.answer(416)
        cut = self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + cut])
        self.close_connection = True
        return None

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.puts += 1
        if self.server.refuses_puts:
            self.answer(403)
        elif not self.fails():
            self.server.files[self.path] = body
            self.answer(201)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Keep the test's output short."""
