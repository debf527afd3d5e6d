"""What a checkpoint was trained as, for the assets that come after it."""

import dataclasses
from pathlib import Path

from rllm_assets.config import Resolved
from rllm_assets.tracking.lineage import read_lineage

# What an adapter's weights mean nothing without: tuning and the training run's own config may have set any of them.
_OF_THE_ADAPTER = ("name", "lora_rank", "lora_alpha", "lora_targets")


def as_trained(resolved: Resolved, checkpoint: Path) -> Resolved:
    """Return a configuration with the base model and the shape of the LoRA that a checkpoint was trained with.

    Raises:
        LineageError: where the checkpoint has no readable lineage.
    """
    trained = type(resolved.config.model).model_validate(read_lineage(checkpoint).config["model"])
    merged = resolved.config.model.model_copy(update={key: getattr(trained, key) for key in _OF_THE_ADAPTER})
    return dataclasses.replace(
        resolved,
        config=resolved.config.model_copy(update={"model": merged}),
        origins={**resolved.origins, **{f"model.{key}": "lora_checkpoint" for key in _OF_THE_ADAPTER}},
    )
