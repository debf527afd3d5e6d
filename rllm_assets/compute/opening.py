"""From configuration to compute."""

from collections.abc import Iterator
from contextlib import contextmanager

from rllm_assets.compute.cluster import ray_cluster
from rllm_assets.compute.local import LocalCompute
from rllm_assets.compute.ray_crew import RayCompute
from rllm_assets.compute.records import Compute
from rllm_assets.config import DistributedConfig


@contextmanager
def open_compute(config: DistributedConfig) -> Iterator[Compute]:
    """Yield the configured compute, and at the end shut down what was started for it, nothing else.

    Raises:
        ClusterUnreachableError: where `ray_address` names no Ray cluster that answers.
        ComputeError: where Ray is not installed or does not start.
    """
    if config.compute == "local":
        yield LocalCompute()
        return
    with ray_cluster(config.ray_address) as cluster:
        yield RayCompute(cluster)
