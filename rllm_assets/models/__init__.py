"""The policy (frozen base, LoRA, critic) and the sampler made from it."""
