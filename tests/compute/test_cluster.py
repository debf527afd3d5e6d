"""Finding a cluster, and what it has room for."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.compute import ClusterUnreachableError, ComputeError, ResourcesError, Size, cluster, open_compute
from rllm_assets.compute.cluster import Cluster, places, require
from rllm_assets.config import DistributedConfig
from tests.compute.local_ray import CPUS, ray_here  # noqa: F401


def connect(address: str) -> None:
    with open_compute(DistributedConfig(compute="ray", ray_address=address)):
        pytest.fail("connected")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process were not connected, whatever other tests did."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)


@pytest.mark.parametrize("address", ["head", "head:", "http://head", "head:port"])
@pytest.mark.usefixtures("alone")
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ClusterUnreachableError, match=re.escape(f"distributed.ray_address {address!r} is no address")):
        connect(address)


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.usefixtures("alone")
def test_nobody_there(scheme: str) -> None:
    with socket.socket() as bound:
        # Bound and not listening, so that nobody else takes the port.
        bound.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(ClusterUnreachableError, match=f"{address}: nothing answers there .*refused"):
            connect(address)


@pytest.mark.usefixtures("alone")
def test_somebody_who_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterUnreachableError, match=f"{address}: .* did not answer as a Ray cluster within 1 s"):
            connect(address)


@pytest.mark.usefixtures("alone")
def test_the_environment_names_the_cluster_where_the_configuration_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with (
        pytest.raises(ClusterUnreachableError, match="RAY_ADDRESS 'nowhere' is no address"),
        open_compute(DistributedConfig(compute="ray")),
    ):
        pass


def test_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda _: None)
    with (
        pytest.raises(ComputeError, match=r"Ray is not installed.*pip install 'rllm_assets\[ray\]'"),
        open_compute(DistributedConfig(compute="ray")),
    ):
        pass


NODE = {"CPU": 8.0, "GPU": 2.0, "memory": 1e9}


@pytest.mark.parametrize(
    ("nodes", "size", "expected"),
    [
        ([NODE], Size(1), 8),
        ([NODE], Size(3), 2),
        ([NODE], Size(1, 1), 2),
        ([NODE], Size(1, 0.1), 8),
        ([NODE], Size(0.5, 0.1), 16),
        ([NODE], Size(8, 2), 1),
        ([NODE, NODE], Size(8, 2), 2),
        ([{"CPU": 4.0}] * 4, Size(8), 0),
        ([{"CPU": 4.0}], Size(1, 1), 0),
        ([{"CPU": 4.0}], Size(1, 0), 4),
        ([], Size(1), 0),
        ([{"memory": 1.0}], Size(1), 0),
    ],
)
def test_places(nodes: list[dict[str, float]], size: Size, expected: int) -> None:
    assert places(nodes, size) == expected


@given(st.integers(1, 64), st.integers(1, 64))
def test_fractions_add_up(whole: int, parts: int) -> None:
    assert places([{"CPU": float(whole)}], Size(1 / parts)) == whole * parts


@pytest.mark.parametrize(
    ("size", "text"), [(Size(), "1 CPU"), (Size(2), "2 CPUs"), (Size(0.5, 1), "0.5 CPUs and 1 GPU")]
)
def test_a_size_is_readable(size: Size, text: str) -> None:
    assert str(size) == text


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
class TestOnRay:
    def test_it_is_private(self, ray_here: Cluster) -> None:  # noqa: F811
        import ray

        assert ray.cluster_resources()["CPU"] == CPUS
        assert "GPU" not in ray.cluster_resources()
        # A token of its own, by environment: nothing that outlives it was written.
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"

    def test_too_much_is_refused_at_once(self, ray_here: Cluster) -> None:  # noqa: F811
        message = (
            f"not enough resources for 3 workers of 1 CPU: the Ray cluster at {ray_here.address} has room for 2 "
            "(1 node with 2 CPUs and 0 GPUs)"
        )
        with pytest.raises(ResourcesError, match=re.escape(message)):
            require(ray_here, Size(), 3)
        with pytest.raises(ResourcesError, match=r"a worker of 1 CPU and 1 GPU: .* has room for 0"):
            require(ray_here, Size(1, 1))
        assert require(ray_here, Size(), 2) == 2

    def test_a_cluster_that_may_grow_gets_time(self, ray_here: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
        looks = iter([[{"CPU": 2.0}], [{"CPU": 2.0}], [{"CPU": 2.0}, {"CPU": 2.0}]])
        monkeypatch.setattr(cluster, "_nodes", lambda: next(looks))
        monkeypatch.setattr(cluster, "_LOOK_AGAIN_SECONDS", 0.0)
        assert require(Cluster(ray_here.address, grows=True), Size(2), 2) == 2

    def test_a_connected_process_stays_connected(self, ray_here: Cluster) -> None:  # noqa: F811
        import ray

        with open_compute(DistributedConfig(compute="ray")) as compute:
            assert not compute.in_process
            assert compute.cluster.address == ray_here.address  # pyright: ignore[reportAttributeAccessIssue]
        assert ray.is_initialized()

    def test_by_address(self, ray_here: Cluster) -> None:  # noqa: F811
        """Another process connects, works, and leaves the cluster running; with a wrong token it is told so."""
        import ray

        def work(**environment: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-c", CONNECT, ray_here.address]
            environment = {**os.environ, "RAY_AUTH_MODE": "token", **environment}
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

        done = work()
        assert (done.stdout, done.returncode) == ("[0, 1, 4, 9]\n", 0), done.stderr
        assert ray.cluster_resources()["CPU"] == CPUS
        refused = work(RAY_AUTH_TOKEN="0" * 64)
        assert refused.returncode == 1
        assert f"ClusterUnreachableError: distributed.ray_address {ray_here.address}: " in refused.stderr
        assert "Authentication token is missing or incorrect" in refused.stderr


@pytest.mark.slow
def test_a_cluster_of_our_own_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither processes, nor variables, nor a token in the home directory; even where the work fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", OWN]
    done = subprocess.run(
        command, env={**environment, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    variables, processes, state = done.stdout.splitlines()
    assert {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"} <= set(variables.split())
    assert int(processes) > 2
    assert state == "stopped, 0 variables, 0 processes"
    assert list(tmp_path.iterdir()) == []


OWN = """
import os
import psutil
from rllm_assets.compute import open_compute
from rllm_assets.config import DistributedConfig

def mine():
    return [name for name in sorted(os.environ) if name.startswith("RAY_")]

try:
    with open_compute(DistributedConfig(compute="ray")):
        print(*mine())
        print(len(psutil.Process().children(recursive=True)))
        raise KeyError
except KeyError:
    pass
import ray
left = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=60)[1]
print("running" if ray.is_initialized() else "stopped", f"{len(mine())} variables, {len(left)} processes", sep=", ")
"""

CONNECT = """
import sys
from contextlib import nullcontext
from rllm_assets.compute import Size, open_compute
from rllm_assets.config import DistributedConfig

def square(_, number):
    return number * number

with open_compute(DistributedConfig(compute="ray", ray_address=sys.argv[1])) as compute:
    with compute.crew(nullcontext, Size(), at_most=1) as crew:
        print([outcome.value() for outcome in crew.run(square, range(4))])
"""
