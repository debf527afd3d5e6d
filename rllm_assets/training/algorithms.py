"""The algorithms, as four choices each: advantage, clipping, aggregation, filtering."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rllm_assets.config import TrainingConfig


@dataclass(frozen=True)
class Algorithm:
    """One way of policy-gradient learning.

    Attributes:
        advantage: a name of `advantages.GROUP_ADVANTAGES`, ``reinforce_pp`` over the batch, or ``gae`` with a critic.
        clip_low: the ratio is clipped at ``1 - clip_low``.
        clip_high: and at ``1 + clip_high``.
        aggregation: how token losses become one number, a name of `losses.token_weights`.
        dual_clip: where the advantage is negative, the ratio counts at most this much.
        overlong_filtering: advantage 0 for unrewarded answers that fill the window; group statistics stay as they are.
    """

    advantage: str
    clip_low: float
    clip_high: float
    aggregation: str
    overlong_filtering: bool = False
    dual_clip: float | None = None

    @property
    def critic(self) -> bool:
        """Whether a critic estimates values."""
        return self.advantage == "gae"


ALGORITHMS: Mapping[str, Algorithm] = {
    # arXiv 2402.03300
    "grpo": Algorithm("group", 0.2, 0.2, "sequence_mean"),
    # Between GRPO and rejection-sampling fine-tuning (arXiv 2504.11343): only successes teach, rare ones most.
    "grpo_positive": Algorithm("group_positive", 0.2, 0.2, "token_mean"),
    # DeepCoder's GRPO+ (together.ai/blog/deepcoder): clip-high, no KL, no entropy, overlong filtering as released, token mean
    "grpo_plus": Algorithm("group", 0.2, 0.28, "token_mean", overlong_filtering=True),
    # arXiv 2503.20783
    "dr_grpo": Algorithm("group_mean", 0.2, 0.2, "fixed_length"),
    # arXiv 2402.14740
    "rloo": Algorithm("rloo", 0.2, 0.2, "token_mean"),
    # arXiv 2501.03262
    "reinforce_pp": Algorithm("reinforce_pp", 0.2, 0.2, "token_mean"),
    # arXiv 1707.06347
    "ppo": Algorithm("gae", 0.2, 0.2, "token_mean"),
}


def algorithm_of(config: TrainingConfig) -> Algorithm:
    """Return the configured algorithm with the choices that the configuration overrides."""
    overrides = {
        name: value
        for name in ("advantage", "clip_low", "clip_high", "dual_clip", "aggregation", "overlong_filtering")
        if (value := getattr(config, name)) is not None
    }
    return replace(ALGORITHMS[config.algorithm], **overrides)
