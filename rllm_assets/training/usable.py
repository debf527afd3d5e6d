"""Which of the data a run can learn from, and what is known of it."""

from transformers import PreTrainedTokenizerBase

from rllm_assets.data.issues import Issue
from rllm_assets.rollouts import fitting
from rllm_assets.training.records import TrainingData, TrainingError


def usable(
    data: TrainingData, tokenizer: PreTrainedTokenizerBase, *, max_prompt_tokens: int, allow_in_process: bool
) -> tuple[TrainingData, list[str]]:
    """Leave out what cannot be asked or must not be trained on; return the rest, and what there is to say.

    Raises:
        TrainingError: where no training issue is left.
    """
    warnings: list[str] = []
    kept: list[list[Issue]] = []
    for issues in (data.train, data.fold):
        fits, dropped = fitting(issues, tokenizer, data.answer_format, max_prompt_tokens)
        if not allow_in_process:
            dropped += [
                f"{issue.instance_id} is judged in process, by tests that a candidate could forge "
                "(rewards.allow_in_process trains on such)"
                for issue in fits
                if issue.is_judged_in_process
            ]
            fits = [issue for issue in fits if not issue.is_judged_in_process]
        kept.append(fits)
        warnings += dropped
    train, fold = kept
    if not train:
        reason = f"; the first: {warnings[0]}" if warnings else ""
        raise TrainingError(f"there is no training issue to learn from{reason}")
    if warnings:
        warnings = [f"{len(warnings)} issues were left out: {warnings[0]}"]
    if not fold:
        warnings.append("the fold is empty: the last step's checkpoint is the result, and nothing stops training early")
    return TrainingData(train, fold, data.attempts, data.format_name), warnings


def solved_before(data: TrainingData) -> dict[str, list[bool]]:
    """Return, for each issue that the base has answered, which of its rollouts resolved it."""
    tries: dict[str, list[bool]] = {}
    for attempt in data.attempts:
        if attempt.kind == "rollout" and attempt.verdict.counts:
            tries.setdefault(attempt.instance_id, []).append(attempt.verdict.resolved)
    return tries
