"""Connecting to a Ray cluster, or starting one on this machine for as long as it is needed."""

import importlib.util
import logging
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rllm_assets.compute.environment import environment
from rllm_assets.compute.records import ClusterUnreachableError, ComputeError, ResourcesError, Size, one_line

CONNECT_SECONDS = 10.0
# Ray's own health check gives up after about 45 s on a host that accepts connections and says nothing.
ANSWER_SECONDS = 60.0
# A cluster that scales itself needs a while until a new node is there.
GROW_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 2.0
# Ray takes 30% of the memory by default; what passes through here is issues and verdicts.
_OBJECT_STORE_BYTES = 512 << 20
# One for all clusters that this process starts: Ray reads it once.
_TOKEN = secrets.token_hex(32)


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected to.

    Attributes:
        address: of its head.
        grows: whether waiting may bring more nodes; a cluster that was started here has what the machine has.
    """

    address: str
    grows: bool


@contextmanager
def ray_cluster(address: str | None, cpus: int | None = None) -> Iterator[Cluster]:
    """Connect to a Ray cluster.

    A process that already is connected, such as a worker of Ray's own, stays so. Otherwise `address` is taken, then
    RAY_ADDRESS, and where neither is set a cluster is started on this machine and shut down at the end.

    Args:
        address: ``host:port``, ``auto`` for one that was started on this machine, or ``ray://host:port`` for Ray Client.
        cpus: of a cluster started here; by default those of the machine.

    Raises:
        ClusterUnreachableError: where nothing that is a Ray cluster answers, after a bounded wait.
        ComputeError: where Ray is not installed or does not start.
    """
    if importlib.util.find_spec("ray") is None:
        raise ComputeError(
            "Ray is not installed; distributed.compute: ray and distributed.num_workers above 1 need it: "
            "pip install 'rllm_assets[ray]'"
        )
    wanted = address or os.environ.get("RAY_ADDRESS")
    # Ray sets some itself.
    with environment(
        _settings(starts=wanted in (None, "", "local")), also_restored=("RAY_AUTH_MODE", "RAY_CLIENT_MODE")
    ):
        import ray

        if ray.is_initialized():
            yield Cluster(ray.get_runtime_context().gcs_address, grows=True)
            return
        try:
            if not wanted or wanted == "local":
                found = _start(cpus)
            else:
                found = _connect(wanted, "distributed.ray_address" if address else "RAY_ADDRESS")
            yield found
        finally:
            ray.shutdown()


def _settings(starts: bool) -> Mapping[str, str]:
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Under `uv run` Ray would pack the working directory and rebuild the environment on every node.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    if not starts:
        return settings
    # What Ray does here is what this process would do otherwise; by default its workers give way to everything else.
    settings["RAY_worker_niceness"] = "0"
    if not any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        # Otherwise Ray writes a token to the home directory, which every later `ray start` of this user would enforce.
        settings["RAY_AUTH_TOKEN"] = _TOKEN
    return settings


def _start(cpus: int | None) -> Cluster:
    import ray
    from ray.exceptions import RayError

    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
        )
    except (RuntimeError, OSError, ValueError, RayError) as error:
        raise ComputeError(f"Ray does not start on this machine: {one_line(error)}") from None
    return Cluster(ray.get_runtime_context().gcs_address, grows=False)


def _connect(address: str, origin: str) -> Cluster:
    """Connect to a running cluster, having made sure that one answers: Ray itself retries for minutes."""
    import ray
    from ray.exceptions import RayError

    if address != "auto":
        _check_answers(address, origin)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (RuntimeError, OSError, ValueError, RayError) as error:
        raise ClusterUnreachableError(f"{origin} {address}: {one_line(error)}") from None
    return Cluster(address, grows=True)


def _check_answers(address: str, origin: str) -> None:
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        raise ClusterUnreachableError(
            f"{origin} {address!r} is no address of a Ray cluster; host:port, ray://host:port or auto is expected"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterUnreachableError(
            f"{origin} {address}: nothing answers there ({error}); start a cluster with `ray start --head`, "
            "or unset the address to start one on this machine"
        ) from None
    if address.startswith("ray://"):
        # Ray Client has a time limit of its own, 30 s.
        return
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        health = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ClusterUnreachableError(
            f"{origin} {address}: what listens there did not answer as a Ray cluster within {ANSWER_SECONDS:.0f} s"
        ) from None
    if health.returncode != 0:
        said = health.stderr.strip().rpartition("\n")[2] or f"exit code {health.returncode}"
        raise ClusterUnreachableError(f"{origin} {address}: what listens there is no healthy Ray cluster: {said}")


def places(nodes: Sequence[Mapping[str, float]], size: Size) -> int:
    """Return how many workers of `size` fit on nodes with these resources, none of them in use."""
    asked = {"CPU": size.cpus, "GPU": size.gpus}
    return sum(
        # Fractions such as a tenth of a GPU do not add up exactly.
        min((int(node.get(name, 0.0) / amount + 1e-9) for name, amount in asked.items() if amount > 0), default=1_000)
        for node in nodes
    )


def require(cluster: Cluster, size: Size, workers: int = 1) -> int:
    """Return how many workers of `size` fit into the cluster, were it idle.

    Raises:
        ResourcesError: where fewer than `workers` fit, after a wait in which the cluster may grow.
    """
    until = time.monotonic() + (GROW_SECONDS if cluster.grows else 0.0)
    while True:
        nodes = _nodes()
        found = places(nodes, size)
        if found >= workers:
            return found
        if time.monotonic() >= until:
            break
        time.sleep(_LOOK_AGAIN_SECONDS)
    asked = f"{workers} workers of {size}" if workers > 1 else f"a worker of {size}"
    raise ResourcesError(
        f"not enough resources for {asked}: the Ray cluster at {cluster.address} has room for {found} "
        f"({_described(nodes)}); lower distributed.cpus_per_worker, gpus_per_worker or num_workers, or use a larger cluster"
    )


def busy_error(cluster: Cluster, size: Size, seconds: float) -> ResourcesError:
    """Return the error for a cluster that is large enough, but had nothing free for so long."""
    import ray

    free = ray.available_resources()
    return ResourcesError(
        f"no worker of {size} came up on the Ray cluster at {cluster.address} within {seconds:.0f} s: "
        f"free are {free.get('CPU', 0.0):g} CPUs and {free.get('GPU', 0.0):g} GPUs of {_described(_nodes())}"
    )


def _nodes() -> list[Mapping[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _described(nodes: Sequence[Mapping[str, float]]) -> str:
    described = [f"{node.get('CPU', 0.0):g} CPUs and {node.get('GPU', 0.0):g} GPUs" for node in nodes]
    counts = {text: described.count(text) for text in described}
    return (
        ", ".join(f"{count} node{'s' if count > 1 else ''} with {text}" for text, count in counts.items()) or "no node"
    )
