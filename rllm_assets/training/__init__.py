"""Reinforcement learning with verified rewards: advantages, losses, the trainer, tuning, distributed training."""
