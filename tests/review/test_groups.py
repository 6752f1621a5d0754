"""Groups of doubtful examples."""

from collections import Counter

import numpy as np

from selfdistill.review._groups import Clusters, cluster, common_words, pairs


def test_pairs_are_counted_as_a_counter_does():
    given, suggested = np.random.default_rng(0).integers(4, size=(2, 200))
    found = pairs(given, suggested)
    expected = Counter(zip(given.tolist(), suggested.tolist(), strict=True))
    assert {(one["given"], one["suggested"]): one["count"] for one in found} == expected
    assert [one["count"] for one in found] == sorted(expected.values(), reverse=True)
    assert pairs(given[:0], suggested[:0]) == []


def test_equal_and_near_rows_lie_together():
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(5, 8))
    truth = np.repeat(np.arange(5), 10)
    found = cluster(centres[truth] + 0.01 * rng.normal(size=(50, 8)))
    assert len(set(zip(truth.tolist(), found.tolist(), strict=True))) == 5
    assert len(set(found.tolist())) == 5
    twins = rng.normal(size=(100, 8))[np.arange(200) % 100]
    found = cluster(twins)
    assert (found[:100] == found[100:]).all()
    assert len(set(found.tolist())) > 1


def test_few_or_equal_rows_are_one_cluster():
    assert cluster(np.ones((100, 3))).tolist() == [0] * 100
    assert cluster(np.random.default_rng(0).normal(size=(19, 3))).tolist() == [0] * 19


def test_names_are_the_commonest_pair_and_the_words_that_set_a_cluster_apart():
    texts = ["a cat purrs", "a cat sleeps", "the cat", "a dog barks", "the dog"]
    of = np.array([0, 0, 0, 1, 1])
    words = common_words(texts, of)
    assert [one[0] for one in words] == ["cat", "dog"]
    given, suggested = np.array([0, 0, 1, 2, 2]), np.array([1, 1, 2, 2, 0])
    listed = Clusters(of, words).listed(np.arange(5), given, suggested)
    assert [(one["cluster"], one["given"], one["suggested"], one["count"]) for one in listed] == [
        (0, 0, 1, 3),
        (1, 2, 0, 2),
    ]
    assert [one["cluster"] for one in Clusters(of, words).listed(np.array([4]), given[4:], suggested[4:])] == [1]
    assert common_words(["", "1 2"], np.array([0, 1])) == [[], []]
