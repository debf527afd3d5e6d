"""The reference in docs/ is the one that the code writes."""

from pathlib import Path

from rllm_assets.scripts.describe_config import reference

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == reference()
