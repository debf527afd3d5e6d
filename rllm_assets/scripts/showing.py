"""Tables, progress and errors for terminals."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rllm_assets.evaluation.records import Difference, Report

# Before and after the steps: what is counted, of how many, and what it is.
_STAGES = (
    ("base_sampled", "base_sampled_total", "sampling the base"),
    ("warm_start_step", "warm_start_steps", "warm start"),
    ("compared", "compared_total", "comparing with the base"),
)
_SHOWN = ("reward", "fold_pass_rate", "response_tokens")
_NAMES = {"base": "base", "warm_start": "warm start", "lora": "LoRA"}


def print_error(console: Console, error: Exception) -> None:
    """Print an error as one line, the brackets in it as they are."""
    console.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)


def find_model_first(console: Console, name: str) -> None:
    """Convert or download the base model, if need be, before there is a bar; afterwards, weights are loaded without bars.

    Raises:
        ModelError: where there is no such model.
    """
    from rllm_assets.models.found import find_model

    with console.status("looking at the base model (converted on first use)"):
        find_model(name)
    # Read when transformers is imported, here and in workers.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def progress_bar(console: Console) -> Progress:
    """Return a bar with how much is done, the time, and the task's field `status`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("{task.fields[status]}", markup=False), console=console)


@contextlib.contextmanager
def training_bar(console: Console) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Show a bar that follows a training; yields what `RLLMTrainer` is to call with its metrics."""
    with progress_bar(console) as progress:
        task = progress.add_task("training", total=None, status="loading the model")
        steps: float | None = None

        def show(metrics: Mapping[str, float]) -> None:
            nonlocal steps
            for done, total, what in _STAGES:
                if done in metrics:
                    progress.update(task, total=metrics[total], completed=metrics[done], status=what)
                    return
            steps = metrics.get("planned_steps", steps)
            status = "  ".join(f"{name} {metrics[name]:.3g}" for name in _SHOWN if name in metrics)
            progress.update(task, total=steps, completed=metrics["step"], status=status)

        yield show


def report_table(report: Report) -> Table:
    """Return the comparison of policies as a table."""
    table = Table(
        title=f"{report.benchmark}: {report.issues} held-out issues of {report.groups} groups, {report.samples} samples each",
        caption=_caption(report),
    )
    for heading in ("", f"pass@1 (T={report.temperature:g})", "95% interval", "greedy", "format", "tokens"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in ("base", "warm_start", "lora"):
        if (scores := report.scores.get(name)) is None:
            continue
        table.add_row(
            _NAMES[name],
            f"{scores.pass_at_1:.1%}",
            f"{scores.pass_at_1_low:.1%} to {scores.pass_at_1_high:.1%}",
            "" if scores.greedy is None else f"{scores.greedy:.1%}",
            f"{scores.format_rate:.1%}",
            f"{scores.tokens_per_answer:.0f}",
        )
    return table


def _caption(report: Report) -> str:
    lines = [f"LoRA over base: {_difference(report.lora_over_base)}"]
    if report.lora_over_warm_start is not None:
        lines.append(f"reinforcement over warm start: {_difference(report.lora_over_warm_start)}")
    return "\n".join(lines)


def _difference(difference: Difference) -> str:
    points, low, high = (100 * value for value in (difference.points, difference.low, difference.high))
    return f"{points:+.1f} points ({low:+.1f} to {high:+.1f}), p = {difference.p_value:.4f}"
