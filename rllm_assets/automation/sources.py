"""Data versions of what stands before the first asset, so that a changed input shows everything downstream as stale."""

import dagster as dg

from rllm_assets.config import environment_layer
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


def base_model_of(benchmark: Benchmark) -> str:
    """Return the name of a benchmark's base model, as far as no run config says otherwise.

    Raises:
        ConfigError: where ``$RLLM_CONFIG`` is wrong.
    """
    return benchmark.resolve(environment_layer()).config.model.name


def observe_base_model(benchmark_id: str, name: str) -> dg.AssetObservation:
    """Return the observation of the weights of a benchmark's base model.

    Raises:
        ModelError: where the model cannot be had.
    """
    from rllm_assets.models.found import find_model

    base = find_model(name)
    return dg.AssetObservation(
        asset_key="base_model",
        partition=benchmark_id,
        metadata={"name": name, "path": dg.MetadataValue.path(str(base.directory))},
        tags={DATA_VERSION: base.content_hash},
    )


def is_seen(instance: dg.DagsterInstance, observation: dg.AssetObservation) -> bool:
    """Whether the last observation of an asset's partition had the same data version."""
    partition = [observation.partition] if observation.partition else None
    wanted = dg.AssetRecordsFilter(asset_key=observation.asset_key, asset_partitions=partition)
    last = [record.asset_observation for record in instance.fetch_observations(wanted, limit=1).records]
    return bool(last) and last[0] is not None and last[0].tags.get(DATA_VERSION) == observation.tags[DATA_VERSION]
