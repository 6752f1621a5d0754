"""The light of findings that rest on predictions out of sample."""

from __future__ import annotations

import numpy as np
import pytest

from selfdistill.issues import find_issues, out_of_sample_trust

NAMES = ["cat", "dog", "cow"]


def judged(given, prior, posterior=None):
    return out_of_sample_trust(find_issues(given, prior if posterior is None else posterior), prior, NAMES)


def sure(classes, k=3, p=0.95):
    rows = np.full((len(classes), k), (1 - p) / (k - 1))
    rows[np.arange(len(classes)), classes] = p
    return rows


def test_good_predictions_are_trusted():
    given = np.arange(300) % 3
    light = judged(given, sure(given, p=0.999))
    assert light.verdict == "trust"
    assert light.sentences[0].startswith("Trust this: each label was judged by a model that has not seen it. It agrees")
    assert "cannot be seen in this way" in light.sentences[1]


def test_predictions_no_better_than_the_largest_class_are_refused():
    rng = np.random.default_rng(0)
    given = rng.choice(3, p=[0.6, 0.2, 0.2], size=300)
    light = judged(given, sure(np.zeros(300, int)))
    assert light.verdict == "refuse"
    assert "These inputs do not tell these labels" in light.sentences[0]


def test_a_thousand_classes_of_two_examples_are_too_few():
    given = np.repeat(np.arange(50), 2)
    light = out_of_sample_trust(find_issues(given, sure(given, 50)), sure(given, 50), [str(i) for i in range(50)])
    assert light.verdict == "refuse"
    assert "there are 100 examples of 50 classes, too few" in light.sentences[0]


def test_a_class_that_loses_most_of_its_labels_is_excepted():
    given = np.arange(300) % 3
    truth = np.where((given == 1) & (np.arange(300) < 200), 2, given)
    light = judged(given, sure(truth))
    assert light.verdict == "except"
    assert light.classes == (1,)
    assert "except for dog" in light.sentences[0]


@pytest.mark.parametrize(("p", "named"), [(0.6, True), (0.95, False)])
def test_overlapping_classes_are_named(p, named):
    given = np.arange(300) % 3
    prior = sure(given)
    for a, b in ((0, 1), (1, 0)):
        prior[given == a] = np.eye(3)[a] * p + np.eye(3)[b] * (1 - p)
    light = judged(given, prior, sure(given))
    assert any("These classes overlap: cat and dog" in text for text in light.sentences) is named
