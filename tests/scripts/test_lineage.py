import subprocess
import sys
from pathlib import Path

import pytest

from rllm_assets.scripts.lineage import main
from tests.tracking.pipeline import ISSUES, build


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    return build(tmp_path / "storage")


def test_the_tree_is_printed_down_to_the_issues(made, capsys):
    assert main([str(made["deployed_endpoint"])]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].startswith("deployed_endpoint[pocket] ")
    assert [line.strip("│├└─ ") for line in lines if " issues: " in line] == [
        "2 issues: pocket-4  pocket-5",
        "6 issues: pocket-0  pocket-1  pocket-2  pocket-3  pocket-4  pocket-5",
        "4 issues: pocket-0  pocket-1  pocket-2  pocket-3",
    ]
    assert "base_model" in printed
    assert "(from outside)" in printed
    assert "seed 0" in printed


def test_long_lists_are_cut_where_asked(made, capsys):
    assert main([str(made["historical_issues"]), "--limit", "2"]) == 0
    assert "6 issues: pocket-0  pocket-1  … and 4 more" in capsys.readouterr().out


def test_the_lineage_file_itself_will_do(made, capsys):
    assert main([str(made["lora_checkpoint"] / "lineage.json")]) == 0
    assert capsys.readouterr().out.startswith("lora_checkpoint[pocket] ")


def test_an_issue_that_went_in_is_a_yes(made, capsys):
    assert main([str(made["lora_checkpoint"]), "--issue", "pocket-0"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"yes: pocket-0 ({ISSUES['pocket-0'][:12]}) went into ")
    assert second.strip().startswith("train_split[pocket] ")


def test_an_issue_that_was_held_out_is_a_no_with_its_place(made, capsys):
    assert main([str(made["lora_checkpoint"]), "--issue", "pocket-5"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("no: pocket-5 did not go into ")
    assert second.strip().startswith("it is in historical_issues[pocket] ")


def test_an_unknown_issue_is_a_no(made, capsys):
    assert main([str(made["lora_checkpoint"]), "--issue", "nothing"]) == 1
    assert capsys.readouterr().out.startswith("no: nothing did not go into ")


def test_verification_says_that_all_is_well(made, capsys):
    assert main([str(made["deployed_endpoint"]), "--verify"]) == 0
    assert capsys.readouterr().out == "every file that is here is as it was written\n"


def test_verification_names_what_has_changed(made, capsys):
    path = made["lora_checkpoint"] / "adapter_config.json"
    path.write_text("{ }")
    assert main([str(made["deployed_endpoint"]), "--verify"]) == 1
    assert capsys.readouterr().out == f"changed: {path}: the file was changed after it was written\n1 broken\n"


@pytest.mark.parametrize("option", [[], ["--verify"], ["--issue", "pocket-0"]])
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, option):
    assert main([str(tmp_path / "absent"), *option]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"error: {tmp_path}/absent does not exist; give an artefact that an asset wrote, or its lineage.json\n"
    )


def test_it_runs_as_a_module_and_imports_nothing_heavy(made):
    code = (
        "import sys, runpy; sys.argv = ['lineage', sys.argv[1]];"
        "\ntry: runpy.run_module('rllm_assets.scripts.lineage', run_name='__main__')"
        "\nexcept SystemExit as end: assert end.code == 0, end.code"
        "\nassert not {'mlflow', 'torch', 'dagster', 'pandas'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(made["lora_checkpoint"])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("lora_checkpoint[pocket] ")
