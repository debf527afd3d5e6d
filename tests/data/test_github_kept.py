"""The source `github`: what is kept of one reading serves the next, whatever happens in between."""

import pytest

from rllm_assets.data.github.client import GitHubError, UnavailableError
from rllm_assets.data.issues import Issue
from rllm_assets.data.sources import github as source
from tests.data.fake_github import TOKEN
from tests.data.github_history import REPO, kept, read


def test_a_process_that_dies_loses_what_it_was_about(github, history, cache):
    for number in range(200, 230):
        github.pull(REPO, number, "more", merged_at=f"2024-02-06T00:00:{number - 200:02}Z", base=history["head"])
    github.fault("graphql", 401, {"message": "Bad credentials"}, after=2)
    with pytest.raises(GitHubError, match="does not accept the token"):
        read(github, history.clone)
    whole = kept(cache, "pull_requests.jsonl").read_bytes()
    assert whole.count(b"\n") == 20
    # Killed while it wrote: half a line, and a cursor that has not moved on.
    with kept(cache, "pull_requests.jsonl").open("ab") as file:
        file.write(b'{"number": 215, "title": "' + b"x" * 200_000)
    github.requests.clear()
    assert len(read(github, history.clone)[0]) == 3
    assert [request.numbers for request in github.requests if request.method == "POST"] == [[*range(215, 230)]]
    assert kept(cache, "pull_requests.jsonl").read_bytes().startswith(whole)
    assert kept(cache, "pull_requests.jsonl").read_bytes().count(b"\n") == 35


def test_what_is_kept_and_damaged_is_read_again(github, history, cache, caplog):
    expected = read(github, history.clone)
    for name, damage in (("listing.jsonl", b"{]\n"), ("pull_requests.jsonl", b"\xff\xfe\n"), ("cursor.json", b"x\n")):
        path = kept(cache, name)
        path.write_bytes(damage + path.read_bytes().split(b"\n", 1)[1])
        assert read(github, history.clone) == expected
    assert caplog.messages == [
        f"{kept(cache, 'listing.jsonl')}:1 cannot be read; the list is read anew",
        f"{kept(cache, 'cursor.json')} cannot be read, so the list is read anew: Expecting value: line 1 column 1 (char 0)",
    ]


@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 403, "headers": {"retry-after": "3600"}}])
def test_what_is_kept_serves_while_github_does_not_answer(github, history, caplog, fault):
    github.touch(REPO, 14, "2024-03-01T12:00:00Z")
    expected = read(github, history.clone)
    github.fault("", times=99, **fault)
    assert read(github, history.clone) == expected
    assert caplog.messages[-1].endswith("; going on with what is kept, which is complete up to 2024-03-01T12:00:00Z")


def test_what_is_kept_does_not_pass_for_more_than_it_is(github, history):
    """The list ends before the clone's commit: what was merged in between is not known."""
    read(github, history.clone)
    github.fault("", 502, times=99)
    with pytest.raises(UnavailableError, match="6 times; run again later"):
        read(github, history.clone)


def test_nothing_is_written_but_what_is_kept(github, history, cache, tmp_path):
    read(github, history.clone)
    directory = kept(cache, "cursor.json").parent
    assert directory.name == f"{github.address.removeprefix('http://').replace(':', '_')}__o__calc"
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        f"cache/github/{directory.name}.lock",
        *(f"cache/github/{directory.name}/{name}" for name in ("cursor.json", "listing.jsonl", "pull_requests.jsonl")),
    ]
    assert TOKEN not in "".join(path.read_text() for path in directory.rglob("*") if path.is_file())


def test_what_is_kept_can_be_read_elsewhere_without_a_network(github, history, cache, tmp_path):
    issues, _ = read(github, history.clone)
    copied = tmp_path / "elsewhere.jsonl"
    copied.write_bytes(kept(cache, "pull_requests.jsonl").read_bytes())
    github.requests.clear()
    found = list(source.read_files(copied, "bench", folder=history.clone.parent))
    again = [row for row in found if isinstance(row, Issue)]
    assert [issue.content_hash for issue in again] == [issue.content_hash for issue in issues]
    assert (again[0].source.file, again[0].source.line) == ("elsewhere.jsonl", 1)
    assert github.requests == []
