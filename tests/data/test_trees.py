"""Trees in one block of bytes, with changes on top: they read as any other mapping of path to text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllm_assets.data.changes import applied
from rllm_assets.data.trees import ChangedTree, StoredTree, as_block

DATA = b"head one\nhead \xff\x00two"
PLACES = {"a.py": (5, 4), "b/logo.png": (14, 5), "empty": (0, 0)}
TEXTS = {"a.py": "one\n", "b/logo.png": "\udcff\0two", "empty": ""}


def laid_out(tree) -> dict[str, bytes]:
    """What a sandbox writes of a tree."""
    parts, places = as_block(tree)
    block = b"".join(parts)
    return {path: block[start : start + size] for path, (start, size) in places.items()}


def test_a_stored_tree_is_a_mapping_of_texts():
    tree = StoredTree(DATA, PLACES)
    assert dict(tree) == TEXTS
    assert (len(tree), "a.py" in tree, "c.py" in tree, tree.get("c.py")) == (3, True, False, None)


def test_changes_lie_on_top_and_copy_nothing():
    stored = StoredTree(DATA, PLACES)
    once = applied(stored, {"a.py": None, "new.py": "1\n"})
    twice = applied(once, {"a.py": "back\n", "empty": None})
    assert isinstance(twice, ChangedTree)
    assert twice.stored is stored
    assert dict(once) == {"b/logo.png": TEXTS["b/logo.png"], "empty": "", "new.py": "1\n"}
    assert dict(twice) == {"b/logo.png": TEXTS["b/logo.png"], "a.py": "back\n", "new.py": "1\n"}
    assert (len(twice), "empty" in twice, "a.py" in once) == (3, False, False)
    with pytest.raises(KeyError, match=r"a\.py"):
        once["a.py"]
    assert applied(stored, {}) is stored


changes = st.lists(st.dictionaries(st.sampled_from([*PLACES, "new.py"]), st.none() | st.text()), max_size=3)


@given(changes)
def test_it_is_as_if_the_texts_had_been_changed_one_after_the_other(steps):
    plain, stored = dict(TEXTS), StoredTree(DATA, PLACES)
    for step in steps:
        plain, stored = applied(plain, step), applied(stored, step)
    assert dict(stored) == plain
    assert len(stored) == len(plain)
    expected = {path: text.encode(errors="surrogateescape") for path, text in plain.items()}
    assert laid_out(stored) == laid_out(plain) == expected
