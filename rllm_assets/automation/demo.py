"""The demo: the whole graph for one benchmark through the `dagster` command line, and a table of what came out.

python -m rllm_assets.automation.demo [--benchmark pocket] [--seed 0]
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rllm_assets.automation.backfill import register
from rllm_assets.automation.lost_runs import end_lost_runs
from rllm_assets.automation.step_display import StepDisplay
from rllm_assets.config import ConfigError
from rllm_assets.data.benchmarks import BenchmarkError, find_benchmark
from rllm_assets.evaluation.records import Report
from rllm_assets.models.embedded import ModelError
from rllm_assets.resources.artefacts import Artefacts
from rllm_assets.resources.tracking import default_uri
from rllm_assets.scripts.showing import print_error, report_table

# Seconds that each step may take on two cores; their sum is the demo's budget.
BUDGET: Mapping[str, int] = {
    "historical_issues": 20,
    "trajectories": 240,
    "splits": 15,
    "tuned_hyperparameters": 280,
    "lora_checkpoint": 640,
    "evaluation_metrics": 270,
    "deployed_endpoint": 35,
}

_STEP = re.compile(r" - (\w+) - STEP_(START|SUCCESS|FAILURE) - ")
_PROGRESS = re.compile(r" progress (\{.*\})")
_BLOCKED = re.compile(r" - (\w+) - ENGINE_EVENT - Step blocked by limit for pool (\w+)")
_SECONDS_TO_STOP = 60.0


class DemoError(RuntimeError):
    """The demo did not get through; the message names the step and the log."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 0, or 1 after one line on what went wrong."""
    args = _parser().parse_args(arguments)
    console = Console()
    try:
        return _demo(args, console)
    except (DemoError, BenchmarkError, ConfigError, ModelError) as error:
        print_error(console, error)
        return 1
    except KeyboardInterrupt:
        console.print(
            "stopped; training goes on from its last checkpoint when the demo is started again",
            highlight=False,
            soft_wrap=True,
        )
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo", description="From closed issues to a served LoRA.", allow_abbrev=False
    )
    parser.add_argument("--benchmark", default="pocket")
    parser.add_argument("--seed", type=int, default=0, help="of training")
    parser.add_argument("--select", default="*", help="assets, as in `dagster asset materialize` (default: all)")
    return parser


