"""An API server for InferenceServices in memory: stores, counts generations, and lets a test play the controller."""

import copy
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PREFIX = "/apis/serving.kserve.io/v1beta1/namespaces/"


class FakeKubernetes:
    """The stored services by path, the statuses still to come, and what was asked."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.statuses: list[dict[str, Any]] = []  # Each read after an apply takes the next; the last one stays.
        self.refusals: dict[str, tuple[int, str]] = {}  # By method: the status and body of every answer.
        self.dropped = 0  # So many next reads after an apply are cut off without an answer.
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.reads = 0
        self._applied = False
        self._uids = itertools.count(1)

    def read(self, path: str) -> tuple[int, Any]:
        service = self.services.get(path)
        if service is None:
            name = path.rsplit("/", 1)[1]
            return 404, {"kind": "Status", "code": 404, "reason": "NotFound", "details": {"name": name}}
        if self._applied:
            self.reads += 1
            if self.statuses:
                service["status"] = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return 200, service

    def apply(self, path: str, manifest: dict[str, Any]) -> tuple[int, Any]:
        old = self.services.get(path)
        new = copy.deepcopy(manifest)
        if old is None:
            new["metadata"] |= {"uid": f"uid-{next(self._uids)}", "generation": 1}
        else:
            changed = old["spec"] != new["spec"]
            generation = old["metadata"]["generation"] + changed
            new["metadata"] |= {"uid": old["metadata"]["uid"], "generation": generation}
            new["status"] = old.get("status", {})
        self.services[path] = new
        self._applied = True
        return 201 if old is None else 200, new

    @contextmanager
    def serving(self, kubeconfig: Path) -> Iterator[None]:
        """Serve on loopback, and say where in a kubeconfig."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        cluster = {"name": "fake", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
            "current-context": "fake",
        }
        kubeconfig.write_text(json.dumps(content))
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(fake: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if fake.dropped and fake._applied:
                fake.dropped -= 1
                self.close_connection = True
                return
            self.answer(lambda path, _: fake.read(path))

        def do_PATCH(self) -> None:
            self.answer(fake.apply)

        def answer(self, act: Any) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            content = json.loads(self.rfile.read(length)) if length else None
            fake.requests.append((self.command, dict(parse_qsl(address.query)), dict(self.headers)))
            assert address.path.startswith(PREFIX)
            status, reply = fake.refusals.get(self.command) or act(address.path, content)
            body = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler
