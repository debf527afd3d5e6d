"""One small Ray for a test session: starting it takes many seconds.

Each folder's tests import the fixture; the first one to be used starts Ray, the others find it running and leave it alone.
"""

from collections.abc import Iterator

import pytest

from rllm_assets.compute.cluster import Cluster, ray_cluster
from rllm_assets.compute.ray_crew import RayCompute

CPUS = 2


@pytest.fixture(scope="session")
def ray_here() -> Iterator[Cluster]:
    with ray_cluster(None, cpus=CPUS) as cluster:
        # Connected by a process that found it running, it would be taken for one that may grow.
        yield Cluster(cluster.address, grows=False)


@pytest.fixture(scope="session")
def ray_compute(ray_here: Cluster) -> RayCompute:
    return RayCompute(ray_here)
