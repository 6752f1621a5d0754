"""Whether findings can be trusted, from a run or from predictions out of sample."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.data._read import read
from selfdistill.issues import find_issues, label_table
from selfdistill.issues._reliability import Evidence, applicability, count_is_open, judge, out_of_sample_trust
from selfdistill.issues._toneva2019forgetting import LearningDynamics
from selfdistill.train._fit import fit

CASES = json.loads((Path(__file__).parent / "reliability_cases.json").read_text())
DIGITS = [str(i) for i in range(10)]
GOOD = Evidence(4, 0.30, 0.35, 0.62, 0.97, (0.9, 0.8), (0.9, 0.7))


def saved(case):
    return Evidence(**{k: tuple(v) if isinstance(v, list) else v for k, v in case["evidence"].items()})


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_saved_runs_on_digits_are_judged_rightly(case):
    light = judge(saved(case), DIGITS)
    assert light.verdict == case["right"]
    if case["case"] == "two classes past one half":
        assert light.classes == (3, 4)  # 70 % of the threes are called 5, of the fours 9
        assert light.sentences[0].startswith("Trust this, except for 3, 4: ")


def test_no_case_is_judged_without_its_own_evidence():
    clean, random = (next(c for c in CASES if c["case"] == name) for name in ("clean", "random labels"))
    assert judge(saved(clean | {"evidence": random["evidence"]}), DIGITS).verdict == "refuse"
    assert {case["right"] for case in CASES} == {"trust", "except", "refuse"}


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 9))
@settings(max_examples=30)
def test_evidence_equals_its_definition(seed, k, epochs):
    g = torch.Generator().manual_seed(seed)
    n = 12
    labels = torch.randint(0, k, (n,), generator=g)
    dynamics = LearningDynamics(labels)
    shares = torch.rand(epochs, generator=g).tolist()
    for _ in range(epochs):
        mean = torch.rand(n, k, generator=g)
        dynamics.update(mean, torch.ones(n, dtype=torch.bool))
    distribution = torch.rand(n, k, generator=g) + 0.01
    distribution /= distribution.sum(1, keepdim=True)
    table = label_table(distribution, dynamics)
    found = applicability(table, dynamics, shares, DIGITS[:k]).evidence
    assert found.early_epoch == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 3, 7: 3}.get(epochs, 4)
    assert found.doubted_early == shares[found.early_epoch - 1]
    refined = distribution.argmax(1)
    assert found.doubted_last == pytest.approx(sum(int(refined[i] != labels[i]) for i in range(n)) / n)
    for c in range(k):
        mine = [i for i in range(n) if labels[i] == c]
        if not mine:
            assert (found.kept[c], found.predicted[c]) == (1.0, 1.0)
            continue
        assert found.kept[c] == pytest.approx(sum(int(refined[i] == c) for i in mine) / len(mine))
        assert found.predicted[c] == pytest.approx(sum(int(mean[i].argmax() == c) for i in mine) / len(mine))


@pytest.mark.parametrize(
    ("change", "verdict", "message"),
    [
        ({}, "trust", "after 4 epochs the network doubted 30.0 % of the labels, at the end 35.0 %"),
        ({"doubted_early": 0.524}, "trust", "So it did not memorise wrong labels"),
        ({"doubted_early": 0.526}, "refuse", "Early doubts vanished: the network memorised these labels"),
        ({"confidence": 0.901}, "trust", "Trust this: "),
        ({"confidence": 0.899}, "refuse", "by its own estimate, 89.9 % of the refined labels are right"),
        ({"predicted": (0.9, 0.601)}, "trust", "Trust this: "),
        ({"predicted": (0.9, 0.599)}, "except", "Trust this, except for dog: "),
        ({"doubted_last": 0.004, "doubted_early": 0.0}, "trust", "Trust this: "),
        ({"doubted_last": 0.004, "doubted_early": 0.0, "agreement": 0.985}, "trust", "labels made by rules"),
        ({"doubted_last": 0.006, "doubted_early": 0.0, "agreement": 0.985}, "trust", "Trust this: "),
    ],
)
def test_the_rules_at_their_edges(change, verdict, message):
    light = judge(replace(GOOD, **change), ["cat", "dog"])
    assert light.verdict == verdict
    assert message in " ".join(light.sentences)
    assert (light.classes == (1,)) == (verdict == "except")


def test_two_reasons_are_both_given():
    (sentence,) = judge(replace(GOOD, doubted_early=0.8, confidence=0.5), ["cat", "dog"]).sentences
    assert sentence.startswith("Do not trust this: after 4 epochs")
    assert " Also, by its own estimate, 50.0 %" in sentence


def test_nothing_doubted_is_no_proof():
    none = judge(replace(GOOD, doubted_early=0.0, doubted_last=0.0, agreement=0.985), ["cat", "dog"])
    few = judge(replace(GOOD, doubted_early=0.0, doubted_last=0.005, agreement=0.985), ["cat", "dog"])
    assert none.sentences[0].endswith("agrees with 98.5 % of them in training and doubts none.")
    assert few.sentences[0].endswith("and doubts almost none.")


def test_many_and_long_names_stay_short():
    k = 40
    e = Evidence(4, 0.3, 0.3, 0.3, 0.99, (1.0,) * k, (0.0,) * k)
    light = judge(e, ["x" * 99] * k)
    assert len(light.classes) == k
    assert len(light.sentences[0]) < 500
    assert "... (40 in all)" in light.sentences[0]


def test_it_becomes_json_with_class_names():
    light = judge(replace(GOOD, predicted=(0.9, 0.1)), ["cat", "dog"])
    stored = json.loads(json.dumps(light.as_dict(["cat", "dog"])))
    assert stored["verdict"] == "except"
    assert stored["classes"] == ["dog"]
    assert stored["evidence"]["kept"] == [0.9, 0.8]


def test_a_real_run_on_shuffled_labels_is_refused_and_on_right_ones_is_not():
    from selfdistill import train

    digits = read("digits")
    order = torch.from_numpy(np.random.default_rng(5).permutation(len(digits))[:250])
    verdicts = []
    for labels in (digits.labels[order], digits.labels[order].flip(0)):
        part = replace(digits, inputs=digits.inputs[order], labels=labels, ids=digits.ids[order.numpy()])
        fitted = fit(part, train.Settings(network="mlp:32", epochs=12).resolve(len(part), "cpu"))
        table = label_table(fitted.targets.refined(), fitted.dynamics)
        doubted = [epoch["refined_share"] for epoch in fitted.curves]
        verdicts.append(applicability(table, fitted.dynamics, doubted, digits.classes).verdict)
    assert verdicts == ["trust", "refuse"]


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


@pytest.mark.parametrize(("right", "verdict"), [(59, "refuse"), (60, "trust")])
def test_two_standard_errors_above_the_largest_class_are_enough(right, verdict):
    given = np.arange(100) % 2  # the largest class has a half, and a standard error is 5 of 100
    predicted = np.where(np.arange(100) < right, given, 1 - given)
    assert out_of_sample_trust(find_issues(given, sure(given, 2)), sure(predicted, 2), NAMES[:2]).verdict == verdict


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


@pytest.mark.parametrize(
    ("expected", "low", "high", "n", "is_open"),
    [
        (0, 0, 11.4, 120, True),
        (0, 0, 1.9, 120, False),
        (12, 6.6, 21.2, 120, False),
        (12, 0, 20, 120, True),
        (5.1, 5.1, 18.9, 120, True),
        (30, 19.7, 41, 300, False),
        (0, 0, 15, 1000, False),
        (0, 0, 25, 1000, True),
    ],
)
def test_a_count_is_open_where_none_or_twice_as_many_would_fit(expected, low, high, n, is_open):
    assert count_is_open(expected, (low, high), n) is is_open
    assert not count_is_open(expected, None, n)


def test_where_the_count_is_open_the_ranking_is_to_be_trusted():
    given = np.arange(120) % 3
    found = find_issues(given, sure(given, p=0.999))
    light = out_of_sample_trust(found, sure(given, p=0.999), NAMES, (0.0, 11.4))
    assert light.verdict == "trust"
    assert light.sentences[0].startswith("Trust the ranking, not the count: ")
    assert "0 to 11 wrong labels explain about as well. Look at the 11 labels of least" in light.sentences[0]


@pytest.mark.parametrize(("p", "named"), [(0.6, True), (0.95, False)])
def test_overlapping_classes_are_named(p, named):
    given = np.arange(300) % 3
    prior = sure(given)
    for a, b in ((0, 1), (1, 0)):
        prior[given == a] = np.eye(3)[a] * p + np.eye(3)[b] * (1 - p)
    light = judged(given, prior, sure(given))
    assert any("These classes overlap: cat and dog" in text for text in light.sentences) is named
