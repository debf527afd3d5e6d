"""Small training runs: a tiny model, issues whose rewards differ from answer to answer, and a judge without a sandbox."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from safetensors.torch import load_file
from torch import Tensor

from rllm_assets.config import RLLMConfig
from rllm_assets.data.issues import Case, FunctionTask, Issue, Source
from rllm_assets.data.trajectories import Attempt
from rllm_assets.data.verdicts import Verdict
from rllm_assets.rewards.terms import Judged
from rllm_assets.training.records import TrainingData, TrainingResult

T = TypeVar("T")

# What depends on the clock.
TIMED = ("seconds", "_per_second")


def issue(number: int) -> Issue:
    """An issue; some are longer than others, and each fourth is of the same function."""
    code = f"def f{number % 4}(x):\n    return x - {number}\n"
    task = FunctionTask(
        module="m.py",
        entry_point=f"f{number % 4}",
        buggy_code=code,
        fixed_code=code.replace("-", "+"),
        cases=(Case(args=[1], returns=1 + number),),
    )
    return Issue(
        instance_id=f"issue-{number:02d}",
        repo="tiny",
        problem_statement=f"Wrong sign {'again and ' * (number % 3)}in number {number}.",
        task=task,
        source=Source(benchmark="tiny", kind="test", file="none"),
    )


def small_data(train: int = 7, fold: int = 3) -> TrainingData:
    return TrainingData([issue(n) for n in range(train)], [issue(n) for n in range(train, train + fold)])


def small_config(model: Path, **changes: dict[str, Any]) -> RLLMConfig:
    parts: dict[str, dict[str, Any]] = {
        "model": {
            "name": str(model),
            "dtype": "float32",
            "sampler_dtype": "float32",
            "lora_rank": 4,
            "max_response_tokens": 12,
            "max_prompt_tokens": 512,
        },
        "training": {
            "max_steps": 3,
            "batch_size": 5,
            "group_size": 4,
            "learning_rate": 1e-3,
            "evaluate_every": 2,
            "checkpoint_every": 1,
        },
        "rewards": {"terms": {"tests.training.small_runs:variety": 1.0}, "no_verdict_alarm": 0.9},
    }
    for part, values in changes.items():
        parts[part] = {**parts.get(part, {}), **values}
    return RLLMConfig.model_validate(parts)


def variety(judged: Judged) -> float:
    """How many different characters an answer has: something that random answers differ in."""
    return len(set(judged.response)) / 10


class RaggedVerifier:
    """Says nothing about some answers of some issues, so that groups are of different sizes; it depends on the issue alone."""

    allow_unsandboxed = True

    def __enter__(self) -> "RaggedVerifier":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def verify_many(self, jobs: Sequence[tuple[Issue, str | None]]) -> list[Verdict]:
        seen: dict[str, int] = {}
        verdicts: list[Verdict] = []
        for issue, _ in jobs:
            task = issue.task
            assert isinstance(task, FunctionTask)
            # An issue may come twice in a batch.
            turn = seen[task.buggy_code] = (seen.get(task.buggy_code, -1) + 1) % 4
            silent = (len(task.buggy_code) + int(task.entry_point[1:])) % 3 > turn
            verdicts.append(Verdict(status="no_verdict" if silent else ("resolved" if turn == 3 else "failed")))
        return verdicts


class FoldVerifier(RaggedVerifier):
    """Of the six answers to the three issues of `small_data`'s fold, so many are right in each evaluation."""

    def __init__(self, right: Sequence[int]) -> None:
        self._right = iter(right)

    def verify_many(self, jobs: Sequence[tuple[Issue, str | None]]) -> list[Verdict]:
        if int(jobs[0][0].instance_id[-2:]) < 7:
            return super().verify_many(jobs)
        right = next(self._right)
        return [Verdict(status="resolved" if place < right else "failed") for place in range(len(jobs))]


class Threads:
    """Workers in threads of one process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._barrier = threading.Barrier(size, timeout=300)
        self._parts: list[Any] = [None] * size

    def member(self, rank: int) -> "Member":
        return Member(self, rank)

    def exchange(self, rank: int, part: T) -> list[T]:
        self._parts[rank] = part
        self._barrier.wait()
        parts = list(self._parts)
        self._barrier.wait()
        return parts

    def run(self, work: Callable[[int], T]) -> list[T]:
        """Return what each rank's work returns; the first error ends all of them."""
        results: list[Any] = [None] * self.size
        errors: list[BaseException] = []

        def run(rank: int) -> None:
            try:
                results[rank] = work(rank)
            except BaseException as error:  # noqa: BLE001
                errors.append(error)
                self._barrier.abort()

        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results


class Member:
    def __init__(self, threads: Threads, rank: int) -> None:
        self._threads = threads
        self.rank = rank
        self.size = threads.size

    def gather(self, part: T) -> list[T]:
        return self._threads.exchange(self.rank, part)

    def sum(self, tensors: list[Tensor]) -> None:
        parts = self._threads.exchange(self.rank, [tensor.clone() for tensor in tensors])
        for index, tensor in enumerate(tensors):
            tensor.copy_(sum(part[index] for part in parts))


def attempts(issues: Sequence[Issue]) -> list[Attempt]:
    """Two right answers of the base to each issue."""
    return [
        Attempt(
            instance_id=one.instance_id,
            group=one.group,
            kind="rollout",
            attempt=turn,
            prompt=[],
            response=f"answer {turn} to {one.instance_id}",
            response_tokens=8,
            finished=True,
            verdict=Verdict(status="resolved"),
            reward=1.0,
        )
        for one in issues
        for turn in range(2)
    ]


def untimed(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if not any(part in name for part in TIMED)}


def assert_same(one: TrainingResult, other: TrainingResult, tolerance: float = 1e-5) -> None:
    assert len(one.metrics) == len(other.metrics)
    for row, theirs in zip(one.metrics, other.metrics, strict=True):
        assert untimed(row) == pytest.approx(untimed(theirs), abs=tolerance, rel=tolerance)
        # Sampled tokens: exactly.
        assert row.get("response_tokens") == theirs.get("response_tokens")
        assert row.get("trained_tokens") == theirs.get("trained_tokens")
    adapter, theirs = (load_file(r.adapter / "adapter_model.safetensors") for r in (one, other))
    assert adapter.keys() == theirs.keys()
    for name, tensor in adapter.items():
        assert tensor.flatten().tolist() == pytest.approx(theirs[name].flatten().tolist(), abs=tolerance), name
    assert one.best_step == other.best_step
