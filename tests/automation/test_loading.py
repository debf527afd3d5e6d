"""Importing the package and loading the code location are quick, and bring neither torch nor ray."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
{statement}
heavy = "torch ray transformers mlflow optuna peft dagster kubernetes matplotlib kserve pandas".split()
print(",".join(sorted({{name.partition(".")[0] for name in sys.modules}} & set(heavy))))
"""


def loaded_by(statement):
    program = PROGRAM.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.strip().split(",")) - {""}


def test_importing_the_package_brings_nothing_heavy():
    assert loaded_by("import rllm_assets") == set()


def test_loading_the_code_location_brings_neither_torch_nor_ray():
    assert loaded_by("import rllm_assets.definitions") == {"dagster"}


def test_a_wrong_command_line_is_refused_before_torch_is_loaded():
    flags = ["--benchmark-id", "nope", "--output-dir", "out"]
    assert loaded_by(f"from rllm_assets.scripts import train_rllm; assert train_rllm.main({flags}) == 2") == set()


@pytest.mark.parametrize("name", ["RLLMConfig", "get_deepcoder_config", "BenchmarkIntegration", "MLIntegration"])
def test_public_names_are_there_when_asked_for(name):
    loaded_by(f"from rllm_assets import {name}; assert {name}")


def test_an_unknown_name_is_an_attribute_error():
    import rllm_assets

    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        rllm_assets.Trainer  # noqa: B018
