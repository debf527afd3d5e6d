"""The executor of every run, chosen by ``RLLM_EXECUTOR``; one set of assets runs under all of them."""

import os
from collections.abc import Callable, Mapping

import dagster as dg

DEFAULT = "multiprocess"


class ExecutorError(ValueError):
    """``RLLM_EXECUTOR`` names no executor, or one whose package is not installed."""


def _ray() -> dg.ExecutorDefinition:
    try:
        from dagster_ray import ray_executor
    except ImportError:
        raise ExecutorError("RLLM_EXECUTOR=ray needs dagster-ray: pip install 'rllm_assets[ray]'") from None
    # Sizes come from the assets' tags alone: an executor-level num_cpus would override them, and resources given here leak
    # from one step into the next (dagster-ray 0.4).
    names = [name for name in _FORWARDED if name in os.environ]
    address = os.environ.get("RAY_ADDRESS")
    ray: dict[str, object] = {"runtime_env": {"env_vars": {name: os.environ[name] for name in names}}}
    if address:
        ray["address"] = address
    return ray_executor.configured({"ray": ray})


def _k8s() -> dg.ExecutorDefinition:
    from dagster_k8s import k8s_job_executor

    names = [name for name in _FORWARDED if name in os.environ]
    return k8s_job_executor.configured({"env_vars": names} if names else {})


# What a step on another machine must know.
_FORWARDED = (
    "DAGSTER_HOME",
    "HF_HUB_OFFLINE",
    "MLFLOW_TRACKING_URI",
    "RLLM_BENCHMARKS",
    "RLLM_CACHE",
    "RLLM_CONFIG",
    "RLLM_ENDPOINTS",
    "RLLM_EXECUTOR",
    "RLLM_STEP_CPUS",
    "RLLM_STEP_GPUS",
    "RLLM_STEP_MEMORY",
    "RLLM_SANDBOX",
    "RLLM_STORAGE",
)

EXECUTORS: Mapping[str, Callable[[], dg.ExecutorDefinition]] = {
    "in_process": lambda: dg.in_process_executor,
    "multiprocess": lambda: dg.multiprocess_executor,
    "ray": _ray,
    "k8s": _k8s,
}


def chosen_executor() -> dg.ExecutorDefinition:
    """Return the executor that ``RLLM_EXECUTOR`` names.

    Raises:
        ExecutorError: for a name that is none, listing those that are.
    """
    name = os.environ.get("RLLM_EXECUTOR", DEFAULT)
    if name not in EXECUTORS:
        raise ExecutorError(f"RLLM_EXECUTOR={name!r} is no executor; choose one of {', '.join(EXECUTORS)}")
    return EXECUTORS[name]()
