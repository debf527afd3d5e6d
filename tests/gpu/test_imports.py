"""What runs on an accelerator needs few packages."""

import subprocess
import sys
from pathlib import Path

# The project's other dependencies, by the names that they are imported by.
ABSENT = [
    "dagster", "dagster_webserver", "dagster_mlflow", "dagster_k8s", "dagster_ray", "ray", "optuna", "kubernetes", "kserve",
    "pyarrow", "re2", "mlflow", "matplotlib", "rensa", "bitsandbytes", "trl", "datasets", "scipy", "hypothesis", "gguf",
]  # fmt: skip

PROGRAM = """
import sys
# As if they were not installed.
sys.modules.update(dict.fromkeys(sys.argv[1:]))
import tests.conftest
import tests.gpu.test_models
import tests.gpu.step
"""


def test_torch_transformers_peft_pydantic_and_pandas_are_enough():
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *ABSENT], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
