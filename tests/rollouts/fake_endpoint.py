"""A server that speaks OpenAI's protocol as vLLM does, on a port of this machine, and keeps what it was asked."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = dict[str, Any] | tuple[int, str, dict[str, str]]


class Served:
    """The address of a server, and the requests that it got."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []


@contextlib.contextmanager
def serving(reply: Callable[[str, dict[str, Any]], Reply]) -> Iterator[Served]:
    """Serve what `reply` gives for a path and a body: content, or a status with a text and headers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            served.asked.append(body)
            served.paths.append(self.path)
            served.headers.append(dict(self.headers))
            answer = reply(self.path, body)
            status, text, headers = answer if isinstance(answer, tuple) else (200, json.dumps(answer), {})
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(text.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        # As many connections may wait as are made at a time.
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        served = Served(f"http://127.0.0.1:{server.server_address[1]}/v1")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
