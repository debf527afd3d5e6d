"""Old runs of agents as attempts: each finds its issue, and what it left behind is judged anew where that can be done."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from rllm_assets.data.answers import AnswerFormat, answer_format
from rllm_assets.data.benchmarks import Benchmark, BenchmarkError
from rllm_assets.data.changes import ChangeError
from rllm_assets.data.diffs import patched, read_diff
from rllm_assets.data.hashing import content_hash
from rllm_assets.data.issues import FunctionTask, Issue, Rejected
from rllm_assets.data.readers import read_trajectories
from rllm_assets.data.readers.records import ImportedTrajectory, with_resolved
from rllm_assets.data.readers.reports import ReportError, resolved_by_report
from rllm_assets.data.trajectories import Attempt, Message, VerdictSource, text_of
from rllm_assets.data.verdicts import Verdict
from rllm_assets.rollouts.collect import Candidate, Verifier, candidate_of, verified

# Runs that are judged at a time: enough to keep every sandbox busy.
_AT_A_TIME = 96


@dataclass
class Historical:
    """What came of a benchmark's old runs.

    Attributes:
        attempts: by issue, in the order in which they were read.
        left_out: the runs that are no attempts here, each with its reason.
    """

    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    left_out: list[Rejected] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many attempts there are."""
        return sum(map(len, self.attempts.values()))


