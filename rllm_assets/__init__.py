"""From closed issues to a better coding model, one Dagster asset after another.

The names below are loaded when they are first used, so that importing the package costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllm_assets.config import RLLMConfig, get_deepcoder_config, get_smollm2_config
    from rllm_assets.integration import BenchmarkIntegration, MLIntegration, TrajectoryIntegration
    from rllm_assets.training.api import RLLMTrainer

__version__ = "0.1.0"

_HOMES = {
    "RLLMConfig": "rllm_assets.config",
    "get_deepcoder_config": "rllm_assets.config",
    "get_smollm2_config": "rllm_assets.config",
    "RLLMTrainer": "rllm_assets.training.api",
    "BenchmarkIntegration": "rllm_assets.integration",
    "TrajectoryIntegration": "rllm_assets.integration",
    "MLIntegration": "rllm_assets.integration",
}

__all__ = [
    "BenchmarkIntegration",
    "MLIntegration",
    "RLLMConfig",
    "RLLMTrainer",
    "TrajectoryIntegration",
    "get_deepcoder_config",
    "get_smollm2_config",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rllm_assets' has no attribute {name!r}")
