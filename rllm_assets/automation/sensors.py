"""Sensors: a new or changed benchmark gets its partition, its observation and its run."""

import json
from pathlib import Path

import dagster as dg

from rllm_assets.automation.jobs import to_the_gate
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.automation.sources import observe_base_model, observe_benchmark
from rllm_assets.data.benchmarks import BUNDLED, Benchmark, BenchmarkError, discover
from rllm_assets.models.embedded import ModelError
from rllm_assets.resources.settings import Settings


@dg.sensor(
    job=to_the_gate,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Watches the directory of benchmarks. Each benchmark.yaml becomes a partition, and its run up to evaluation_metrics is "
        "requested once, and again when its content changes. Bundled benchmarks get a partition and wait to be asked for."
    ),
)
def new_benchmarks(context: dg.SensorEvaluationContext, settings: Settings) -> dg.SensorResult | dg.SkipReason:
    """Compare the benchmarks there are with those of the last tick; one that is wrong is reported, the others go on."""
    seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
    found: dict[str, Benchmark] = {}
    errors: list[str] = []
    for item in discover(Path(settings.benchmarks)):
        if isinstance(item, BenchmarkError):
            errors.append(str(item))
        else:
            found[item.id] = item
    for error in errors:
        context.log.error(error)

    hashes = {name: benchmark.content_hash() for name, benchmark in found.items()}
    changed = [name for name in found if seen.get(name) != hashes[name]]
    known = set(context.instance.get_dynamic_partitions(str(benchmarks.name)))
    added = [name for name in found if name not in known]
    problems = f"; {len(errors)} could not be read: {' | '.join(errors)}" if errors else ""
    if not changed and not added:
        return dg.SkipReason(f"{len(found)} benchmarks, none new or changed{problems}")

    asset_events: list[dg.AssetObservation] = [observe_benchmark(found[name]) for name in changed]
    for model in sorted({found[name].resolve().config.model.name for name in changed}):
        try:
            asset_events.append(observe_base_model(model))
        except ModelError as error:
            context.log.error(str(error))
    return dg.SensorResult(
        run_requests=[
            # The content is part of the key: a revised benchmark runs again, an unchanged one never twice.
            dg.RunRequest(partition_key=name, run_key=f"{name}:{hashes[name]}")
            for name in changed
            if BUNDLED not in found[name].directory.parents
        ],
        dynamic_partitions_requests=[benchmarks.build_add_request(added)] if added else [],
        asset_events=asset_events,
        cursor=json.dumps(hashes, sort_keys=True),
    )
