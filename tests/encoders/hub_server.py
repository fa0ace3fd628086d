"""A hub of our own on this machine: it serves the files of a folder as the Hugging Face hub serves repositories."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class HubServer:
    """The folders of `repositories`, by their names; remembers what it was asked for."""

    def __init__(self, repositories: dict[str, Path]) -> None:
        self.repositories = repositories
        self.asked: list[str] = []
        self.damage = False
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[HubServer]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub._answer(self, body=True)

            def do_HEAD(self) -> None:
                hub._answer(self, body=False)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append(f"{request.command} {path}")
        owner, _, rest = path.strip("/").partition("/")
        name, _, file = rest.partition("/resolve/main/")
        folder = self.repositories.get(f"{owner}/{name}")
        content = None
        if folder is not None and file and (folder / file).is_file():
            content = (folder / file).read_bytes()
        if content is None:
            request.send_response(404)
            request.send_header("X-Error-Code", "RepoNotFound" if folder is None else "EntryNotFound")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("X-Repo-Commit", "0123456789abcdef0123456789abcdef01234567")
        request.send_header("ETag", f'"{sha256(content).hexdigest()}"')
        if self.damage and body and file.endswith(".safetensors"):
            content = content[:-8] + b"damaged!"
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if body:
            request.wfile.write(content)
