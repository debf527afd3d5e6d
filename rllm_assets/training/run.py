"""One training run, wherever the configuration says: in this process, or data-parallel on Ray."""

from pathlib import Path

from rllm_assets.config import RLLMConfig
from rllm_assets.rollouts.collect import Verifier
from rllm_assets.training.records import TrainingData, TrainingResult
from rllm_assets.training.trainer import OnMetrics, Trainer


def train(
    config: RLLMConfig, data: TrainingData, directory: Path, verifier: Verifier, on_metrics: OnMetrics | None = None
) -> TrainingResult:
    """Train in `directory`, resuming what was begun there; raises as `Trainer` does."""
    directory.mkdir(parents=True, exist_ok=True)
    if config.distributed.num_workers > 1:
        from rllm_assets.training.distributed import train_distributed

        return train_distributed(config, data, directory, on_metrics)
    return Trainer(config, data, directory, verifier, on_metrics).run()
