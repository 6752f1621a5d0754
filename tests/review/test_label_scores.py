"""What is known of the examples: from the table, and from decisions."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_finished
from selfdistill.closed import refine_labels
from selfdistill.closed._given import Given
from selfdistill.closed._prepare import ClosedOptions, prepare
from selfdistill.closed._settle import settle
from selfdistill.issues import find_issues
from selfdistill.review import _label_scores
from selfdistill.review._label_scores import LastLayer, Learner, _likeliest, _suggested, read_saved, why_fixed
from selfdistill.runs._label_table import _suggested as table_suggests
from selfdistill.runs._label_table import soft_blocks
from selfdistill.runs._model_file import load_model
from selfdistill.runs._run import fit
from selfdistill.runs._subject import read_again


@pytest.mark.parametrize("k", [2, 9, 10, 40])
def test_the_likeliest_classes_are_those_of_a_sort(k):
    soft = np.random.default_rng(k).dirichlet(np.ones(k), 50).astype(np.float32)
    likely, shares = _likeliest([soft[:30], soft[30:]])
    expected = np.argsort(-soft, 1)[:, :9]
    np.testing.assert_array_equal(likely, expected)
    np.testing.assert_array_equal(shares, np.take_along_axis(soft, expected, 1))


def test_suggested_is_what_the_table_of_a_run_suggests_where_the_given_label_is_doubted_but_likeliest():
    rng = np.random.default_rng(0)
    soft, given = rng.dirichlet(np.ones(5), 400).astype(np.float32), rng.integers(5, size=400)
    table = find_issues(given, soft, quality=rng.random(400))
    assert (table.is_issue & (table.refined == given)).sum() > 3
    likely, _ = _likeliest([soft])
    np.testing.assert_array_equal(_suggested(likely, given, table.is_issue), table_suggests(table))


def test_what_a_run_found_is_what_its_table_says(texts):
    record = read_finished(texts)
    saved, now = read_saved(texts, record)
    assert now.learned is None
    np.testing.assert_allclose(now.wrong, 1 - now.quality)
    assert saved.flagged.sum() == pytest.approx(now.wrong.sum(), abs=10)


def test_one_pass_comes_near_a_fit_from_the_start_with_the_labels_held(texts):
    record, truth = read_finished(texts), np.load(texts.parent / "truth.npy")
    data = read_again(texts, record)
    decided = np.where(np.arange(120) % 3 == 0, truth, -1)
    found = Learner(texts, record, read_saved(texts, record)[1]).learn(decided, 7)
    assert found.learned == 7
    again = refine_labels(data.inputs, data.labels, 4, settled=decided, standardise=not data.preprocess.scaled)
    rest = decided < 0
    agreed = (again.posterior.argmax(1).numpy() == found.likely[:, 0])[rest].mean()
    assert agreed > 0.95  # kernel, ridges and rounds may be others
    assert (found.likely[~rest, 0] == truth[~rest]).all()


def test_of_many_examples_links_are_fitted_again_after_twenty_decisions_and_when_asked(texts, monkeypatch):
    monkeypatch.setattr(_label_scores, "_FEW", 100)
    truth = np.load(texts.parent / "truth.npy")
    record = read_finished(texts)
    first = read_saved(texts, record)[1]
    learner = Learner(texts, record, first)
    asked, plain = [], learner._settler.settle
    learner._settler.settle = lambda decided, links: asked.append(links) or plain(decided, links=links)
    decided = np.full(120, -1)
    for count in (0, 1, 12, 20, 21, 22):
        decided = np.where(np.arange(120) < count, truth, -1)
        found = learner.learn(decided, count)
    assert asked == [True, False, False, True, False, False]
    assert learner.quick == 2
    again = learner.learn(decided, 22, anew=True)
    assert learner.quick == 0
    assert not np.array_equal(again.quality, found.quality)
    monkeypatch.setattr(_label_scores, "_FEW", 120)
    learner.learn(np.where(np.arange(120) < 21, truth, -1), 23)
    assert asked[-2:] == [True, True]
    np.testing.assert_array_equal(again.quality, Learner(texts, record, first).learn(decided, 22).quality)


def test_votes_of_several_annotators_are_learned_from(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=90)
    frame = pd.DataFrame(2 * np.eye(3)[truth] + rng.normal(size=(90, 3))).add_prefix("x")
    for name, rate in (("ann", 0.2), ("bob", 0.4), ("eve", 0.6)):
        frame[name] = np.array(["ant", "bee", "cat"])[np.where(rng.random(90) < rate, rng.integers(3, size=90), truth)]
    frame.to_csv(tmp_path / "votes.csv", index=False)
    run = tmp_path / "run"
    fit(tmp_path / "votes.csv", out=run, annotator=("ann", "bob", "eve"), say=None)
    record = read_finished(run)
    assert why_fixed(record) == ""
    saved, first = read_saved(run, record)
    learner = Learner(run, record, first)
    np.testing.assert_allclose(learner.learn(np.full(90, -1), 0).quality, first.quality, atol=2e-3)
    decided = np.where(np.arange(90) < 30, truth, -1)
    found = learner.learn(decided, 1)
    assert (found.likely[:30, 0] == truth[:30]).all()
    open_right = (found.likely[30:, 0] == truth[30:]).mean()
    assert open_right >= (saved.given[30:] == truth[30:]).mean()


def test_why_the_order_is_fixed(texts):
    def why(method, read, examples=10_000):
        data = SimpleNamespace(read=read, examples=examples)
        return why_fixed(SimpleNamespace(settings=SimpleNamespace(method=method), data=data))

    assert why_fixed(read_finished(texts)) == ""
    assert why("selfdistill", ReadOptions()) == ""
    assert "more than 10,000 examples only runs of the closed form" in why("selfdistill", ReadOptions(), 10_001)
    assert why("kernel", ReadOptions(), 10_001) == ""
    assert "in memory" in why("kernel", None)


def test_what_a_last_layer_sees_is_what_a_network_without_it_gives_and_its_clusters_are_those_of_k_means(network):
    from sklearn.cluster import KMeans

    record, rows = read_finished(network), np.array([70, 3, 3, *range(20, 60)])
    inputs, bare = read_again(network, record).inputs, load_model(network / "model.safetensors").network
    bare.classifier = torch.nn.Identity()
    expected = np.stack([bare(inputs[row][None])[0].numpy() for row in rows])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    layer = LastLayer(network, record)
    np.testing.assert_allclose(layer.features(rows), expected, atol=1e-6)
    found = layer.clusters(rows)
    again = KMeans(4, n_init=1, random_state=0).fit(expected)

    def within(groups):
        parts = [expected[groups == group] for group in np.unique(groups)]
        return sum(((part - part.mean(0)) ** 2).sum() for part in parts)

    assert found[1] == found[2]
    assert len(set(found)) == 4
    assert within(found) < 1.3 * again.inertia_ < 0.5 * within(np.zeros(len(rows)))


def test_after_a_network_s_run_log_odds_of_the_closed_form_are_added(network, few_trees):
    record, truth = read_finished(network), np.load(network.parent / "truth.npy")
    saved, first = read_saved(network, record)
    data, decided = read_again(network, record), np.where(np.arange(80) % 2 == 0, truth, -1)
    made = prepare(data.inputs, Given(saved.given, 4), ClosedOptions(standardise=not data.preprocess.scaled))
    found, closed = Learner(network, record, first).learn(decided, 2), settle(made, decided)
    one, other = (np.clip(np.asarray(q, float), 1e-4, 1 - 1e-4) for q in (first.quality, closed.quality))
    np.testing.assert_allclose(found.quality, one * other / (one * other + (1 - one) * (1 - other)), atol=2e-3)
    np.testing.assert_allclose(found.wrong, (first.wrong + 1 - closed.quality) / 2, atol=2e-3)
    soft = (next(iter(soft_blocks(network, saved.classes))) + closed.posterior.numpy()) / 2
    open_ = decided < 0
    np.testing.assert_allclose(found.shares[open_], -np.sort(-soft[open_], axis=1), atol=2e-3)
    assert (found.likely[~open_, 0] == truth[~open_]).all()
    assert (found.shares[~open_, 0] == 1).all()
