"""The endpoint as a process of this machine that outlives whoever deployed it.

Two processes: the server, which has the model, and the relay, which has the port. A deployment starts a second server,
lets it answer a real request, then points the relay at it and ends the first; until that moment nothing has changed.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from rllm_assets.serving import relay as relay_script
from rllm_assets.serving.bundle import make_bundle
from rllm_assets.serving.engines import Engine, transformers_serve
from rllm_assets.serving.probe import is_healthy, smoke_test, wait_until_healthy
from rllm_assets.serving.processes import ProcessId, detach, is_alive, last_lines, spawn, terminate
from rllm_assets.serving.records import ChatMessage, Endpoint, EndpointStatus, Servable, ServingError
from rllm_assets.serving.state import Home, LocalState, note_process

# A server that is asked to end finishes the answers it has begun; the longest takes about this on a laptop.
GRACE_SECONDS = 60.0


def deploy_local(
    servable: Servable,
    root: Path,
    name: str,
    port: int = 0,
    timeout_seconds: float = 180.0,
    *,
    smoke_messages: Sequence[ChatMessage],
    engine: Engine = transformers_serve,
) -> Endpoint:
    """Serve `servable` as `name` on loopback, in place of what `name` served before, and return the live endpoint.

    The port is the given one; with 0 it is the one that `name` had before, or else a free one. The new server has to
    be healthy and to answer `smoke_messages` within `timeout_seconds`; the old one serves until then, and goes on where
    the new one fails. Raises ServingError with the cause and, where a server failed, the last lines of its log.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ServingError(f"{name!r} cannot name an endpoint: use letters, digits, - and _ (serving.name)")
    home = Home(root, name)
    with home.locked(timeout_seconds):
        old = home.read()
        serving = old if old is not None and old.server is not None and is_alive(old.server) else None
        home.sweep(keep=serving.deployment if serving else None, grace_seconds=0)
        try:
            state = _start(home, servable, old, port, time.monotonic() + timeout_seconds, smoke_messages, engine)
        except ServingError as error:
            rest = f"it keeps serving checkpoint {serving.endpoint.checkpoint_hash}" if serving else "it serves nothing"
            raise ServingError(f"endpoint {name} was not deployed, {rest}: {error}") from error
        home.sweep(keep=state.deployment, grace_seconds=GRACE_SECONDS)
        if old is not None and old.relay is not None and old.relay != state.relay:
            terminate(old.relay, grace_seconds=5)
    return state.endpoint


def endpoint_status(root: Path, name: str) -> EndpointStatus:
    """Say what has become of the endpoint `name` under `root`; raise ServingError where its state file is damaged."""
    state = Home(root, name).read()
    if state is None:
        return EndpointStatus(state="absent", detail=f"no endpoint {name} was deployed under {root}")
    endpoint = state.endpoint
    if state.server is None or state.relay is None:
        return EndpointStatus(state="stopped", detail=f"{name} was stopped", endpoint=endpoint)
    for process, role in ((state.server, "server"), (state.relay, "relay")):
        if not is_alive(process):
            detail = f"{name}'s {role} (process {process.pid}) is gone; deploy again"
            return EndpointStatus(state="dead", detail=detail, endpoint=endpoint)
    if not is_healthy(state.port, timeout_seconds=10):
        detail = (
            f"{name} runs (process {state.server.pid}) but does not answer {endpoint.url.removesuffix('/v1')}/health"
        )
        return EndpointStatus(state="unhealthy", detail=detail, endpoint=endpoint)
    return EndpointStatus(
        state="serving", detail=f"{name} serves checkpoint {endpoint.checkpoint_hash}", endpoint=endpoint
    )


def stop_endpoint(root: Path, name: str, timeout_seconds: float = 180.0) -> EndpointStatus:
    """End the endpoint's processes, keeping its port for the next deployment; nothing happens where none runs."""
    home = Home(root, name)
    if home.read() is None:
        return endpoint_status(root, name)
    with home.locked(timeout_seconds):
        state = home.read()
        if state is not None:
            home.write(
                state.model_copy(update={"relay": None, "server": None, "server_port": None, "deployment": None})
            )
            for process, grace in ((state.relay, 5.0), (state.server, GRACE_SECONDS)):
                if process is not None:
                    terminate(process, grace)
        home.sweep(keep=None, grace_seconds=0)
    return endpoint_status(root, name)


