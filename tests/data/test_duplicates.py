"""Near-duplicates: grams by hand, every pair that comparing all with all finds, and clusters."""

import random
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rllm_assets.data.duplicates import clusters, exact_key, near_duplicate_clusters, near_duplicate_pairs
from rllm_assets.data.minhash_index import WINDOW, band_rows
from rllm_assets.data.shingles import LONGEST_TEXT, ShingleStore, jaccard, shingles, shingles_of


def grams_of(text: str) -> set[tuple[str, ...]]:
    """The definition, word for word."""
    tokens = re.findall(r"\w+", text.lower())
    return {tuple(tokens[at : at + 5]) for at in range(max(1, len(tokens) - 4))} if tokens else set()


def similarity_of(one: str, other: str) -> float:
    a, b = grams_of(one), grams_of(other)
    return len(a & b) / len(a | b) if a | b else 0.0


def all_with_all(texts: list[str], threshold: float) -> set[tuple[int, int, float]]:
    return {
        (i, j, similarity_of(texts[i], texts[j]))
        for j in range(len(texts))
        for i in range(j)
        if grams_of(texts[i]) and similarity_of(texts[i], texts[j]) >= threshold
    }


# Few words, so that grams meet; some are no ASCII, change when lower-cased, or are no tokens at all.
words = st.sampled_from(["a", "B", "b", "fix_1", "Größe", "İx", "数", "1", "-", "\u2028", "\ud800", "x" * 9])
sentences = st.lists(words, max_size=14).map(" ".join)


def test_a_known_pair():
    # Grams 1-5, 2-6, 3-7, 4-8 and, with the last word changed, one other: 3 of 5 are common.
    one, other = "1 2 3 4 5 6 7 8", "1 2 3 4 5 6 7 9"
    assert list(near_duplicate_pairs([one, "0 0 0 0 0", other], 0.6)) == [(0, 2, 0.6)]
    assert list(near_duplicate_pairs([one, "0 0 0 0 0", other], 0.61)) == []


def test_seven_of_ten_is_enough():
    # 14 tokens are 10 grams; six of one text are in none of the other's.
    base = [str(n) for n in range(16)]
    texts = [" ".join(base[:12]), " ".join(base[1:13])]
    assert similarity_of(*texts) == 7 / 9
    longer = [" ".join(base[:11]), " ".join(base[:14])]
    assert similarity_of(*longer) == 0.7
    assert list(near_duplicate_pairs(longer)) == [(0, 1, 0.7)]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Fix the CRASH in foo.bar()", "fix  the crash\nin foo-bar", [(0, 1, 1.0)]),
        ("too short", "Too short!", [(0, 1, 1.0)]),
        ("too short", "too short now", []),
        ("a b c d", "a b c d e", []),
        ("", "", []),
        ("--- !!", "--- !!", []),
        ("naïve", "NAÏVE", [(0, 1, 1.0)]),
        ("snake_case", "snake case", []),
    ],
)
def test_what_counts_as_a_token(one, other, expected):
    assert list(near_duplicate_pairs([one, other])) == expected


@given(text=sentences)
def test_a_text_has_as_many_hashes_as_grams(text):
    assert len(shingles(text)) == len(grams_of(text))


@given(one=sentences, other=sentences)
def test_the_similarity_of_hashes_is_that_of_grams(one, other):
    assert jaccard(shingles(one), shingles(other)) == similarity_of(one, other)


@given(text=st.text())
def test_any_text_has_as_many_hashes_as_grams(text):
    assert len(shingles(text)) == len(grams_of(text))


@given(texts=st.lists(st.one_of(sentences, st.text())))
def test_many_texts_have_the_hashes_of_each(texts):
    grams, sizes = shingles_of(texts)
    assert sizes.tolist() == [len(shingles(text)) for text in texts]
    assert grams.tolist() == [gram for text in texts for gram in shingles(text).tolist()]


def test_a_text_longer_than_others_together_changes_none():
    texts = ["a b c d e f", " ".join(str(n) for n in range(20_000)), "", "a b", "g " * 40_000]
    grams, sizes = shingles_of(texts)
    assert np.split(grams, np.cumsum(sizes)[:-1])[3].tolist() == shingles("a b").tolist()
    assert sizes.tolist() == [len(grams_of(text)) for text in texts]


def test_hashes_do_not_change_with_the_process_or_the_length_of_the_text():
    assert shingles("one two three four five").tolist() == [17184593852760717686]
    long = " ".join(str(n) for n in range(20_000))
    assert set(shingles("17 18 19 20 21").tolist()) < set(shingles(long).tolist())
    assert len(shingles(long)) == len(grams_of(long))


