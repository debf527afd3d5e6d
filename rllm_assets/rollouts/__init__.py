"""Asking a policy to fix issues and judging what it answers."""

from rllm_assets.rollouts.collect import (
    Judge,
    PromptTooLongError,
    Rollout,
    Verifier,
    collect,
    fitting,
    prompt_tokens,
    to_attempt,
)

__all__ = ["Judge", "PromptTooLongError", "Rollout", "Verifier", "collect", "fitting", "prompt_tokens", "to_attempt"]
