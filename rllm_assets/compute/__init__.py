"""Run work in this process or on a Ray cluster, with the same code."""

from rllm_assets.compute.opening import open_compute
from rllm_assets.compute.records import (
    ClusterUnreachableError,
    Compute,
    ComputeError,
    Crew,
    Outcome,
    ResourcesError,
    Size,
    WorkerLostError,
)
from rllm_assets.compute.shares import run_shares, sandboxes

__all__ = [
    "ClusterUnreachableError",
    "Compute",
    "ComputeError",
    "Crew",
    "Outcome",
    "ResourcesError",
    "Size",
    "WorkerLostError",
    "open_compute",
    "run_shares",
    "sandboxes",
]
