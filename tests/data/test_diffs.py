"""Unified diffs against `git apply` itself."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllm_assets.data.changes import ChangeError, applied, check_path
from rllm_assets.data.diffs import apply_diff, written_diff
from rllm_assets.data.issues import unified_diff

TREE = {"pkg/a.py": "one\ntwo\nthree\nfour\nfive\nsix\nseven\n", "b.txt": "no end", "empty.txt": ""}


def change(path: str, before: str, after: str) -> str:
    return unified_diff(before, after, path)


def refused(diff: str, tree=TREE) -> str:
    with pytest.raises(ChangeError) as error:
        apply_diff(tree, diff)
    return str(error.value)


def test_a_change_is_applied():
    diff = change("pkg/a.py", TREE["pkg/a.py"], TREE["pkg/a.py"].replace("four", "4"))
    assert apply_diff(TREE, diff) == {"pkg/a.py": TREE["pkg/a.py"].replace("four", "4")}


def test_prose_and_git_headers_around_it_are_left_aside():
    diff = change("pkg/a.py", TREE["pkg/a.py"], TREE["pkg/a.py"].replace("four", "4"))
    text = f"Here is the fix.\n\ndiff --git a/pkg/a.py b/pkg/a.py\nindex 1234567..89abcde 100644\n{diff}\nDone.\n"
    assert apply_diff(TREE, text) == {"pkg/a.py": TREE["pkg/a.py"].replace("four", "4")}


def test_new_deleted_renamed_and_copied_files():
    diff = (
        "diff --git a/new.py b/new.py\nnew file mode 100644\n--- /dev/null\n+++ b/new.py\n@@ -0,0 +1,2 @@\n+x\n+y\n"
        "diff --git a/b.txt b/b.txt\ndeleted file mode 100644\n--- a/b.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-no end\n"
        "\\ No newline at end of file\n"
        "diff --git a/pkg/a.py b/pkg/c.py\nsimilarity index 90%\nrename from pkg/a.py\nrename to pkg/c.py\n"
        "--- a/pkg/a.py\n+++ b/pkg/c.py\n@@ -1,4 +1,4 @@\n-one\n+1\n two\n three\n four\n"
    )
    moved = TREE["pkg/a.py"].replace("one", "1")
    assert apply_diff(TREE, diff) == {"new.py": "x\ny\n", "b.txt": None, "pkg/a.py": None, "pkg/c.py": moved}
    assert applied(TREE, apply_diff(TREE, diff)) == {"new.py": "x\ny\n", "pkg/c.py": moved, "empty.txt": ""}
    assert apply_diff(TREE, "diff --git a/b.txt b/d.txt\nsimilarity index 100%\ncopy from b.txt\ncopy to d.txt\n") == {
        "d.txt": "no end"
    }


def test_an_end_without_line_feed_is_kept_or_made():
    assert apply_diff(TREE, change("b.txt", "no end", "an end\n")) == {"b.txt": "an end\n"}
    assert apply_diff(TREE, change("b.txt", "no end", "still none")) == {"b.txt": "still none"}


def test_an_offset_is_found_and_blank_context_may_lack_its_blank():
    tree = {"a": "0\n" * 9 + "one\n\ntwo\n"}
    assert apply_diff(tree, "--- a/a\n+++ b/a\n@@ -2,3 +2,3 @@\n one\n\n-two\n+2\n") == {"a": "0\n" * 9 + "one\n\n2\n"}


@pytest.mark.parametrize(
    ("diff", "message"),
    [
        ("", "there is no change in the diff"),
        ("nothing of the kind", "there is no change in the diff"),
        ("--- a/nowhere\n+++ b/nowhere\n@@ -1 +1 @@\n-a\n+b\n", "nowhere: no such file"),
        ("--- a/pkg/a.py\n+++ b/pkg/a.py\n", "line 2: no hunk follows the names of pkg/a.py"),
        (
            f"--- a/pkg/a.py\n+++ b/pkg/a.py\n@@ -{'9' * 5000} +1 @@\n-one\n+1\n",
            "line 2: no hunk follows the names of pkg/a.py",
        ),
        (
            "--- a/pkg/a.py\n+++ b/pkg/a.py\n@@ -1,3 +1,3 @@\n one\n-2\n+zwei\n three\n",
            "pkg/a.py: hunk 1 of 1 does not fit: line 2 should be '2', it is 'two'",
        ),
        (
            "--- a/pkg/a.py\n+++ b/pkg/a.py\n@@ -1,4 +1,4 @@\n one\n-two\n+2\n",
            "line 7: the hunk of line 3 ends early; its header says 2 more lines of the old file and 2 of the new",
        ),
        (
            "--- a/pkg/a.py\n+++ b/pkg/a.py\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n three\n",
            "line 7: the hunk of line 3 has more lines than its header says",
        ),
        ("@@ -1 +1 @@\n-a\n+b\n", "line 1: a hunk without the names of its file above it"),
        ("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n", "'../x' is no path inside the repository"),
        (
            "--- a//etc/passwd\n+++ b//etc/passwd\n@@ -1 +1 @@\n-a\n+b\n",
            "'/etc/passwd' is no path inside the repository",
        ),
        ("--- a/.git/config\n+++ b/.git/config\n@@ -1 +1 @@\n-a\n+b\n", "'.git/config' lies in .git"),
        ("--- x.py\n+++ x.py\n@@ -1 +1 @@\n-a\n+b\n", "line 1: 'x.py' lacks the prefix a/ or b/"),
        (
            "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc/passwd\n",
            "new file mode 120000: only regular files can be changed, no links and no submodules",
        ),
        (
            "diff --git a/b.png b/b.png\nindex 1..2 100644\nBinary files a/b.png and b/b.png differ\n",
            "line 3: a binary change; only text can be changed",
        ),
        (
            "--- /dev/null\n+++ b/b.txt\n@@ -0,0 +1 @@\n+x\n",
            "b.txt: exists already",
        ),
        (
            "--- a/b.txt\n+++ /dev/null\n@@ -1 +1 @@\n-no end\n\\ No newline at end of file\n+x\n",
            "b.txt: the diff deletes the file but not all of its lines",
        ),
    ],
)
def test_what_does_not_apply_says_why(diff, message):
    assert refused(diff) == message


def test_several_places_beside_the_stated_one_are_ambiguous():
    tree = {"a": "x\n1\ny\n1\nz\n1\nw\n"}
    diff = "--- a/a\n+++ b/a\n@@ -3,1 +3,1 @@\n-1\n+2\n"
    hunk = "--- a/a\n+++ b/a\n@@ -9,2 +9,2 @@\n-1\n+2\n z\n"
    assert apply_diff(tree, hunk) == {"a": "x\n1\ny\n2\nz\n1\nw\n"}
    assert "does not fit" in refused(diff, tree)
    twice = {"a": "1\nz\n1\nz\nend\n"}
    assert refused("--- a/a\n+++ b/a\n@@ -9,2 +9,2 @@\n-1\n+2\n z\n", twice) == (
        "a: hunk 1 of 1 is ambiguous: its lines stand at 1, 3, and not at line 9 as it says"
    )


@pytest.mark.parametrize("path", ["", "/a", "a/../b", "..", "a\0b", ".git/x", "a/.GIT/x", "a/.git. /x"])
def test_paths_stay_inside(path):
    with pytest.raises(ChangeError):
        check_path(path)


lines = st.lists(st.sampled_from(["a", "b", "c", "", "  d"]), max_size=14)
ends = st.booleans()


def text_of(parts: list[str], end: bool) -> str:
    return "\n".join(parts) + ("\n" if parts and end else "")


@settings(max_examples=60, deadline=None)
@given(before=lines, after=lines, ends_before=ends, ends_after=ends, shift=lines)
def test_what_git_applies_comes_out_the_same(tmp_path_factory, before, after, ends_before, ends_after, shift):
    """Where both apply a diff, to the file that it was made for or to one with other lines above, they agree."""
    old, new = text_of(before, ends_before), text_of(after, ends_after)
    # To git, a last line without its end is the beginning of any line, and it would join the two.
    if old == new or not old or not new or (shift and not (ends_before and ends_after)):
        return
    diff = unified_diff(old, new, "f")
    target = text_of(shift, True) + old
    directory: Path = tmp_path_factory.mktemp("git")
    (directory / "f").write_bytes(target.encode())
    done = subprocess.run(["git", "apply", "-"], input=diff.encode(), cwd=directory, capture_output=True, check=False)
    theirs = (directory / "f").read_bytes().decode() if done.returncode == 0 else "refused"
    try:
        ours = apply_diff({"f": target}, diff)["f"]
    except ChangeError as error:
        ours = theirs if "ambiguous" in str(error) else "refused"
    assert ours == theirs


names = st.sampled_from(["a.py", "pkg/b.py", "c d.txt"])
texts = st.one_of(st.none(), st.lists(st.sampled_from(["x", "", "y\x0c", "\tz"]), max_size=6).map("\n".join))


@given(before=st.dictionaries(names, texts), after=st.dictionaries(names, texts))
def test_written_diffs_are_read_back(before, after):
    tree = {path: text for path, text in before.items() if text is not None}
    changes = {path: text for path, text in after.items() if text != tree.get(path)}
    diff = written_diff(tree, changes)
    assert (apply_diff(tree, diff) if diff else {}) == changes
