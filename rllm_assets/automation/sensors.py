"""Sensors: a new or changed benchmark gets its partition, its observation and its run; a run that was killed is ended."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import dagster as dg

from rllm_assets.automation.jobs import to_the_gate
from rllm_assets.automation.lost_runs import end_lost_runs
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.automation.sources import base_model_of, observe_base_model, observe_benchmark
from rllm_assets.automation.under_way import under_way
from rllm_assets.config import ConfigError
from rllm_assets.data.benchmarks import BUNDLED, Benchmark, BenchmarkError, discover
from rllm_assets.data.clones import CloneError
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
    seen: dict[str, _Seen] = json.loads(context.cursor) if context.cursor else {}
    found, hashes, errors = _look(Path(settings.benchmarks))
    for error in errors:
        context.log.error(error)

    changed = [name for name in found if name not in seen or seen[name]["hash"] != hashes[name]]
    known = set(context.instance.get_dynamic_partitions(str(benchmarks.name)))
    # What rllm-backfill has just added is run by it.
    asked_for = under_way(context.instance) - set(seen)
    added = [name for name in found if name not in known]
    problems = f"; {len(errors)} could not be read: {' | '.join(errors)}" if errors else ""
    if not changed and not added:
        return dg.SkipReason(f"{len(found)} benchmarks, none new or changed{problems}")

    # What cannot be read just now stays known: put right again with its old content, it is not new.
    now: dict[str, _Seen] = dict(seen)
    now |= {name: {"hash": hashes[name], "revision": _revision(seen.get(name), name in changed)} for name in found}
    return dg.SensorResult(
        run_requests=[
            # Content and revision are part of the key: what has changed runs again, even back to what it was.
            dg.RunRequest(partition_key=name, run_key=f"{name}:{hashes[name]}:{now[name]['revision']}")
            for name in changed
            if BUNDLED not in found[name].directory.parents and name not in asked_for
        ],
        dynamic_partitions_requests=[benchmarks.build_add_request(added)] if added else [],
        asset_events=[observe_benchmark(found[name]) for name in changed]
        + _models_here([found[n] for n in changed], context),
        cursor=json.dumps(now, sort_keys=True),
    )


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process was killed, so that they do not keep others from the pool `gpu`.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Look for runs of this machine that were killed."""
    ended = end_lost_runs(context.instance)
    return dg.SkipReason(f"ended {', '.join(ended)}" if ended else "no run was lost")


class _Seen(TypedDict):
    """What the cursor keeps of a benchmark: the hash of its content, and how often that has changed."""

    hash: str
    revision: int


def _revision(seen: _Seen | None, is_changed: bool) -> int:
    return 0 if seen is None else seen["revision"] + is_changed


def _look(directory: Path) -> tuple[dict[str, Benchmark], dict[str, str], list[str]]:
    """Return the benchmarks there are with the hashes of their content, and what is wrong with the others."""
    found: dict[str, Benchmark] = {}
    hashes: dict[str, str] = {}
    errors: list[str] = []
    for item in discover(directory):
        if isinstance(item, BenchmarkError):
            errors.append(str(item))
            continue
        try:
            hashes[item.id] = item.content_hash()
            found[item.id] = item
        # A clone or a member of a union may go while it is looked at.
        except (OSError, BenchmarkError, CloneError) as error:
            errors.append(f"{item.directory}: cannot be read: {error}")
    return found, hashes, errors


def _models_here(changed: Sequence[Benchmark], context: dg.SensorEvaluationContext) -> list[dg.AssetObservation]:
    """Observe base models that are on this machine; downloading one would outlast a tick, so that is left to the run."""
    from rllm_assets.models.found import is_here

    observations: list[dg.AssetObservation] = []
    for benchmark in changed:
        try:
            model = base_model_of(benchmark)
            observations += [observe_base_model(benchmark.id, model)] if is_here(model) else []
        except (ConfigError, ModelError) as error:
            context.log.error(str(error))
    return observations
