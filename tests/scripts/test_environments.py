"""The command that shows environments and frees their disk."""

import os
import time

import pytest

from rllm_assets.scripts.environments import main
from rllm_assets.verification.environments import Environment, built, in_use
from tests.wheels import wheel


@pytest.fixture
def two(tmp_path, monkeypatch) -> list[Environment]:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("RLLM_CACHE", str(tmp_path / "cache"))
    wheel(tmp_path, "coins", "x = 1\n", needs="metal")
    wheel(tmp_path, "metal", "y = 2\n")
    return [built(["coins"]), built(["metal[shiny]"])]


def test_they_are_shown_with_their_sizes(two, capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    for environment in two:
        assert f"{environment.key} │ {environment.bytes / 2**20:,.1f} MiB" in " ".join(printed.split())
    assert "2 packages" in printed
    assert "metal[shiny]" in printed
    assert f"2 environments, {sum(each.bytes for each in two) / 2**20:.1f} MiB" in printed


def test_one_is_removed_and_what_is_in_use_is_kept(two, capsys):
    with in_use(two[1]):
        assert main(["--remove", two[0].key, two[1].key]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"environment {two[1].key} is in use; it is kept",
        f"1 removed, {two[0].bytes / 2**20:.1f} MiB freed",
    ]
    assert [each.packages.exists() for each in two] == [False, True]


def test_those_that_nothing_ran_in_are_removed(two, capsys):
    ago = time.time() - 3 * 86400
    os.utime(two[0].packages.parent / "environment.json", (ago, ago))
    assert main(["--unused-for", "2"]) == 0
    assert capsys.readouterr().out == f"1 removed, {two[0].bytes / 2**20:.1f} MiB freed\n"
    assert [each.packages.exists() for each in two] == [False, True]


def test_a_key_that_is_none_is_named(two, capsys):
    assert main(["--remove", "x"]) == 2
    assert capsys.readouterr().err == "error: there is no environment x\n"
    assert all(each.packages.exists() for each in two)
