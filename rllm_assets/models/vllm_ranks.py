"""The ranks of LoRAs that vLLM has kernels for."""

# vLLM 0.26, vllm/config/lora.py: MaxLoRARanks.
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def rank_for(rank: int) -> int | None:
    """Return the smallest rank that vLLM can be set up for and that holds a LoRA of `rank`; None beyond the largest."""
    return next((allowed for allowed in VLLM_RANKS if allowed >= rank), None)