def test_of_a_very_long_text_the_beginning_counts():
    text = "word " * (LONGEST_TEXT // 5)
    assert np.array_equal(shingles(text + "and more of it"), shingles(text))


@given(
    texts=st.lists(sentences, max_size=12),
    threshold=st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.75, 0.9, 1.0]),
    data=st.data(),
)
@example(texts=["a b a b a b", "b a b a b a", "a b a b a"], threshold=0.7, data=None)
def test_the_exact_index_finds_what_comparing_all_with_all_finds(texts, threshold, data):
    if data is not None and texts:
        texts = texts + data.draw(st.lists(st.sampled_from(texts), max_size=4))
    found = list(near_duplicate_pairs(iter(texts), threshold))
    assert len(found) == len(set(found))
    assert set(found) == all_with_all(texts, threshold)
    assert near_duplicate_clusters(texts, threshold) == clusters(found, len(texts))


@pytest.fixture(scope="module")
def many() -> tuple[list[str], set[tuple[int, int]]]:
    """2,000 texts of which every tenth is another one with some words changed, and the pairs at 0.7 and above."""
    rng = random.Random(0)
    vocabulary = [f"w{n}" for n in range(3000)]
    texts: list[str] = []
    for index in range(2000):
        if index % 10 == 9:
            words = texts[index - 5].split()
            for _ in range(rng.randrange(12)):
                words[rng.randrange(len(words))] = rng.choice(vocabulary)
            texts.append(" ".join(words))
        else:
            texts.append(" ".join(rng.choices(vocabulary, k=rng.randrange(60, 200))))
    planted = {(i - 5, i) for i in range(9, 2000, 10) if similarity_of(texts[i - 5], texts[i]) >= 0.7}
    return texts, planted


def test_the_exact_index_finds_all_planted_pairs(many):
    texts, planted = many
    assert 100 < len(planted) < 200
    assert {(i, j) for i, j, _ in near_duplicate_pairs(texts)} == planted


def test_minhash_finds_nearly_all_and_never_a_false_one(many):
    texts, planted = many
    found = list(near_duplicate_pairs(texts, exact_up_to=100))
    assert all(similarity == similarity_of(texts[i], texts[j]) for i, j, similarity in found)
    pairs = {(i, j) for i, j, _ in found}
    assert len(pairs) == len(found)
    assert pairs <= planted
    assert len(pairs) >= 0.99 * len(planted)


def test_many_copies_are_one_cluster_though_not_all_are_compared():
    # Each differs from all others in one of 100 words: 200 texts, 19,900 pairs.
    texts = [" ".join([*(str(n) for n in range(100)), f"x{copy}"]) for copy in range(200)]
    assert near_duplicate_clusters([*texts, "something else"], exact_up_to=10) == [0] * 200 + [200]
    pairs = list(near_duplicate_pairs(texts, exact_up_to=10))
    assert clusters(pairs, 200) == [0] * 200
    assert 200 * WINDOW / 2 < len(pairs) < 19_900
    assert sum(1 for _ in near_duplicate_pairs(texts)) == 19_900


def test_bands_fit_the_threshold():
    assert [band_rows(threshold) for threshold in (0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)] == [1, 2, 2, 4, 4, 8, 32]


@pytest.mark.parametrize("threshold", [0, -1, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match="a threshold above 0 and at most 1 is expected, not"):
        list(near_duplicate_pairs(["a"], threshold))


def test_clusters_are_named_by_their_first_text():
    assert clusters([(3, 4), (1, 3, 0.9), (5, 6)], 8) == [0, 1, 2, 1, 1, 5, 5, 7]
    assert clusters([], 0) == []


def test_stored_grams_come_back(tmp_path):
    store = ShingleStore(tmp_path)
    store.append(*shingles_of([]))
    store.append(*shingles_of(["a b", ""]))
    assert [store[n].tolist() for n in range(2)] == [shingles("a b").tolist(), []]
    store.append(*shingles_of(["1 2 3 4 5 6"]))
    assert len(store) == 3
    assert store.sizes.tolist() == [1, 0, 2]
    assert store[2].tolist() == shingles("1 2 3 4 5 6").tolist()
    assert [(len(grams), sizes.tolist()) for grams, sizes in store.batches(2)] == [(1, [1, 0]), (2, [2])]
    # Nothing is left behind, whatever becomes of the process.
    assert list(tmp_path.iterdir()) == []


def test_a_key_tells_texts_apart_by_each_character():
    keys = {exact_key("a", "b"), exact_key("ab", ""), exact_key("a", "B"), exact_key("a b"), exact_key("a", "b", "")}
    assert len(keys) == 5
    assert exact_key("a", "b") == exact_key("a", "b")
    assert len(exact_key("\ud800")) == 16