def historical_attempts(
    benchmark: Benchmark,
    issues: Sequence[Issue],
    verifier: Verifier,
    *,
    held_out: Collection[str] = (),
    count_tokens: Callable[[str], int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Historical:
    """Return the attempts that the runs of `benchmark.runs` were, secrets replaced.

    A run is judged by its patch, or by its last answer where it is a chat; where it left neither, or the sandbox fails, what
    a report or the run's own file says of it is believed, and `verdict_source` says so.

    Args:
        benchmark: says where the runs lie, and how an answer is read.
        issues: the issues that an attempt may be at.
        verifier: judges.
        held_out: ids of issues whose runs are left out, unread by anything but this.
        count_tokens: of a text, for `response_tokens`; 0 without it.
        progress: called with the number of runs judged since the last call.

    Raises:
        BenchmarkError: where the reports cannot be used.
    """
    found = Historical()
    if benchmark.runs is None:
        return found
    by_id = {issue.instance_id: issue for issue in issues}
    asked = answer_format(benchmark.answer_format)
    runs = _runs(benchmark, by_id, frozenset(held_out), found.left_out)
    while batch := list(islice(runs, _AT_A_TIME)):
        for run, judged in _judged(batch, by_id, asked, verifier):
            mine = found.attempts.setdefault(run.instance_id, [])
            mine.append(_attempt(run, by_id[run.instance_id].group, len(mine), judged, count_tokens))
        if progress is not None:
            progress(len(batch))
    return found


def _runs(
    benchmark: Benchmark, issues: Mapping[str, Issue], held_out: Collection[str], left_out: list[Rejected]
) -> Iterator[ImportedTrajectory]:
    """Yield the runs that are attempts at some issues, each once."""
    assert benchmark.runs is not None
    reports = benchmark.reports_path
    try:
        said = resolved_by_report(reports) if reports is not None else {}
    except ReportError as error:
        raise BenchmarkError(f"{benchmark.id}: runs.reports: {error}") from None
    seen: set[str] = set()
    for run in with_resolved(read_trajectories(benchmark.runs_path), said):
        if isinstance(run, Rejected):
            left_out.append(run)
            continue
        key = content_hash([run.instance_id, run.messages, run.patch])
        unfit = _unfit(run, issues, held_out) or (("duplicate", "the same run came before") if key in seen else None)
        if unfit is not None:
            category, reason = unfit
            left_out.append(Rejected(file=run.file, line=run.line, category=category, reason=reason))
            continue
        seen.add(key)
        yield run


def _unfit(run: ImportedTrajectory, issues: Mapping[str, Issue], held_out: Collection[str]) -> tuple[str, str] | None:
    name = run.instance_id
    if not name:
        return "no_issue", "it does not say which issue it is about: neither a field nor the file's name does"
    if name not in issues:
        return "unknown_issue", f"{name} is no verified issue of this benchmark"
    if name in held_out:
        return "held_out", f"{name} is held out, and what was tried on it is not learned from"
    if all(step.message is None for step in run.steps):
        return "no_answer", f"{name}: no message of it is an answer"
    return None


@dataclass(frozen=True)
class _Judged:
    """What a run left, and what is known of it from whom."""

    candidate: Candidate | None
    verdict: Verdict
    source: VerdictSource


def _judged(
    runs: Sequence[ImportedTrajectory], issues: Mapping[str, Issue], asked: AnswerFormat, verifier: Verifier
) -> Iterator[tuple[ImportedTrajectory, _Judged]]:
    left = [_left(run, issues[run.instance_id], asked) for run in runs]
    there = [(issues[run.instance_id], one) for run, one in zip(runs, left, strict=True) if one is not None]
    verdicts = iter(verified(verifier, [issue for issue, _ in there], [one for _, one in there]))
    nothing = Verdict(status="no_verdict", reason="the run left neither a patch nor an answer")
    for run, candidate in zip(runs, left, strict=True):
        verdict = next(verdicts) if candidate is not None else nothing
        if verdict.counts:
            yield run, _Judged(candidate, verdict, "verifier")
        elif run.resolved is None:
            yield run, _Judged(candidate, verdict, "none")
        else:
            reason = f"as its report says; not judged here: {verdict.reason}"
            believed = Verdict(status="resolved" if run.resolved else "failed", reason=reason)
            yield run, _Judged(candidate, believed, "report")


def _left(run: ImportedTrajectory, issue: Issue, asked: AnswerFormat) -> Candidate | None:
    """Return what a run left to be judged; None for nothing that could be."""
    if run.patch:
        return _changed(issue.task, run.patch) if isinstance(issue.task, FunctionTask) else Candidate(run.patch)
    if run.format != "chat":
        return Candidate(None, "the run submitted no patch")
    found = candidate_of(asked, issue, text_of(_answers(run.messages)[-1].get("content")))
    return found if found.text is not None else None


def _changed(task: FunctionTask, patch: str) -> Candidate:
    """Return the function as a patch leaves it. Agents had its code in files of other names, and left files beside it."""
    try:
        files = [file for file in read_diff(patch) if file.old is not None]
        own = [file for file in files if file.old == f"{task.module}.py"] or files
        if len(own) != 1:
            return Candidate(None, f"the patch changes {len(own)} files, and the issue is about one")
        if own[0].new is None:
            return Candidate(None, f"the patch takes {own[0].old} away")
        code = task.buggy_code if task.buggy_code.endswith("\n") else f"{task.buggy_code}\n"
        return Candidate(patched(code, own[0]))
    except ChangeError as error:
        return Candidate(None, str(error))


def _answers(messages: Sequence[Message]) -> list[Message]:
    return [message for message in messages if message["role"] == "assistant"]


def _attempt(
    run: ImportedTrajectory, group: str, number: int, judged: _Judged, count_tokens: Callable[[str], int] | None
) -> Attempt:
    # What came before the first call, demonstrations among it, was given.
    first = min(step.message for step in run.steps if step.message is not None)
    prompt, turns = run.messages[:first], run.messages[first:]
    texts = [text_of(message.get("content")) for message in _answers(turns)]
    is_plain = turns == [{"role": "assistant", "content": texts[0]}]
    left, verdict = judged.candidate, judged.verdict
    return Attempt(
        instance_id=run.instance_id,
        group=group,
        kind="historical",
        attempt=number,
        policy=run.model,
        prompt=prompt,
        response="\n\n".join(filter(None, texts)),
        turns=[] if is_plain else turns,
        candidate=(left.text or "") if left is not None and (run.patch or not is_plain) else "",
        response_tokens=sum(map(count_tokens, texts)) if count_tokens is not None else 0,
        finished=run.termination_reason in ("env_done", ""),
        verdict=verdict,
        verdict_source=judged.source,
        origin=" ".join(filter(None, (run.format, run.version, run.file))) + (f":{run.line}" if run.line else ""),
        reward=float(verdict.resolved) if verdict.counts else None,
    )
