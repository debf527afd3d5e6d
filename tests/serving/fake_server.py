"""Stands in for `transformers serve` where a test is about the processes around it: starts at once, says who it is.

fake_server.py PORT MODEL BEHAVIOUR
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, MODEL, BEHAVIOUR = int(sys.argv[1]), sys.argv[2], sys.argv[3]
CHECKPOINT = json.loads(Path(MODEL, "lineage.json").read_text())["checkpoint"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(503 if BEHAVIOUR == "never_healthy" else 200, {"status": "ok"})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if BEHAVIOUR == "hangs":
            while True:
                time.sleep(60)
        if request["model"] != MODEL:
            self.answer(400, {"detail": "another model"})
        elif BEHAVIOUR == "breaks":
            self.answer(500, {"detail": "out of memory"})
        elif BEHAVIOUR == "says_nothing":
            self.answer(200, {"choices": [{"message": {"content": ""}}]})
        elif BEHAVIOUR == "speaks_otherwise":
            self.answer(200, {"text": "hello"})
        else:
            self.answer(200, {"choices": [{"message": {"content": f"I am {CHECKPOINT}"}}]})

    def answer(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


if BEHAVIOUR == "crashes":
    print("loading weights\nRuntimeError: the weights are made of cheese", flush=True)
    sys.exit(3)
print("listening", flush=True)
ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
