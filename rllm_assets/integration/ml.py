"""The ML side: tracking in MLflow, and deployment of a trained adapter here or to KServe."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rllm_assets.config import RLLMConfig
from rllm_assets.serving import ChatMessage, Endpoint, Servable, deploy
from rllm_assets.tracking.models import RegisteredAdapter, adapter_hash, register_adapter
from rllm_assets.tracking.runs import Tracking


class MLIntegration:
    """Tracks and deploys what was trained."""

    def __init__(self, config: RLLMConfig, tracking_uri: str | None = None) -> None:
        """Bind the configuration, of which `serving` and `model` matter here, and MLflow's address.

        Without an address, ``$MLFLOW_TRACKING_URI`` holds, or `mlflow.db` where the program runs.
        """
        self._config = config
        self._uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        self._tracking: Tracking | None = None

    async def setup_mlflow(self, experiment_name: str = "rllm") -> Tracking:
        """Use an experiment; runs that killed processes left open are closed."""
        tracking = Tracking(self._uri, experiment_name)
        await asyncio.to_thread(tracking.recover)
        self._tracking = tracking
        return tracking

    async def log_training(
        self,
        metrics: Sequence[Mapping[str, float]],
        adapter: Path | str | None = None,
        registered_name: str = "rllm",
        run_name: str = "training",
    ) -> RegisteredAdapter | None:
        """Log a run's metrics, one mapping a step, and register its adapter without the base weights."""
        tracking = self._tracking or await self.setup_mlflow()

        def log() -> RegisteredAdapter | None:
            with tracking.run(run_name, config=self._config.model_dump(mode="json")) as run:
                for row in metrics:
                    values = {name: value for name, value in row.items() if name != "step"}
                    run.log_metrics(values, step=int(row.get("step", 0)))
                return register_adapter(run, Path(adapter), registered_name) if adapter else None

        return await asyncio.to_thread(log)

    async def deploy_model(
        self, adapter: Path | str, root: Path | str = "endpoints", smoke_messages: Sequence[ChatMessage] | None = None
    ) -> Endpoint:
        """Serve an adapter where `serving.target` says, on this machine or on KServe, and return the endpoint.

        Raises:
            ServingError: where it does not come up; what served before still serves.
            ModelError: where the base model cannot be had.
        """
        return await asyncio.to_thread(self._deploy, Path(adapter), Path(root), smoke_messages)

    def _deploy(self, adapter: Path, root: Path, smoke_messages: Sequence[ChatMessage] | None) -> Endpoint:
        from rllm_assets.models.found import find_model

        base = find_model(self._config.model.name)
        details: dict[str, Any] = {"base_model": base.content_hash}
        servable = Servable(
            base_model_dir=base.directory,
            adapter_dir=adapter,
            base_model_name=base.name,
            checkpoint_hash=adapter_hash(adapter),
            lora_rank=self._config.model.lora_rank,
            lineage=details,
        )
        asked: Sequence[ChatMessage] = smoke_messages or [{"role": "user", "content": "Say hello."}]
        return deploy(servable, self._config.serving, root, asked)
