"""What soft labels hold, against loops over examples, and the lines about it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy, pearsonr
from sklearn.metrics import mutual_info_score

from selfdistill._core.distillation_record import Distillation, Knowledge
from selfdistill._core.errors import DataError
from selfdistill._core.record import RunRecord
from selfdistill.distill import class_similarity, dark_knowledge
from selfdistill.distill._measures import entropy_beyond_top, information_given_top, sentences, summary, who_teaches


def soft_labels(n=300, k=5, seed=0, scale=1.5):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed)).mul(scale).softmax(-1)


def test_entropy_is_that_of_a_coin_and_of_the_rest():
    soft = soft_labels().double()
    soft /= soft.sum(-1, keepdim=True)
    found = entropy_beyond_top(soft)
    for q, value in zip(soft.numpy(), found.tolist(), strict=True):
        top = q.max()
        rest = np.delete(q, q.argmax())
        assert value == pytest.approx((1 - top) * entropy(rest), abs=1e-7)
        assert value + entropy([top, 1 - top]) == pytest.approx(entropy(q), abs=1e-6)
    assert entropy_beyond_top(torch.eye(3)).tolist() == [0.0, 0.0, 0.0]


def test_similarity_is_the_correlation_of_off_diagonal_means():
    soft, classes = soft_labels(), torch.randint(0, 5, (300,), generator=torch.Generator().manual_seed(1))
    reference = torch.rand(5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    means = np.array([soft[classes == c].double().mean(0).numpy() for c in range(5)])
    rows = (reference / reference.sum(1, keepdim=True)).numpy()
    pairs = [(means[a, b], rows[a, b]) for a in range(5) for b in range(5) if a != b]
    assert class_similarity(soft, classes, reference) == pytest.approx(pearsonr(*zip(*pairs, strict=True))[0])


def test_similarity_has_no_value_where_one_side_is_constant_and_skips_empty_classes():
    soft, classes = soft_labels(), torch.arange(300) % 5
    assert class_similarity(soft, classes, torch.ones(5, 5)) is None
    assert class_similarity(soft, torch.zeros(300, dtype=torch.int64), torch.rand(5, 5)) is None
    assert class_similarity(soft, classes % 4, torch.rand(5, 5)) is not None
    with pytest.raises(DataError, match=r"shape \(4, 4\), but there are 5 classes"):
        class_similarity(soft, classes, torch.ones(4, 4))


def test_the_plug_in_estimate_is_scikit_learns_class_by_class():
    soft, truth = soft_labels(), torch.randint(0, 5, (300,), generator=torch.Generator().manual_seed(3))
    found, slow, bias = information_given_top(soft, truth), 0.0, 0.0
    order = soft.argsort(dim=1, descending=True)
    for a in range(5):
        rows = order[:, 0] == a
        confidence = soft[rows].amax(1)
        state = order[rows, 1] * 2 + (confidence > confidence.median())
        slow += rows.float().mean().item() * mutual_info_score(truth[rows], state)
        bias += (len(truth[rows].unique()) - 1) * (len(state.unique()) - 1) / 600
    assert found["plug_in"] == pytest.approx(slow, abs=1e-6)
    assert found["bias"] == pytest.approx(bias)
    assert found["corrected"] == pytest.approx(max(slow - bias, 0), abs=1e-6)


def test_the_bias_is_what_independence_gives():
    values, biases = [], []
    for seed in range(20):
        soft = soft_labels(2000, 4, seed)
        truth = torch.randint(0, 4, (2000,), generator=torch.Generator().manual_seed(100 + seed))
        found = information_given_top(soft, truth)
        values.append(found["plug_in"])
        biases.append(found["bias"])
    assert np.mean(values) == pytest.approx(np.mean(biases), rel=0.08)


def test_what_the_second_class_tells_is_found():
    """The truth is the second class with probability 0.3: log 3 in bits of it, by hand."""
    g = torch.Generator().manual_seed(0)
    n, k = 20_000, 3
    second = torch.randint(1, k, (n,), generator=g)
    soft = torch.zeros(n, k)
    soft[:, 0], soft[torch.arange(n), second] = 0.7, 0.3
    truth = torch.where(torch.rand(n, generator=g) < 0.3, second, torch.zeros_like(second))
    h = lambda *p: -sum(x * math.log(x) for x in p)
    exact = h(0.7, 0.15, 0.15) - h(0.7, 0.3)
    assert information_given_top(soft, truth)["corrected"] == pytest.approx(exact, abs=0.01)


def test_truth_is_used_only_where_it_is_known():
    soft, given = soft_labels(), torch.arange(300) % 5
    plain = dark_knowledge(soft, given)
    assert set(plain) == {"entropy", "beyond_top", "top", "agreement"}
    assert dark_knowledge(soft, given, truth=torch.full((300,), -1)) == plain
    truth = torch.where(torch.arange(300) < 200, soft.argmax(-1), -1)
    knowledge = dark_knowledge(soft, given, truth=truth)
    assert knowledge["accuracy"] == pytest.approx(1.0)
    known = torch.arange(200)
    confusion = torch.zeros(5, 5).index_put_((truth[known], given[known]), torch.ones(200), accumulate=True)
    assert knowledge["similarity"] == class_similarity(soft[known], truth[known], confusion)
    assert len(sentences(Knowledge(**plain))) == 2


SETTINGS = {"method": "hinton", "epochs": 6, "batch_size": 4, "seed": 0, "lr": 0.1, "momentum": 0.9, "device": "cpu"}


def record(candidates=3, earlier=0):
    rows = [
        {"epoch": e, "held_out_accuracy": 0.5, "changed_share": 0.1, "agreement": 0.6, "chosen_by": []}
        for e in range(1, candidates + 1)
    ]
    rows[-1]["chosen_by"] = ["last", "held-out"]
    right = {"last": 0.9, "best": 0.9, "best_epoch": 0}
    found = {
        "status": "running",
        "warnings": [],
        "notes": [],
        "data": {"examples": 9, "classes": ["a", "b"], "input_shape": [2], "fingerprint": "0f"},
        "settings": SETTINGS | {"network": "mlp:8"},
        "distillation": {
            "teacher": {"name": "runs/a-001", "epoch": candidates},
            "choose": "held-out",
            "candidates": rows,
            "choices": {"last": {"epoch": 3}, "air": {"not": "not asked"}},
            "objective": "hinton",
            "numbers": {"temperature": 4.0, "weight": 0.9},
            "generations": 1 + earlier,
            "earlier": [{"folder": f"generation-{g + 1}", "seed": g, "test_accuracy": right} for g in range(earlier)],
            "soft_labels": {"kind": "float16 logits", "bytes": 1200, "file": "soft"},
            "dark_knowledge": {"entropy": 1.0, "beyond_top": 0.5, "top": 0.75, "agreement": 0.6},
        },
    }
    return RunRecord.from_json(found)


def test_all_of_few_candidates_are_shown_with_who_points_to_them():
    lines = summary(record())
    assert lines[0] == "Teacher: runs/a-001 after epoch 3, chosen by held-out from 3 epochs"
    assert lines[1].split() == ["epoch", "held", "out", "changed", "agreement", "chosen", "by"]
    assert lines[4].split() == ["3", "50.0", "%", "10.0", "%", "60.0", "%", "last,", "held-out"]
    assert "  No answer: air (not asked)" in lines
    assert "  Kept as float16 logits, 1,200 bytes in soft" in lines
    assert lines[-1] == "Student: mlp:8, hinton (temperature 4, weight 0.9)"


def test_of_many_those_that_some_way_points_to():
    lines = summary(record(candidates=40))
    assert "  ... of 40 epochs, all in run.json" in lines
    assert len([line for line in lines if line.split()[:1] and line.split()[0].isdigit()]) == 1


def test_generations_and_a_single_candidate():
    lines = summary(record(candidates=1, earlier=2))
    assert lines[0] == "Teacher: runs/a-001 after epoch 1"
    assert "  generation-2: test accuracy 90.0 %" in lines
    assert lines[-1].endswith(", generation 3")
    assert who_teaches(Distillation(objective="kd", teacher={"name": "Net"})) == "Net"


def test_information_is_never_below_nothing():
    """Second class and truth are independent to the digit, so that the estimate is 0 and its bias is not."""
    soft = torch.tensor([[0.6, 0.3, 0.1], [0.6, 0.1, 0.3]]).repeat(10, 1)
    found = information_given_top(soft, torch.tensor([0, 0, 1, 1]).repeat(5))
    assert found["plug_in"] == pytest.approx(0, abs=1e-12)
    assert found["bias"] > 0
    assert found["corrected"] == 0
