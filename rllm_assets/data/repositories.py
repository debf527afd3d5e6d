"""Repositories as issues give them: the tree that one was opened against, and its own changes to tests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rllm_assets.data import clones
from rllm_assets.data.changes import ChangeError, Changes, Tree, applied
from rllm_assets.data.diffs import apply_diff
from rllm_assets.data.issues import Issue, RepositoryTask
from rllm_assets.data.projects import ProjectError, metadata_files
from rllm_assets.data.search_replace import apply_blocks


class TaskError(ValueError):
    """An issue cannot be judged, whatever the candidate; the message says why."""


@dataclass(frozen=True)
class Repository:
    """What an issue gives to judge by: the tree it was opened against, its own changes to tests, and what stands for its
    installation.
    """

    tree: Tree
    tests: Changes
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_changes(tree: Tree, candidate: str) -> Changes:
    """Return the changes that a candidate makes: SEARCH/REPLACE blocks where it has any, else a unified diff.

    Raises:
        ChangeError: where they cannot be read or do not fit.
    """
    if any(line.startswith("<<<<<<< SEARCH") for line in candidate.splitlines()):
        return apply_blocks(tree, candidate)
    return apply_diff(tree, candidate)


def repository_of(issue: Issue) -> Repository:
    """Return what an issue gives to judge by.

    Raises:
        TaskError: where its tree is not here, its changes to tests do not fit, or a required test's file is in neither.
    """
    task = issue.task
    assert isinstance(task, RepositoryTask)
    files = _files(issue, task)
    tree = applied(files, _own_changes(issue, "bug_patch", task.bug_patch, files))
    tests = _own_changes(issue, "test_patch", issue.test_patch, tree)
    whole = applied(tree, tests)
    for file in files_of_tests((*issue.FAIL_TO_PASS, *issue.PASS_TO_PASS)):
        if whole.get(file) is None:
            raise TaskError(f"{issue.instance_id}: {file}, which holds required tests, is not in the tree")
    try:
        return Repository(tree, tests, metadata_files(tree))
    except ProjectError as error:
        raise TaskError(f"{issue.instance_id}: {error}") from None


def _files(issue: Issue, task: RepositoryTask) -> Mapping[str, str]:
    if task.files is not None:
        return task.files
    if not issue.source.repository:
        raise TaskError(f"{issue.instance_id} has no files to apply changes to: no clone of {issue.repo} is known")
    try:
        return clones.tree(Path(issue.source.repository), issue.base_commit)
    except clones.CloneError as error:
        raise TaskError(f"{issue.instance_id}: {error}") from None


def _own_changes(issue: Issue, name: str, diff: str, tree: Tree) -> Changes:
    try:
        return apply_diff(tree, diff) if diff.strip() else {}
    except ChangeError as error:
        raise TaskError(f"{issue.instance_id}: its {name} does not apply: {error}") from None


def files_of_tests(tests: Iterable[str]) -> list[str]:
    """Return the files of tests by their ids, each once."""
    return list(dict.fromkeys(test.partition("::")[0] for test in tests))