def _demo(args: argparse.Namespace, console: Console) -> int:
    home = Path(os.environ["DAGSTER_HOME"])
    benchmark = find_benchmark(args.benchmark)
    console.print(f"[bold]{benchmark.id}[/]: {escape(benchmark.description)}", highlight=False)
    minutes = sum(BUDGET.values()) / 60
    console.print(
        f"DAGSTER_HOME {home}; budget {minutes:.0f} minutes on two cores",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    with dg.DagsterInstance.get() as instance, console.status("looking at the base model (converted on first use)"):
        for run_id in end_lost_runs(instance):
            console.print(f"run {run_id} was killed; its place in the pool is free again", highlight=False)
        register(instance, [benchmark])
    began, began_at = time.monotonic(), time.time()
    seconds, failure = _materialize(args, home / "demo.log", console)
    total = time.monotonic() - began
    artefacts = Artefacts()
    report = artefacts.path("evaluation_metrics", args.benchmark) / "report.json"
    # A gate that did not pass is a result too, and its numbers are what somebody wants to see.
    if report.is_file() and report.stat().st_mtime > began_at:
        console.print(report_table(Report.model_validate_json(report.read_text(encoding="utf-8"))))
    console.print(_times(seconds, total))
    if failure is not None:
        raise DemoError(failure)
    deployed = artefacts.path("deployed_endpoint", args.benchmark)
    if "deployed_endpoint" in seconds:
        _show_endpoint(home, deployed, console)
    _show_ways_on(home, deployed, console)
    return 0


def _materialize(args: argparse.Namespace, log: Path, console: Console) -> tuple[dict[str, float], str | None]:
    """Run the `dagster` command line, show its progress, and return the seconds of each step and what failed, if anything."""
    command = ["dagster", "asset", "materialize", "-m", "rllm_assets.definitions"]
    command += ["--select", args.select, "--partition", args.benchmark]
    overrides = {"resources": {"settings": {"config": {"overrides": {"training.seed": args.seed}}}}}
    command += ["--config-json", json.dumps(overrides)]
    console.print(f"$ {shlex.join(command)}", highlight=False, markup=False, soft_wrap=True)
    with _stoppable(), StepDisplay(console, BUDGET) as display, log.open("w", encoding="utf-8") as file:
        # In a group of its own, so that it is stopped once and together with its steps.
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                _show(line, display)
        except KeyboardInterrupt:
            _stop(process)
            raise
    if process.wait() != 0 or display.failed:
        what = f"{display.failed[0]} failed" if display.failed else "the run failed"
        return display.seconds, f"{what}; the log is {log}:\n{_last_error(log)}"
    return display.seconds, None


def _show(line: str, display: StepDisplay) -> None:
    if match := _STEP.search(line):
        name, event = match.groups()
        if event == "START":
            display.start(name)
        else:
            display.end(name, succeeded=event == "SUCCESS")
    elif match := _PROGRESS.search(line):
        shown = json.loads(match[1])
        display.progress(shown.pop("asset"), shown)
    elif match := _BLOCKED.search(line):
        display.waits(match[1], f"waits: another run has the pool {match[2]}, see the Runs page of the Dagster UI")


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM, and the end of the terminal unless `nohup` is used, stop the demo as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def nothing(*_: object) -> None:
        """Ignore a signal, without which a process that is started from here would ignore it too."""

    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    changed = {signum: handler for signum, handler in before.items() if handler is not signal.SIG_IGN}
    for signum in changed:
        signal.signal(signum, interrupt)
    # A shell without job control starts what is to run in the background with SIGINT ignored; Dagster is stopped by it.
    if signal.SIGINT not in changed:
        signal.signal(signal.SIGINT, nothing)
        changed[signal.SIGINT] = signal.SIG_IGN
    try:
        yield
    finally:
        for signum, handler in changed.items():
            signal.signal(signum, handler)


def _stop(process: subprocess.Popen[str]) -> None:
    """Let Dagster end the run and its steps; what does not end in time is killed."""
    # Dagster turns the first SIGINT into a run that is marked as failed and gives its place in the pool back.
    os.kill(process.pid, signal.SIGINT)
    try:
        process.communicate(timeout=_SECONDS_TO_STOP)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_error(log: Path) -> str:
    lines = log.read_text(encoding="utf-8").splitlines()
    errors = [line for line in lines if "Failure" in line or "Error: " in line]
    return "\n".join((errors or lines)[-3:])


def _times(seconds: Mapping[str, float], total: float) -> Table:
    table = Table(title=f"{total / 60:.1f} minutes, the budget is {sum(BUDGET.values()) / 60:.0f}")
    for heading, justify in (("asset", "left"), ("seconds", "right"), ("budget", "right")):
        table.add_column(heading, justify=justify)  # pyright: ignore[reportArgumentType]
    for name, taken in seconds.items():
        table.add_row(name, f"{taken:.0f}", str(BUDGET[name]))
    return table


def _show_endpoint(home: Path, deployed: Path, console: Console) -> None:
    endpoint = json.loads((deployed / "endpoint.json").read_text(encoding="utf-8"))
    console.print(f"[bold]{'Endpoint':9}[/] {endpoint['url']}", highlight=False, soft_wrap=True)
    console.print(f"[bold]{'Ask it':9}[/] bash {escape(str(deployed / 'curl.sh'))}", highlight=False, soft_wrap=True)
    console.print((deployed / "curl.sh").read_text(encoding="utf-8"), highlight=False, soft_wrap=True, markup=False)
    stop = f"{sys.executable} -m rllm_assets.scripts.endpoints --stop {endpoint['name']}"
    console.print(f"[bold]{'Stop it':9}[/] {escape(f'DAGSTER_HOME={home} {stop}')}", highlight=False, soft_wrap=True)


def _show_ways_on(home: Path, deployed: Path, console: Console) -> None:
    python = Path(sys.executable).parent
    for title, text in (
        ("Dagster", f"DAGSTER_HOME={home} {python / 'dagster'} dev -w workspace.yaml   # http://127.0.0.1:3000"),
        ("MLflow", f"{python / 'mlflow'} ui --backend-store-uri {default_uri()}   # http://127.0.0.1:5000"),
        ("Lineage", f"{python / 'python'} -m rllm_assets.scripts.lineage {deployed}" if deployed.exists() else ""),
    ):
        if text:
            console.print(f"[bold]{title:9}[/] {escape(text)}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
