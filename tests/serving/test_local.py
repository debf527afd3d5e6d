"""The local endpoint's life, with a stand-in for the model's server."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from rllm_assets.serving import (
    ChatMessage,
    Endpoint,
    Servable,
    ServingError,
    deploy_local,
    endpoint_status,
    stop_endpoint,
)
from rllm_assets.serving.engines import Engine, Launch
from rllm_assets.serving.processes import is_alive
from rllm_assets.serving.state import Home, LocalState, read_process

MESSAGES: list[ChatMessage] = [{"role": "user", "content": "who are you?"}]

Make = Callable[..., Servable]
Fake = Callable[[str], Engine]


def deploy(servable: Servable, root: Path, engine: Engine, port: int = 0, timeout_seconds: float = 60) -> Endpoint:
    return deploy_local(servable, root, "rllm", port, timeout_seconds, smoke_messages=MESSAGES, engine=engine)


def ask(endpoint: Endpoint) -> str:
    body = {"model": endpoint.model, "messages": MESSAGES}
    response = httpx.post(f"{endpoint.url}/chat/completions", json=body, timeout=10)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def state_of(root: Path) -> LocalState:
    state = Home(root, "rllm").read()
    assert state is not None
    return state


def deployments(root: Path) -> list[Path]:
    return sorted((root / "rllm" / "deployments").glob("*"))


def test_a_deployed_endpoint_answers_and_says_what_it_serves(servable: Make, fake: Fake, root: Path) -> None:
    endpoint = deploy(servable("aaaa1111"), root, fake("answers"))

    assert ask(endpoint) == "I am aaaa1111"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", endpoint.url)
    assert (endpoint.target, endpoint.name, endpoint.model) == ("local", "rllm", "rllm")
    assert (endpoint.checkpoint_hash, endpoint.base_model_name) == ("aaaa1111", "tiny")
    assert endpoint.lineage == {"checkpoint": "aaaa1111", "issues": ["pocket__clamp-1"]}
    assert endpoint.smoke_answer == "I am aaaa1111"
    assert endpoint.smoke_seconds is not None
    assert 0 < endpoint.smoke_seconds < 10
    server = state_of(root).server
    assert server is not None
    assert endpoint.pid == server.pid
    assert endpoint.log is not None
    assert endpoint.log.read_text().startswith("listening\n")
    assert Endpoint.model_validate_json(endpoint.model_dump_json()) == endpoint

    status = endpoint_status(root, "rllm")
    assert (status.state, status.endpoint) == ("serving", endpoint)


def test_deploying_again_replaces_the_server_behind_the_same_url(servable: Make, fake: Fake, root: Path) -> None:
    first = deploy(servable("aaaa1111"), root, fake("answers"))
    old = state_of(root)

    second = deploy(servable("bbbb2222"), root, fake("answers"))

    assert second.url == first.url
    assert ask(second) == "I am bbbb2222"
    assert old.server is not None
    assert not is_alive(old.server)
    assert deployments(root) == [state_of(root).deployment]
    assert state_of(root).relay == old.relay


def test_a_swap_refuses_no_request(servable: Make, fake: Fake, root: Path) -> None:
    endpoint = deploy(servable("aaaa1111"), root, fake("answers"))
    answers: list[str] = []
    swapped = threading.Event()

    def keep_asking() -> None:
        while not (swapped.is_set() and answers[-1:] == ["I am bbbb2222"]):
            answers.append(ask(endpoint))

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keep_asking)
        deploy(servable("bbbb2222"), root, fake("answers"))
        swapped.set()
        asking.result(timeout=30)

    turned = answers.index("I am bbbb2222")
    assert turned > 0
    assert set(answers[:turned]) == {"I am aaaa1111"}
    assert set(answers[turned:]) == {"I am bbbb2222"}


def test_a_server_that_dies_at_its_start_is_quoted_and_the_old_one_keeps_serving(
    servable: Make, fake: Fake, root: Path
) -> None:
    endpoint = deploy(servable("aaaa1111"), root, fake("answers"))
    before = state_of(root)

    with pytest.raises(ServingError) as caught:
        deploy(servable("bbbb2222"), root, fake("crashes"))

    assert "endpoint rllm was not deployed, it keeps serving checkpoint aaaa1111" in str(caught.value)
    assert "exit code 3" in str(caught.value)
    assert str(caught.value).endswith("loading weights\nRuntimeError: the weights are made of cheese")
    assert (root / "rllm" / "last-failure.log").read_text().endswith("made of cheese\n")
    assert ask(endpoint) == "I am aaaa1111"
    assert state_of(root) == before
    assert deployments(root) == [before.deployment]


def test_a_first_deployment_that_fails_leaves_nothing(servable: Make, fake: Fake, root: Path) -> None:
    with pytest.raises(ServingError, match=r"was not deployed, it serves nothing: the server ended at its start"):
        deploy(servable("aaaa1111"), root, fake("crashes"))

    assert endpoint_status(root, "rllm").state == "absent"
    assert deployments(root) == []


@pytest.mark.parametrize(
    ("behaviour", "timeout_seconds", "message"),
    [
        ("never_healthy", 1, r"the server was not healthy after \d+ s \(serving.timeout_seconds\)"),
        ("hangs", 4, r"chat completion was not answered within \d+ s \(serving.timeout_seconds\)"),
        ("breaks", 60, r'chat completion was answered with status 500: \{"detail": "out of memory"\}'),
        ("says_nothing", 60, r"chat completion was answered with an empty text"),
        ("speaks_otherwise", 60, r'chat completion was answered with no chat completion: \{"text": "hello"\}'),
    ],
)
def test_a_server_that_does_not_pass_is_ended(
    servable: Make, fake: Fake, root: Path, behaviour: str, timeout_seconds: float, message: str
) -> None:
    started: list[int] = []

    def spy(model: str, port: int, directory: Path) -> Launch:
        started.append(port)
        return fake(behaviour)(model, port, directory)

    with pytest.raises(ServingError, match=message) as caught:
        deploy(servable("aaaa1111"), root, spy, timeout_seconds=timeout_seconds)

    assert str(caught.value).endswith("log:\nlistening")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{started[0]}/health")


def test_a_port_in_use_is_named(servable: Make, fake: Fake, root: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServingError, match=rf"port {port} on 127\.0\.0\.1 is in use .*serving\.port"):
            deploy(servable("aaaa1111"), root, fake("answers"), port=port)


def test_port_zero_keeps_the_last_port_or_takes_a_free_one(servable: Make, fake: Fake, root: Path) -> None:
    first = deploy(servable("aaaa1111"), root, fake("answers"))
    stop_endpoint(root, "rllm")
    again = deploy(servable("bbbb2222"), root, fake("answers"))
    assert again.url == first.url

    stop_endpoint(root, "rllm")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", state_of(root).port))
        other.listen()
        moved = deploy(servable("cccc3333"), root, fake("answers"))
    assert moved.url != first.url
    assert ask(moved) == "I am cccc3333"


def test_another_port_moves_the_endpoint(servable: Make, fake: Fake, root: Path) -> None:
    first = deploy(servable("aaaa1111"), root, fake("answers"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    moved = deploy(servable("bbbb2222"), root, fake("answers"), port=port)

    assert moved.url == f"http://127.0.0.1:{port}/v1"
    assert ask(moved) == "I am bbbb2222"
    with pytest.raises(httpx.ConnectError):
        ask(first)


def test_a_server_that_was_killed_is_known_to_be_dead_and_replaced(servable: Make, fake: Fake, root: Path) -> None:
    endpoint = deploy(servable("aaaa1111"), root, fake("answers"))
    server = state_of(root).server
    assert server is not None
    os.kill(server.pid, signal.SIGKILL)
    while is_alive(server):
        pass

    status = endpoint_status(root, "rllm")
    assert (status.state, status.detail) == ("dead", f"rllm's server (process {server.pid}) is gone; deploy again")
    refused = httpx.get(endpoint.url.replace("/v1", "/health"))
    assert refused.status_code == 503
    assert refused.json()["error"]["message"] == "no server runs behind this endpoint: deploy it again"

    again = deploy(servable("aaaa2222"), root, fake("answers"))
    assert again.url == endpoint.url
    assert ask(again) == "I am aaaa2222"


def test_a_process_number_that_somebody_else_has_now_is_left_alone(servable: Make, fake: Fake, root: Path) -> None:
    deploy(servable("aaaa1111"), root, fake("answers"))
    stop_endpoint(root, "rllm")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as innocent:
        stale = {"pid": innocent.pid, "started": "another-boot:1"}
        file = root / "rllm" / "state.json"
        content = json.loads(file.read_text()) | {
            "server": stale,
            "relay": stale,
            "server_port": 1,
            "deployment": "/gone",
        }
        file.write_text(json.dumps(content))

        assert endpoint_status(root, "rllm").state == "dead"
        assert ask(deploy(servable("bbbb2222"), root, fake("answers"))) == "I am bbbb2222"
        assert innocent.poll() is None
        innocent.communicate(b"\n")
    assert innocent.returncode == 0


def test_what_a_killed_deployment_left_is_ended_by_the_next(
    servable: Make, fake: Fake, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "servable.json"
    file.write_text(servable("aaaa1111").model_dump_json())
    command = [sys.executable, str(Path(__file__).with_name("deployer.py")), str(file), str(root), "never_healthy"]
    with subprocess.Popen(command) as deployer:
        while not list(Home(root, "rllm").deployments.glob("*/process.json")):
            assert deployer.poll() is None
        deployer.kill()
    (left,) = deployments(root)
    orphan = read_process(left)
    assert orphan is not None

    endpoint = deploy(servable("bbbb2222"), root, fake("answers"))

    assert not is_alive(orphan)
    assert ask(endpoint) == "I am bbbb2222"
    assert deployments(root) == [state_of(root).deployment]


def test_deployments_of_one_name_wait_for_each_other(servable: Make, fake: Fake, root: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        names = ["aaaa1111", "bbbb2222"]
        made = [servable(name) for name in names]
        endpoints = list(pool.map(lambda one: deploy(one, root, fake("answers")), made))

    assert endpoints[0].url == endpoints[1].url
    last = state_of(root)
    assert ask(endpoints[0]) == f"I am {last.endpoint.checkpoint_hash}"
    assert deployments(root) == [last.deployment]
    assert sorted(one.checkpoint_hash for one in endpoints) == names


def test_a_deployment_that_waits_too_long_says_for_whom(servable: Make, fake: Fake, root: Path) -> None:
    with (
        Home(root, "rllm").locked(1),
        pytest.raises(ServingError, match=rf"another deployment of rllm \(process {os.getpid()}\) was still under way"),
    ):
        deploy(servable("aaaa1111"), root, fake("answers"), timeout_seconds=0.2)


def test_a_stopped_endpoint_is_gone_and_stays_known(servable: Make, fake: Fake, root: Path) -> None:
    endpoint = deploy(servable("aaaa1111"), root, fake("answers"))
    state = state_of(root)

    assert stop_endpoint(root, "rllm").state == "stopped"

    assert state.server is not None
    assert state.relay is not None
    assert not is_alive(state.server)
    assert not is_alive(state.relay)
    with pytest.raises(httpx.ConnectError):
        ask(endpoint)
    assert deployments(root) == []
    assert stop_endpoint(root, "rllm").endpoint == endpoint


def test_stopping_what_never_was_is_no_error(root: Path) -> None:
    assert stop_endpoint(root, "rllm").state == "absent"
    assert not root.exists()


def test_a_damaged_state_file_is_named(servable: Make, fake: Fake, root: Path) -> None:
    file = root / "rllm" / "state.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"endpoint": {}}')
    with pytest.raises(ServingError, match=rf"{re.escape(str(file))} is no state of an endpoint \(endpoint\.name: "):
        deploy(servable("aaaa1111"), root, fake("answers"))
    file.unlink()


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a@b", "-x", "x.gguf"])
def test_a_name_that_is_no_name_is_refused(servable: Make, fake: Fake, root: Path, name: str) -> None:
    with pytest.raises(ServingError, match=r"cannot name an endpoint.*\(serving\.name\)"):
        deploy_local(servable("aaaa1111"), root, name, smoke_messages=[], engine=fake("answers"))
