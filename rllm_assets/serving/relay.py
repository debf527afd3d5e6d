"""The port that clients know: hands each connection to the server that the state file names at that moment.

Run as a script with the file descriptor of a listening socket and the path of a state file. It stands in front of the
servers so that the URL stays when one replaces the other, and so that no connection is refused in between. Standard
library only: it starts in a tenth of a second and imports nothing of the package.
"""

import asyncio
import contextlib
import json
import socket
import sys
from pathlib import Path

_CHUNK = 65_536


async def relay(listener: socket.socket, state_file: Path) -> None:
    """Serve connections of `listener` until cancelled."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            server = await _server(state_file)
            if server is None:
                await _refuse(reader, writer)
            else:
                await _join(reader, writer, *server)
        writer.close()

    server = await asyncio.start_server(connected, sock=listener)
    await server.serve_forever()


async def _server(state_file: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    # Twice, because between reading the port and connecting to it a swap may have ended the server behind it.
    for _ in range(2):
        try:
            port = json.loads(state_file.read_text())["server_port"]
            return await asyncio.open_connection("127.0.0.1", port)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    server_reader: asyncio.StreamReader,
    server_writer: asyncio.StreamWriter,
) -> None:
    upward = asyncio.create_task(_copy(reader, server_writer))
    try:
        # The server decides when it is over: a client that has sent all it wants still waits for its answer.
        await _copy(server_reader, writer)
    finally:
        upward.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await upward
        server_writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        target.write(chunk)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Closing with a request unread would reset the connection before the client has seen the answer.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reader.read(_CHUNK), timeout=5)
    error = {"type": "unavailable", "message": "no server runs behind this endpoint: deploy it again"}
    body = json.dumps({"error": error})
    headers = ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
    writer.write("\r\n".join(["HTTP/1.1 503 Service Unavailable", *headers, "", body]).encode())
    await writer.drain()


def main() -> None:
    """Relay the connections of the inherited socket argv[1] to the server named in the file argv[2]."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.setblocking(False)
    asyncio.run(relay(listener, Path(sys.argv[2])))


if __name__ == "__main__":
    main()
