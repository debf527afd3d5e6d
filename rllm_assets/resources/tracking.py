"""MLflow: one run a heavy asset, and the run of a whole job around them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from rllm_assets.config import Resolved
from rllm_assets.resources.artefacts import default_root
from rllm_assets.tracking.names import asset_tags
from rllm_assets.tracking.runs import Run, Tracking


def default_uri() -> str:
    """Return where runs are tracked: ``$MLFLOW_TRACKING_URI``, else a SQLite database beside the artefacts."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(default_root()).parent / 'mlflow.db'}"


class MLflow(dg.ConfigurableResource):
    """Opens MLflow runs."""

    uri: str = Field(default_factory=default_uri, description="MLflow's tracking URI.")
    experiment: str = Field(default="rllm", description="Name of the experiment.")

    def tracking(self) -> Tracking:
        """Return the experiment; nothing is connected to before it is needed."""
        return Tracking(self.uri, self.experiment)

    @contextlib.contextmanager
    def run(self, context: dg.AssetExecutionContext, asset: str, config: Resolved) -> Iterator[Run]:
        """Open the run of one asset, inside the job's where there is one; closed also on failure."""
        tracking = self.tracking()
        code_version = context.assets_def.code_versions_by_key.get(dg.AssetKey(asset))
        tags = asset_tags(asset, context.partition_key, context.run.run_id, code_version)
        with tracking.run(
            f"{asset} {context.partition_key}",
            tags=tags,
            config=config.config.model_dump(mode="json"),
            parent=tracking.job_run(context.run.run_id),
        ) as run:
            yield run


# dagster-mlflow imports mlflow, which takes seconds, so its resource and hook are looked up when a run needs them.
@dg.resource(description="The MLflow run of a whole job, by dagster-mlflow.")
def job_mlflow(context: dg.InitResourceContext) -> Iterator[Any]:
    """Open, or find again in another process, the run that the job's asset runs are nested in."""
    from dagster_mlflow import mlflow_tracking

    handle = MLflow()
    config = {"experiment_name": handle.experiment, "mlflow_tracking_uri": handle.uri, "env": {}, "extra_tags": {}}
    # Typed as a function without arguments, which it never is for a resource with configuration.
    open_run: Any = mlflow_tracking.resource_fn
    yield from open_run(context.replace_config(config))


def _end_job_run(context: dg.HookContext, events: list[dg.DagsterEvent]) -> dg.HookExecutionResult:
    from dagster_mlflow import end_mlflow_on_run_finished

    return end_mlflow_on_run_finished.hook_fn(context, events)


end_job_mlflow = dg.HookDefinition(name="end_job_mlflow", hook_fn=_end_job_run, required_resource_keys={"mlflow"})
"""Ends the job's run with its last asset, or as failed with the first that fails: dagster-mlflow's hook."""
