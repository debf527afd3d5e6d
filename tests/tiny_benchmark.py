"""A benchmark of trivial functions, for tests of the whole graph."""

from pathlib import Path

import yaml

CONFIG = {
    "model": {"lora_rank": 2, "max_prompt_tokens": 600, "max_response_tokens": 8},
    "training": {
        "max_steps": 2,
        "batch_size": 2,
        "group_size": 2,
        "evaluate_every": 1,
        "evaluation_samples": 1,
        "warm_start": "gold",
    },
    "distributed": {"num_workers": 1},
    "trajectories": {"rollouts_per_issue": 1},
    "splits": {"val_fraction": 0.4, "folds": 2},
    "tuning": {"trials": 2, "steps": 1, "issues": 2},
    "evaluation": {"samples": 2, "resamples": 200, "gate": "loads_and_answers"},
}


NO_TUNING: dict[str, object] = {"trials": 0, "steps": None, "issues": None}


def write_benchmark(directory: Path, model: Path, name: str = "tiny", /, **config: dict) -> Path:
    """Write `directory`/`name`/benchmark.yaml with twelve functions, and return the directory of benchmarks.

    Keys of `config` are put over `CONFIG`; None takes one away.
    """
    folder = directory / name
    (folder / "issues").mkdir(parents=True, exist_ok=True)
    functions = [
        {
            "name": f"add_{n}",
            "code": f"def add_{n}(x):\n    return x + {n}\n",
            "cases": [{"args": [0], "returns": n}, {"args": [5], "returns": 5 + n}],
            "issues": [
                {
                    "number": n,
                    "opened": "2024-01-01",
                    "kind": "wrong operator",
                    "title": f"add_{n} subtracts",
                    "body": f"add_{n}(5) gives {5 - n} instead of {5 + n}.",
                    "bug": [{"was": f"x - {n}", "now": f"x + {n}"}],
                }
            ],
        }
        for n in range(1, 13)
    ]
    (folder / "issues" / "sums.yaml").write_text(yaml.safe_dump({"functions": functions}))
    merged = {
        part: {
            key: value for key, value in {**CONFIG.get(part, {}), **config.get(part, {})}.items() if value is not None
        }
        for part in {*CONFIG, *config}
    }
    merged["model"].setdefault("name", str(model))
    description = {"id": name, "source": "functions", "path": "issues", "config": merged}
    (folder / "benchmark.yaml").write_text(yaml.safe_dump(description))
    return directory
