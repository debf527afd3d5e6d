"""rllm-backfill: run benchmarks through the graph in the background.

`dagster job backfill` refuses keys that no sensor has added yet, and without a daemon it says that all is well and leaves the
runs queued. This command adds the keys, submits a true asset backfill, and refuses where nobody would work it off.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console

from rllm_assets.automation.following import BackfillGoneError, follow
from rllm_assets.automation.lost_runs import end_lost_runs
from rllm_assets.automation.partitions import benchmarks
from rllm_assets.automation.sources import base_model_of, observe_base_model, observe_benchmark
from rllm_assets.automation.under_way import under_way
from rllm_assets.config import ConfigError
from rllm_assets.data.benchmarks import Benchmark, BenchmarkError, discover, find_benchmark
from rllm_assets.models.embedded import ModelError
from rllm_assets.scripts.showing import print_error

TO_THE_GATE = (
    "historical_issues",
    "trajectories",
    "train_split",
    "val_split",
    "test_split",
    "tuned_hyperparameters",
    "lora_checkpoint",
    "evaluation_metrics",
)
# The daemons that turn a backfill into runs and queued runs into processes.
DAEMONS = ("BACKFILL", "QUEUED_RUN_COORDINATOR")

_LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
    ... on InvalidSubsetError { message }
    ... on PartitionSetNotFoundError { message }
    ... on PartitionKeysNotFoundError { message }
  }
}
"""


class BackfillError(RuntimeError):
    """A backfill cannot be submitted, or did not succeed; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 for a backfill that failed, 2 for one that could not be submitted."""
    args = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        with dg.DagsterInstance.get() as instance:
            chosen = _chosen(args.benchmarks, args.all)
            require_daemon(instance)
            for run_id in end_lost_runs(instance):
                console.print(f"run {run_id} was killed; its place in the pool is free again", highlight=False)
            for name in sorted(under_way(instance) & {benchmark.id for benchmark in chosen}):
                console.print(f"{name}: another run is under way; this one runs it again", highlight=False)
            register(instance, chosen)
            assets = [*TO_THE_GATE, "deployed_endpoint"] if args.deploy else list(TO_THE_GATE)
            backfill_id = submit(args.workspace, [benchmark.id for benchmark in chosen], assets)
            console.print(f"backfill {backfill_id}: {', '.join(b.id for b in chosen)}", highlight=False)
            return 0 if args.no_wait or follow(instance, backfill_id, console) else 1
    except (BackfillError, BackfillGoneError, BenchmarkError, ConfigError, ModelError, dg.DagsterError) as error:
        print_error(console, error)
        return 2
    except KeyboardInterrupt:
        console.print("no longer followed; the backfill goes on, see the Runs page of the Dagster UI", highlight=False)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rllm-backfill", description="Materialize benchmarks in the background.", allow_abbrev=False
    )
    parser.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help="benchmark ids")
    parser.add_argument("--all", action="store_true", help="every benchmark that can be read")
    parser.add_argument("--deploy", action="store_true", help="also deployed_endpoint, where the gate passes")
    parser.add_argument("--no-wait", action="store_true", help="submit and return")
    parser.add_argument("-w", "--workspace", type=Path, default=Path("workspace.yaml"), help="default: workspace.yaml")
    return parser


def _chosen(names: Sequence[str], everything: bool) -> list[Benchmark]:
    if everything:
        found = list(discover())
        if broken := [str(item) for item in found if isinstance(item, BenchmarkError)]:
            raise BackfillError("; ".join(broken))
        return [item for item in found if isinstance(item, Benchmark)]
    if not names:
        raise BackfillError("name the benchmarks, or give --all")
    return [find_benchmark(name) for name in dict.fromkeys(names)]


def register(instance: dg.DagsterInstance, chosen: Iterable[Benchmark]) -> None:
    """Add the partitions that are missing, and observe the data versions of the benchmarks and their base models.

    Raises:
        ConfigError: where ``$RLLM_CONFIG`` is wrong.
        ModelError: where a base model cannot be had.
    """
    chosen = list(chosen)
    # First, because a model may have to be downloaded, and the sensor is not to find a partition that nobody has asked for.
    observations = [
        observation
        for benchmark in chosen
        for observation in (
            observe_benchmark(benchmark),
            observe_base_model(benchmark.id, base_model_of(benchmark)),
        )
    ]
    instance.add_dynamic_partitions(str(benchmarks.name), [benchmark.id for benchmark in chosen])
    for observation in observations:
        instance.report_runless_asset_event(observation)


def require_daemon(instance: dg.DagsterInstance) -> None:
    """Raise where no daemon would work a backfill off.

    Raises:
        BackfillError: naming the daemons that are away and how to start them.
    """
    statuses = instance.get_daemon_statuses(DAEMONS)
    away = [name for name, status in statuses.items() if status.required and not status.healthy]
    if away:
        raise BackfillError(
            f"no Dagster daemon runs on {instance.root_directory} ({', '.join(away)}): the backfill would stay queued. "
            "Start it with `make dev`, or `dagster-daemon run`, with the same DAGSTER_HOME"
        )


def submit(workspace: Path, partitions: Sequence[str], assets: Sequence[str]) -> str:
    """Submit an asset backfill and return its id.

    Raises:
        BackfillError: where Dagster refuses it.
    """
    variables = {
        "params": {
            "assetSelection": [{"path": [name]} for name in assets],
            "partitionNames": list(partitions),
            "title": "rllm-backfill",
        }
    }
    answer = _graphql(workspace, _LAUNCH, variables)["launchPartitionBackfill"]
    if answer["__typename"] != "LaunchBackfillSuccess":
        raise BackfillError(f"Dagster refuses the backfill: {answer.get('message') or answer['__typename']}")
    return answer["backfillId"]


def _graphql(workspace: Path, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    # The package has no __main__, and its script need not be on the path.
    program = [sys.executable, "-c", "from dagster_graphql.cli import main; main()"]
    command = [*program, "-w", str(workspace), "-t", query, "-v", json.dumps(variables)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith('{"data"')), None)
    if line is None:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BackfillError(f"the code location of {workspace} does not answer: {reason}")
    content = json.loads(line)
    if errors := content.get("errors"):
        raise BackfillError(f"Dagster refuses the backfill: {errors[0].get('message', errors[0])}")
    return content["data"]


if __name__ == "__main__":
    sys.exit(main())
