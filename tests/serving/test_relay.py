"""The relay passes bytes both ways, whoever ends first, and answers for a server that is not there."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from rllm_assets.serving.relay import relay

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


def converse(tmp_path: Path, server: Handler | None, client: Client) -> bytes:
    """Return what the client gets that talks to the server through a relay."""

    async def run() -> bytes:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        state = tmp_path / "state.json"
        if server is not None:
            behind = await asyncio.start_server(server, "127.0.0.1", 0)
            state.write_text(json.dumps({"server_port": behind.sockets[0].getsockname()[1]}))
        between = asyncio.create_task(relay(listener, state))
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        received = await asyncio.wait_for(client(reader, writer), timeout=20)
        writer.close()
        between.cancel()
        return received

    return asyncio.run(run())


async def send_and_read_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    return await reader.read()


def test_it_passes_much_both_ways(tmp_path: Path) -> None:
    question, answer = bytes(range(256)) * 8_000, bytes(reversed(range(256))) * 8_000

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.readexactly(len(question))
        writer.write(answer if received == question else b"garbled")
        writer.close()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(question)
        return await reader.read()

    assert converse(tmp_path, server, client) == answer


def test_a_client_that_has_said_all_still_gets_its_answer(tmp_path: Path) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"you said " + await reader.read())
        writer.close()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"this")
        writer.write_eof()
        return await reader.read()

    assert converse(tmp_path, server, client) == b"you said this"


def test_what_the_server_has_sent_arrives_before_it_is_done(tmp_path: Path) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"first token")
        await reader.readexactly(len(b"seen"))
        writer.write(b", last token")
        writer.close()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        first = await reader.readexactly(len(b"first token"))
        writer.write(b"seen")
        return first + await reader.read()

    assert converse(tmp_path, server, client) == b"first token, last token"


def test_a_client_without_a_server_is_told(tmp_path: Path) -> None:
    head, _, body = converse(tmp_path, None, send_and_read_all).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body)["error"]["message"] == "no server runs behind this endpoint: deploy it again"


def test_a_stopped_endpoint_is_no_server_either(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"server_port": null}')
    assert converse(tmp_path, None, send_and_read_all).startswith(b"HTTP/1.1 503 ")
