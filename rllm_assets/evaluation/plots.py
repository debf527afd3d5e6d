"""Pictures for people: PNG bytes, drawn without a display."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rllm_assets.evaluation.records import IssueResult, PolicyName, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES: Mapping[PolicyName, str] = {"base": "base", "warm_start": "warm start", "lora": "LoRA"}
_COLORS: Mapping[PolicyName, str] = {"base": "#9aa5b1", "warm_start": "#e0b252", "lora": "#3366cc"}


def _figure(columns: int, title: str) -> tuple["Figure", list["Axes"]]:
    # The object interface, not pyplot: no global state, so plots may be drawn from any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No wider than the dialog in which the UI shows it.
    figure = Figure(figsize=(min(4.6 * columns, 11.0), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes = [figure.add_subplot(1, columns, index + 1) for index in range(columns)]
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def funnel(read: int, left_out: Mapping[str, int], kept: int, title: str) -> bytes:
    """Draw how many rows were read, how many are left after each reason to leave some out, and how many are kept."""
    figure, (axis,) = _figure(1, title)
    figure.set_size_inches(6.4, 3.4)
    stages = [("rows read", read)]
    for reason, count in sorted(left_out.items(), key=lambda item: (-item[1], item[0])):
        stages.append((f"less {reason.replace('_', ' ')}: {count}", stages[-1][1] - count))
    stages.append(("kept", kept))
    names, counts = [name for name, _ in stages], [count for _, count in stages]
    colors = ["#9aa5b1", *["#e0b252"] * len(left_out), "#2a9d5c"]
    bars = axis.barh(names, counts, color=colors)
    axis.bar_label(bars, padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_xlabel("issues")
    return _png(figure)


def training_curves(metrics: Sequence[Mapping[str, float]], title: str) -> bytes:
    """Draw rewards and pass rate of the sampled answers, pass rate on the fold, and answer length over the steps of a run."""
    figure, (reward, fold, length) = _figure(3, title)
    _line(reward, metrics, "reward", "reward", "#3366cc")
    _line(reward, metrics, "pass_rate", "pass rate", "#2a9d5c", style="--")
    _line(reward, metrics, "format_rate", "format rate", "#9aa5b1")
    reward.set_title("sampled answers")
    reward.legend()
    _line(fold, metrics, "fold_pass_rate", "fold", "#2a9d5c", marker="o")
    fold.set_title("pass@1 on the fold")
    _line(length, metrics, "response_tokens", "tokens", "#b5651d")
    length.set_title("tokens an answer")
    lowest = min((row["reward"] for row in metrics if "reward" in row), default=0.0)
    for axis in (reward, fold, length):
        axis.set_xlabel("step")
        axis.set_ylim(bottom=1.05 * min(0.0, lowest) if axis is reward else 0)
    return _png(figure)


def _line(
    axis: "Axes",
    metrics: Sequence[Mapping[str, float]],
    key: str,
    label: str,
    color: str,
    marker: str | None = None,
    style: str = "-",
) -> None:
    rows = [row for row in metrics if key in row]
    steps, values = [row["step"] for row in rows], [row[key] for row in rows]
    axis.plot(steps, values, label=label, color=color, marker=marker, linestyle=style)


def pass_at_1_bars(report: Report) -> bytes:
    """Draw pass@1 of each policy with its interval, and pass@k."""
    figure, (bars, curves) = _figure(
        2, f"{report.benchmark}: {report.issues} held-out issues of {report.groups} groups"
    )
    for position, (name, scores) in enumerate(report.scores.items()):
        below, above = scores.pass_at_1 - scores.pass_at_1_low, scores.pass_at_1_high - scores.pass_at_1
        bars.bar(position, scores.pass_at_1, color=_COLORS[name], width=0.6)
        bars.errorbar(position, scores.pass_at_1, yerr=[[below], [above]], color="black", capsize=5)
        bars.text(position + 0.05, scores.pass_at_1, f" {scores.pass_at_1:.1%}", va="bottom")
        ks = sorted(scores.pass_at_k)
        curves.plot(ks, [scores.pass_at_k[k] for k in ks], marker="o", color=_COLORS[name], label=_NAMES[name])
    bars.set_xticks(range(len(report.scores)), [_NAMES[name] for name in report.scores])
    bars.set_title(f"pass@1 at temperature {report.temperature:g}, 95% interval")
    bars.set_ylim(bottom=0)
    curves.set_title("pass@k")
    curves.set_xlabel("k")
    curves.set_ylim(bottom=0)
    curves.legend()
    return _png(figure)


def group_slopes(results: Sequence[IssueResult]) -> bytes:
    """Draw each held-out group's pass rate under the base and under the LoRA."""
    figure, (axis,) = _figure(1, "held-out groups, base to LoRA")
    rates: dict[str, dict[str, list[float]]] = {}
    for result in results:
        rates.setdefault(result.group, {}).setdefault(result.policy, []).append(result.pass_rate)
    for by_policy in rates.values():
        ends = [sum(by_policy[name]) / len(by_policy[name]) for name in ("base", "lora")]
        axis.plot([0, 1], ends, color="#2a9d5c" if ends[1] >= ends[0] else "#c0392b", alpha=0.6, marker="o")
    axis.set_xticks([0, 1], ["base", "LoRA"])
    axis.set_ylabel("pass rate")
    axis.set_ylim(-0.02, 1.02)
    return _png(figure)


def histogram(values: Sequence[float], title: str, label: str, counted: str, bins: int = 10) -> bytes:
    """Draw how many of what is `counted` have which value of `label`; 0 to 1 is shown at least."""
    figure, (axis,) = _figure(1, title)
    axis.hist(values, bins=bins, range=_range(values), color="#3366cc", edgecolor="white")
    axis.set_xlabel(label)
    axis.set_ylabel(counted)
    _count_whole(axis)
    return _png(figure)


def step_rewards(metrics: Sequence[Mapping[str, float]], title: str, bins: int = 20) -> bytes:
    """Draw how many steps of a run had which mean reward, the first half of the steps beside the second."""
    rewards = [row["reward"] for row in metrics if "reward" in row]
    half = (len(rewards) + 1) // 2
    figure, (axis,) = _figure(1, title)
    axis.hist(
        [rewards[:half], rewards[half:]],
        bins=bins,
        range=_range(rewards),
        color=["#9aa5b1", "#3366cc"],
        label=["first half", "second half"],
    )
    axis.set_xlabel("mean reward of a step's answers")
    axis.set_ylabel("steps")
    _count_whole(axis)
    axis.legend()
    return _png(figure)


def _range(values: Sequence[float]) -> tuple[float, float]:
    # Reward terms may add up to more than 1 and be negative.
    return min((0.0, *values)), max((1.0, *values))


def _count_whole(axis: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.yaxis.set_major_locator(MaxNLocator(integer=True))


def trials(rows: Sequence[Mapping[str, float]], key: str, title: str) -> bytes:
    """Draw the score of each trial over one searched key; rows hold `key` and `score`."""
    figure, (axis,) = _figure(1, title)
    axis.scatter([row[key] for row in rows], [row["score"] for row in rows], color="#3366cc")
    for index, row in enumerate(rows):
        axis.annotate(f" {index}", (row[key], row["score"]))
    axis.set_xlabel(key)
    axis.set_ylabel("pass rate on the fold")
    return _png(figure)