def _start(
    home: Home,
    servable: Servable,
    old: LocalState | None,
    port: int,
    deadline: float,
    smoke_messages: Sequence[ChatMessage],
    engine: Engine,
) -> LocalState:
    """Start a server and put it behind the port; after an error nothing of it is left, and `old` is in place."""
    with ExitStack() as undo:
        relay = old.relay if old is not None and port in (0, old.port) and old.relay and is_alive(old.relay) else None
        listener = None if relay else undo.enter_context(_listen(port, old.port if old else 0))
        public_port = listener.getsockname()[1] if listener else (old.port if old else port)

        folder = _new_folder(home, servable)
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        make_bundle(servable, folder / home.name)
        started_at = datetime.now(UTC)
        log = folder / "serve.log"
        # Held while the server loads its model: nobody else is given the port, and the server may still bind to it.
        with _bind(0) as reserved:
            server_port = reserved.getsockname()[1]
            launch = engine(home.name, server_port, folder)
            popen, server = spawn(launch.command, folder, launch.environment, log)
            undo.callback(_give_up, home, popen, server, log)
            note_process(folder, server)
            wait_until_healthy(popen, server_port, deadline, log)
        smoke = smoke_test(server_port, home.name, smoke_messages, deadline, log)

        if listener is not None:
            relay = _spawn_relay(home, listener)
            undo.callback(terminate, relay, 5)
        endpoint = Endpoint(
            name=home.name,
            target="local",
            url=f"http://127.0.0.1:{public_port}/v1",
            model=home.name,
            base_model_name=servable.base_model_name,
            checkpoint_hash=servable.checkpoint_hash,
            started_at=started_at,
            pid=server.pid,
            log=log,
            smoke_seconds=smoke.seconds,
            smoke_answer=smoke.answer,
            lineage=servable.lineage,
        )
        state = LocalState(
            endpoint=endpoint, port=public_port, relay=relay, server=server, server_port=server_port, deployment=folder
        )
        undo.callback(_restore, home, old)
        home.write(state)
        if not is_healthy(public_port, timeout_seconds=30):
            raise ServingError(
                f"the relay on port {public_port} does not answer: {last_lines(home.directory / 'relay.log')}"
            )
        undo.pop_all()
        if listener is not None:
            listener.close()
    detach(popen)
    return state


def _listen(port: int, last: int) -> socket.socket:
    """Return a listening socket on `port`; where that is 0 on `last`, or a free one where `last` is taken or 0.

    Clients that connect before the relay runs wait in the socket's queue.
    """
    try:
        listener = _bind(port or last)
    except OSError as error:
        if port:
            raise ServingError(
                f"port {port} on 127.0.0.1 is in use or not allowed ({error.strerror}); "
                "set serving.port to a free one, or to 0 for any"
            ) from error
        listener = _bind(0)
    listener.listen(128)
    return listener


def _bind(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Without it the port of an endpoint that was just stopped is refused for a minute.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound


def _new_folder(home: Home, servable: Servable) -> Path:
    home.deployments.mkdir(parents=True, exist_ok=True)
    prefix = re.sub(r"[^A-Za-z0-9]", "", servable.checkpoint_hash)[:12]
    return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=home.deployments))


def _spawn_relay(home: Home, listener: socket.socket) -> ProcessId:
    # Isolated and without site-packages: its folder holds modules of this package, which are none of its business.
    command = [
        sys.executable,
        "-I",
        "-S",
        str(Path(relay_script.__file__)),
        str(listener.fileno()),
        str(home.state_file),
    ]
    popen, relay = spawn(command, home.directory, os.environ, home.directory / "relay.log", inherit=[listener.fileno()])
    detach(popen)
    return relay


def _give_up(home: Home, popen: subprocess.Popen[bytes], server: ProcessId, log: Path) -> None:
    terminate(server, grace_seconds=5)
    popen.wait()
    shutil.copyfile(log, home.last_failure)


def _restore(home: Home, old: LocalState | None) -> None:
    if old is None:
        home.state_file.unlink(missing_ok=True)
    else:
        home.write(old)
