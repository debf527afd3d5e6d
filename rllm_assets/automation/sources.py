"""Data versions of what stands before the first asset, so that a changed input shows everything downstream as stale."""

import dagster as dg

from rllm_assets.data.benchmarks import Benchmark

DATA_VERSION = "dagster/data_version"


def observe_benchmark(benchmark: Benchmark) -> dg.AssetObservation:
    """Return the observation of a benchmark's files."""
    return dg.AssetObservation(
        asset_key="benchmark_source",
        partition=benchmark.id,
        metadata={"path": dg.MetadataValue.path(str(benchmark.source_path)), "source": benchmark.source},
        tags={DATA_VERSION: benchmark.content_hash()},
    )


def observe_base_model(name: str) -> dg.AssetObservation:
    """Return the observation of a base model's weights.

    Raises:
        ModelError: where the model cannot be had.
    """
    from rllm_assets.models.found import find_model

    base = find_model(name)
    return dg.AssetObservation(
        asset_key="base_model",
        metadata={"name": name, "path": dg.MetadataValue.path(str(base.directory))},
        tags={DATA_VERSION: base.content_hash},
    )
