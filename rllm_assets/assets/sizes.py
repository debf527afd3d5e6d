"""Who owns the assets, and how large a machine a heavy step gets."""

import os
from typing import Any

OWNERS = ["team:rllm"]
GPU_POOL = "gpu"


def heavy_tags() -> dict[str, Any]:
    """Return the sizes of a GPU-heavy step for Ray and for Kubernetes, from the environment.

    ``RLLM_STEP_CPUS`` (default 1), ``RLLM_STEP_GPUS`` (default 0: nothing asks for a GPU) and ``RLLM_STEP_MEMORY`` (GiB,
    default 8) say what one such step gets.
    """
    cpus, gpus = float(os.environ.get("RLLM_STEP_CPUS", "1")), float(os.environ.get("RLLM_STEP_GPUS", "0"))
    memory = float(os.environ.get("RLLM_STEP_MEMORY", "8"))
    ray: dict[str, Any] = {"num_cpus": cpus, "memory": int(memory * 2**30)}
    requests = {"cpu": f"{cpus:g}", "memory": f"{memory:g}Gi"}
    limits = {"memory": f"{memory:g}Gi"}
    if gpus:
        ray["num_gpus"] = gpus
        limits["nvidia.com/gpu"] = f"{gpus:g}"
    kubernetes = {"container_config": {"resources": {"requests": requests, "limits": limits}}}
    return {"dagster-ray/config": ray, "dagster-k8s/config": kubernetes}
