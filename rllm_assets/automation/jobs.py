"""Jobs: the pipeline up to the gate, and the deployment that somebody asks for."""

import dagster as dg

from rllm_assets.resources.tracking import end_job_mlflow

_EVERYTHING = dg.AssetSelection.all(include_sources=False)
_DEPLOYMENT = dg.AssetSelection.assets("deployed_endpoint")

to_the_gate = dg.define_asset_job(
    "to_the_gate",
    selection=_EVERYTHING - _DEPLOYMENT,
    description="From a benchmark's issues to evaluation_metrics: what sensors and backfills run.",
    hooks={end_job_mlflow},
)

deployment = dg.define_asset_job(
    "deployment",
    selection=_DEPLOYMENT,
    description="Serve the LoRA of a benchmark whose gate has passed.",
    hooks={end_job_mlflow},
)

jobs = [to_the_gate, deployment]
