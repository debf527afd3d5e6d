"""The examples of docs/benchmarks.md and of the README: each loads, and each kind of source has one."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rllm_assets.data.benchmarks import read_benchmark
from rllm_assets.data.issues import Issue
from rllm_assets.data.sources import SOURCES, check_options, functions
from tests.data.repositories import calculator

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/benchmarks.md")
CLONES = "/srv/clones"


def blocks(page: str) -> list[str]:
    """The YAML of a page, block by block."""
    return re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


EXAMPLES = [text for page in PAGES for text in blocks(page) if "source:" in text]


def laid_out(directory: Path, text: str) -> Path:
    """Write an example and what it refers to; return its file."""
    clones = directory / "clones"
    content: dict[str, Any] = yaml.safe_load(text)
    home = directory / "benchmarks" / content["id"]
    home.mkdir(parents=True)
    path = content.get("path", "")
    if path.startswith(CLONES):
        calculator(clones / Path(path).name)
        # A clone of ours, whose branch is called otherwise.
        text = text.replace("revision: master", "revision: main")
    elif "." in path:
        (home / path).write_text("{}\n")
    elif path:
        (home / path).mkdir()
        (home / path / "rows.jsonl").write_text("{}\n")
    if "runs" in content:
        (home / content["runs"]["path"]).mkdir()
    for member in content.get("options", {}).get("members", ()):
        other = home.parent / member
        other.mkdir()
        (other / "rows.jsonl").write_text("{}\n")
        (other / "benchmark.yaml").write_text(f"{{id: {member}, source: humaneval_fix, path: rows.jsonl}}\n")
    (home / "benchmark.yaml").write_text(text.replace(CLONES, str(clones)))
    return home / "benchmark.yaml"


@pytest.mark.parametrize("text", EXAMPLES, ids=[yaml.safe_load(text)["id"] for text in EXAMPLES])
def test_an_example_loads(tmp_path, text):
    benchmark = read_benchmark(laid_out(tmp_path, text))
    check_options(benchmark)
    assert benchmark.content_hash()


def test_every_source_has_an_example():
    assert {yaml.safe_load(text)["source"] for text in EXAMPLES} == set(SOURCES)


def test_what_stands_behind_a_comment_mark_loads_too(tmp_path):
    """Options that an example mentions as a comment."""
    (text,) = (text for text in EXAMPLES if "# source_builds" in text)
    read = read_benchmark(laid_out(tmp_path, text.replace("# source_builds", "source_builds")))
    check_options(read)
    assert read.options["install"]["source_builds"] is True


def test_the_example_of_a_function_is_one(tmp_path):
    (text,) = (text for text in blocks("docs/benchmarks.md") if text.startswith("functions:"))
    (tmp_path / "numbers.yaml").write_text(text)
    (issue,) = functions.read(tmp_path, "ours")
    assert isinstance(issue, Issue)
    assert issue.instance_id == "ours-17"
