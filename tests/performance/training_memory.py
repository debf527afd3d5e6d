"""Memory of training: the peak of the demo's step, and whether 200 steps in a row grow.

    python -m tests.performance.training_memory [--steps 200]

The peak is of SmolLM2 with 8 issues and 8 answers of 96 tokens each; growth is measured on a tiny model, where steps are quick.
"""

import argparse
import gc
import os
import resource
import tempfile
from pathlib import Path

from rllm_assets.config import ModelConfig
from rllm_assets.sandbox.memory import resident_bytes
from rllm_assets.training.trainer import Trainer
from tests.performance.step_vs_trl import Ours
from tests.tiny import make_tiny_model
from tests.training.small_runs import RaggedVerifier, small_config, small_data

_MB = 1 << 20


def main() -> None:
    """Measure and print; end with an error where memory grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    sizes: dict[int, float] = {}

    def look(row: dict[str, float]) -> None:
        if row["step"] % 20 == 0:
            gc.collect()
            sizes[int(row["step"])] = resident_bytes(os.getpid()) / _MB
            print(f"step {row['step']:4.0f}: {sizes[int(row['step'])]:.0f} MB", flush=True)

    with tempfile.TemporaryDirectory() as directory:
        model = make_tiny_model(Path(directory) / "model")
        training = {"max_steps": options.steps, "evaluate_every": 50, "checkpoint_every": 50}
        config = small_config(model, training=training)
        Trainer(config, small_data(), Path(directory) / "run", RaggedVerifier(), look).run()
    last = max(sizes)
    growth = sizes[last] - sizes[20]
    print(f"from step 20 to step {last}: {growth:+.0f} MB")
    ours = Ours(ModelConfig())
    for _ in range(2):
        ours.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of the demo's step, Python and torch included: {peak / 1024:.1f} GiB")
    assert growth < 20, f"memory grew by {growth:.0f} MB"


if __name__ == "__main__":
    main()
