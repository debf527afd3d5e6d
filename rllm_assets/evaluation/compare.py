"""Evaluating a LoRA and its base on the same held-out issues, prompts and seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rllm_assets.compute import run_shares, sandboxes
from rllm_assets.config import EvaluationConfig, RLLMConfig
from rllm_assets.data.answers import answer_format
from rllm_assets.data.issues import Issue
from rllm_assets.evaluation.groups import resampled_groups
from rllm_assets.evaluation.records import (
    Difference,
    EvaluationError,
    Gate,
    IssueResult,
    PolicyName,
    PolicyScores,
    Report,
    require_adapter,
)
from rllm_assets.evaluation.statistics import bootstrap, compare, mcnemar, pass_at_k
from rllm_assets.models.found import find_model
from rllm_assets.models.loading import load_tokenizer, prompt_limit
from rllm_assets.models.policy import Policy
from rllm_assets.models.samplers import open_sampler
from rllm_assets.rewards import Scorer
from rllm_assets.rollouts import Judge, Rollout, collect, fitting
from rllm_assets.verification import Verifier


def spread(issues: Sequence[Issue], limit: int | None) -> list[Issue]:
    """Return at most `limit` issues, taken from the groups in turn so that no group is favoured."""
    if limit is None or len(issues) <= limit:
        return list(issues)
    by_group: dict[str, list[Issue]] = {}
    for issue in sorted(issues, key=lambda i: i.content_hash):
        by_group.setdefault(issue.group, []).append(issue)
    turns = max(len(group) for group in by_group.values())
    in_turn = [by_group[g][turn] for turn in range(turns) for g in sorted(by_group) if turn < len(by_group[g])]
    return sorted(in_turn[:limit], key=lambda i: i.instance_id)


def evaluate(
    config: RLLMConfig,
    issues: Sequence[Issue],
    format_name: str,
    adapters: Mapping[PolicyName, Path | None],
    progress: Callable[[int, int], None] | None = None,
    *,
    allow_unsandboxed: bool = False,
) -> list[IssueResult]:
    """Sample and judge answers of each policy to each issue; an issue whose prompt is too long has no result.

    Args:
        config: model, sampling, seeds and the number of workers.
        issues: held-out issues.
        format_name: the answer format.
        adapters: the adapter of each policy; None is the untouched base.
        progress: called with the answers so far and the answers in all.
        allow_unsandboxed: judge without a strong sandbox.

    Raises:
        EvaluationError: where there are no issues, or none whose prompt fits, or an adapter is not there.
    """
    for path in adapters.values():
        # Before the base is sampled for minutes.
        if path is not None:
            require_adapter(path)
    if not issues:
        raise EvaluationError("there are no held-out issues to evaluate on: raise splits.val_fraction or add issues")
    base = find_model(config.model.name)
    limit = prompt_limit(base, config.model)
    usable, left_out = fitting(issues, load_tokenizer(base), answer_format(format_name), limit)
    if not usable:
        raise EvaluationError(f"none of the {len(issues)} held-out issues can be asked; the first: {left_out[0]}")
    chosen = spread(usable, config.evaluation.max_issues)
    total, done = len(chosen) * len(adapters) * (config.evaluation.samples + config.evaluation.greedy), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    size = min(config.distributed.num_workers, len(chosen))
    # The seed belongs to the issue: an answer is the same however many workers share the work.
    seeded = [(issue, config.evaluation.seed * 1_000_000 + index) for index, issue in enumerate(chosen)]
    # Shares may be worked on elsewhere, on storage that all machines share.
    paths: dict[PolicyName, Path | None] = {name: path and path.absolute() for name, path in adapters.items()}
    each = sandboxes(config.distributed, size)
    shares = [_Share(config, seeded[rank::size], format_name, paths, allow_unsandboxed, each) for rank in range(size)]
    results = [result for part in run_shares(config.distributed, _evaluate_share, shares, advance) for result in part]
    groups = resampled_groups(chosen)
    results = [result.model_copy(update={"group": groups[result.instance_id]}) for result in results]
    order = {name: index for index, name in enumerate(adapters)}
    return sorted(results, key=lambda r: (order[r.policy], r.instance_id))


@dataclass(frozen=True)
class _Share:
    config: RLLMConfig
    issues: Sequence[tuple[Issue, int]]
    format_name: str
    adapters: Mapping[PolicyName, Path | None]
    allow_unsandboxed: bool
    sandboxes: int | None


def _evaluate_share(share: _Share, send: Callable[[int], None]) -> list[IssueResult]:
    config, settings = share.config, share.config.evaluation
    issues, seeds = [issue for issue, _ in share.issues], [seed for _, seed in share.issues]
    policy = Policy(config.model)
    sampler = open_sampler(policy)
    results: list[IssueResult] = []
    with Verifier(workers=share.sandboxes, allow_unsandboxed=share.allow_unsandboxed) as verifier:
        judge = Judge(
            answer_format(share.format_name), verifier, Scorer(config.rewards, for_training=False), config.agent
        )

        # The greedy answer is sampled beside the others, with which it shares its prompt and often its first tokens.
        temperatures = [settings.temperature] * settings.samples + [0.0] * settings.greedy
        for name, adapter in share.adapters.items():
            if adapter is None:
                sampler.use_base()
            else:
                policy.load_adapter(adapter)
                sampler.refresh()
            answers = collect(
                sampler,
                policy.tokenizer,
                judge,
                issues,
                samples=len(temperatures),
                temperature=temperatures,
                max_prompt_tokens=policy.prompt_limit,
                max_response_tokens=config.model.max_response_tokens,
                seeds=seeds,
                progress=send,
            )
            results += [
                _issue_result(name, issue, group[: settings.samples], group[-1] if settings.greedy else None)
                for issue, group in zip(issues, answers, strict=True)
            ]
    return results


def _issue_result(name: PolicyName, issue: Issue, answers: Sequence[Rollout], greedy: Rollout | None) -> IssueResult:
    counted = [rollout for rollout in answers if rollout.verdict.counts]
    return IssueResult(
        policy=name,
        instance_id=issue.instance_id,
        group=issue.group,
        labels=issue.labels,
        samples=len(counted),
        resolved=sum(rollout.verdict.resolved for rollout in counted),
        format_valid=sum(rollout.candidate is not None for rollout in answers),
        no_verdict=len(answers) - len(counted),
        in_process=any(rollout.verdict.in_process for rollout in answers),
        sandbox_grade=answers[0].verdict.sandbox_grade,
        tokens=sum(rollout.sample.length for rollout in answers),
        greedy_resolved=None if greedy is None else greedy.verdict.resolved,
        answer=(greedy or answers[0]).sample.text,
    )


def report(
    benchmark: str,
    results: Sequence[IssueResult],
    settings: EvaluationConfig,
) -> Report:
    """Turn the results into scores and differences.

    Issues on which a policy got no verdict at all are left out for every policy, so that all are compared on the same.

    Raises:
        EvaluationError: where no issue is left.
    """
    blind = {r.instance_id for r in results if r.samples == 0}
    by_policy: dict[PolicyName, list[IssueResult]] = {}
    for result in results:
        if result.instance_id not in blind:
            by_policy.setdefault(result.policy, []).append(result)
    if "base" not in by_policy or "lora" not in by_policy:
        raise EvaluationError("no held-out issue got a verdict for both policies: nothing can be compared")
    base, lora, warm = by_policy["base"], by_policy["lora"], by_policy.get("warm_start")
    return Report(
        benchmark=benchmark,
        issues=len(base),
        groups=len({result.group for result in base}),
        samples=settings.samples,
        temperature=settings.temperature,
        scores={name: _scores(rows, settings) for name, rows in by_policy.items()},
        lora_over_base=_difference(base, lora, settings),
        lora_over_warm_start=None if warm is None else _difference(warm, lora, settings),
        sandbox_grade=results[0].sandbox_grade,
        in_process_share=sum(r.in_process for r in results) / len(results),
    )


def gate(measured: Report, results: Sequence[IssueResult], leaks: Sequence[str], settings: EvaluationConfig) -> Gate:
    """Decide whether a checkpoint may be deployed.

    `beats_base` asks for a LoRA that resolves more held-out issues than its base at the configured level, and for clean splits;
    `loads_and_answers`, for tests and first steps, asks for an adapter that loaded and said something.
    """
    reasons: list[str] = []
    if settings.gate == "beats_base":
        difference = measured.lora_over_base
        if difference.points <= 0 or difference.p_value >= settings.alpha:
            reasons.append(
                f"the LoRA does not beat its base: {difference.points:+.1%} of pass@1, p = {difference.p_value:.3f}, "
                f"evaluation.alpha is {settings.alpha}"
            )
        reasons += [f"the splits leak: {leak}" for leak in leaks[:3]]
    if not any(result.answer.strip() for result in results if result.policy == "lora"):
        reasons.append("the LoRA answers nothing at all")
    return Gate(name=settings.gate, passed=not reasons, reasons=reasons)


def telling_issue(results: Sequence[IssueResult]) -> str:
    """Return the instance_id that shows best what training brought.

    At temperature 0 the LoRA resolves it and the base does not; among several, or where none is like that, the share of
    resolving answers rose most.
    """
    base = {result.instance_id: result for result in results if result.policy == "base"}

    def rise(result: IssueResult) -> tuple[int, float]:
        before = base[result.instance_id]
        greedy = int(bool(result.greedy_resolved)) - int(bool(before.greedy_resolved))
        return greedy, result.pass_rate - before.pass_rate

    lora = sorted((result for result in results if result.policy == "lora"), key=_by_id)
    return max(lora, key=rise).instance_id


def _rates(rows: Sequence[IssueResult]) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda r: r.instance_id):
        rates.setdefault(row.group, []).append(row.pass_rate)
    return rates


def _scores(rows: Sequence[IssueResult], settings: EvaluationConfig) -> PolicyScores:
    estimate = bootstrap(_rates(rows), settings.resamples, settings.seed)
    smallest = min(row.samples for row in rows)
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= smallest]
    answers = sum(row.samples + row.no_verdict for row in rows)
    greedy = [row.greedy_resolved for row in rows if row.greedy_resolved is not None]
    return PolicyScores(
        pass_at_1=estimate.value,
        pass_at_1_low=estimate.low,
        pass_at_1_high=estimate.high,
        pass_at_k={k: sum(pass_at_k(r.samples, r.resolved, k) for r in rows) / len(rows) for k in ks},
        greedy=sum(greedy) / len(greedy) if greedy else None,
        format_rate=sum(row.format_valid for row in rows) / answers,
        no_verdict_rate=sum(row.no_verdict for row in rows) / answers,
        tokens_per_answer=sum(row.tokens for row in rows) / answers,
    )


def _difference(base: Sequence[IssueResult], other: Sequence[IssueResult], settings: EvaluationConfig) -> Difference:
    comparison = compare(_rates(base), _rates(other), settings.resamples, settings.seed)
    pairs = list(zip(sorted(base, key=_by_id), sorted(other, key=_by_id), strict=True))
    greedy = [(b.greedy_resolved, o.greedy_resolved) for b, o in pairs]
    return Difference(
        points=comparison.difference.value,
        low=comparison.difference.low,
        high=comparison.difference.high,
        p_value=comparison.p_value,
        greedy_p_value=mcnemar([bool(b) for b, _ in greedy], [bool(o) for _, o in greedy])
        if all(b is not None and o is not None for b, o in greedy)
        else None,
    )


def _by_id(result: IssueResult) -> str:
    return result.instance_id
