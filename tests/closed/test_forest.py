"""The forest as a smoother: against scikit-learn, a slow naive twin, and labels that must have no part."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from selfdistill.closed import refine_labels
from selfdistill.closed._forest import Forest, ForestFold, leaf_of_least_error
from selfdistill.closed._given import Given
from selfdistill.closed._rounds import soft_targets
from selfdistill.networks._build import build


@pytest.fixture
def table() -> tuple[torch.Tensor, Given]:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 5)).astype(np.float32)
    inputs[:, 3] = rng.integers(3, size=200)  # equal values
    given = (inputs[:, 0] + inputs[:, 3] > 1).astype(int) + (inputs[:, 1] > 1)
    return torch.from_numpy(inputs), Given(np.where(rng.random(200) < 0.2, rng.integers(3, size=200), given), 3)


def test_out_of_bag_scores_are_scikit_learn_s(table) -> None:
    inputs, given = table
    model = RandomForestClassifier(100, min_samples_leaf=5, max_depth=60, random_state=0, oob_score=True)
    model.fit(inputs.numpy(), given.codes)
    forest = Forest(inputs, given)
    found = forest.out_of_bag(forest.fill(soft_targets(given, 3, torch.float64)))
    np.testing.assert_allclose(found.numpy(), model.oob_decision_function_, atol=1e-6)


def test_scores_of_new_rows_are_scikit_learn_s(table) -> None:
    inputs, given = table
    one, two = torch.arange(0, 200, 2), torch.arange(1, 200, 2)
    model = RandomForestClassifier(100, min_samples_leaf=5, max_depth=60, random_state=0)
    model.fit(inputs[one].numpy(), given.codes[one])
    fold, targets = ForestFold(one, two, inputs, given, 5), soft_targets(given[one], 3, torch.float64)
    found = fold.predict(targets, fold.fit(targets, 0.0))
    np.testing.assert_allclose(found.numpy(), model.predict_proba(inputs[two].numpy()), atol=1e-6)


def test_rows_on_a_threshold_go_where_scikit_learn_sends_them() -> None:
    """Thresholds are half-way between float32 neighbours, where rounding could change a row's side."""
    step = np.spacing(np.float32(1))
    inputs = torch.tensor([[1 + int(i) * float(step)] for i in range(40)], dtype=torch.float32)
    given = Given((np.arange(40) // 5) % 2, 2)
    model = RandomForestClassifier(100, min_samples_leaf=5, max_depth=60, random_state=0).fit(
        inputs.numpy(), given.codes
    )
    forest, onehot = Forest(inputs, given), soft_targets(given, 2, torch.float64)
    leaves = forest.trees(inputs)
    found = forest.fill(onehot)[leaves].mean(1)
    np.testing.assert_allclose(found.numpy(), model.predict_proba(inputs.numpy()), atol=1e-6)


def test_other_targets_fill_the_same_trees(table) -> None:
    """Against a loop over rows and trees."""
    inputs, given = table
    forest = Forest(inputs, given)
    targets = torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    leaves, bags = forest.trees(inputs).numpy(), forest._bags.numpy()
    found = forest.out_of_bag(forest.fill(targets)).numpy()
    for row in (0, 17, 199):
        means = []
        for tree in np.flatnonzero(bags[:, row] == 0):
            near = leaves[:, tree] == leaves[row, tree]
            means.append(np.average(targets.numpy()[near], axis=0, weights=bags[tree, near]))
        np.testing.assert_allclose(found[row], np.mean(means, 0), atol=1e-9)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_leaves_have_the_least_out_of_bag_error(rate: float) -> None:
    """Against scikit-learn's out-of-bag probabilities; sizes are tried upwards until one is worse."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(400, 4)).astype(np.float32)
    truth = (inputs[:, 0] > 0).astype(int) + (inputs[:, 1] > 0)
    given = np.where(rng.random(400) < rate, rng.integers(3, size=400), truth)
    errors = []
    for leaf in (1, 2, 5, 10, 20):
        model = RandomForestClassifier(30, min_samples_leaf=leaf, max_depth=60, random_state=0, oob_score=True)
        model.fit(inputs, given)
        errors.append(((np.eye(3)[given] - model.oob_decision_function_) ** 2).sum(1).mean())
    worse = np.flatnonzero(np.diff(errors) >= 0)
    best = (1, 2, 5, 10, 20)[worse[0] if len(worse) else 4]
    assert leaf_of_least_error(torch.from_numpy(inputs), Given(given, 3)) == best
    assert best <= 2 if rate == 0 else best >= (5 if rate > 0.1 else 2)


def test_a_bag_is_bounded(table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfdistill.closed._forest._BAG", 50)
    inputs, given = table
    forest = Forest(inputs, given)
    assert (forest._bags.sum(1) == 50).all()
    model = RandomForestRegressor(100, max_samples=50, min_samples_leaf=5, random_state=0)
    share = np.mean([len(tree.tree_.feature) for tree in model.fit(inputs.numpy(), given.codes).estimators_])
    assert forest.trees.leaves / 100 < share


def test_the_same_on_each_call(table) -> None:
    inputs, given = table
    onehot = soft_targets(given, 3, torch.float32)
    assert torch.equal(Forest(inputs, given).fill(onehot), Forest(inputs, given).fill(onehot))


def test_weights_count_rows_and_blocks_add_up(table) -> None:
    inputs, given = table
    weights = np.random.default_rng(0).integers(0, 3, size=200).astype(float)
    weighted = Given(given.codes, 3, None, weights)
    forest, targets = Forest(inputs, weighted), soft_targets(given, 3, torch.float64)
    leaves, bags = forest.trees(inputs).numpy(), forest._bags.numpy()
    values = forest.fill(targets)
    for leaf in (0, 5, forest.trees.leaves - 1):
        row, tree = np.argwhere(leaves == leaf).T
        mass = bags[tree, row]
        expected = np.average(targets.numpy()[row], axis=0, weights=mass) if mass.sum() else 0
        np.testing.assert_allclose(values[leaf].numpy(), expected, atol=1e-9)
    sums = torch.zeros_like(values)
    for rows in (slice(0, 90), slice(90, 200)):
        forest.add(sums, targets[rows], rows)
    torch.testing.assert_close(forest.means(sums), values)
    torch.testing.assert_close(forest.out_of_bag(values, slice(50, 60)), forest.out_of_bag(values)[50:60])


def stripes(n: int = 400) -> tuple[torch.Tensor, np.ndarray]:
    """Two columns of twelve decide, each by a threshold: what trees are good at."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(n, 12)).astype(np.float32)
    return torch.from_numpy(inputs), ((inputs[:, 0] > 0.3) ^ (inputs[:, 1] > -0.2)).astype(int)


def test_a_forest_joins_the_mixture_and_comes_back() -> None:
    inputs, truth = stripes(800)
    given = np.where(np.random.default_rng(0).random(800) < 0.1, 1 - truth, truth)
    found, alone = (refine_labels(inputs, torch.from_numpy(given), 2, forest=one) for one in (None, False))
    sources = [chain[-1].source for chain in found.choice.chains]
    assert "forest" in sources
    assert sources == sorted(sources, reverse=True)
    accuracy, before = ((one.posterior.argmax(1).numpy() == truth).mean() for one in (found, alone))
    assert accuracy > before + 0.03
    machine = found.machine
    fresh, right = stripes(1000)
    again = build(machine.spec, (12,), 2, seed=0)
    again.load_state_dict(machine.state_dict())
    assert torch.equal(again(fresh), machine(fresh))
    assert float(((machine(fresh).argmax(1).numpy()) == right).mean()) > 0.9
    torch.testing.assert_close(machine(inputs).exp().sum(1), torch.ones(800))


def test_the_forest_s_part_of_the_machine_is_its_fill() -> None:
    inputs, truth = stripes(200)
    found = refine_labels(inputs, torch.from_numpy(truth), 2, rounds=1)
    last = [chain[-1].source for chain in found.choice.chains].index("forest")
    forest = Forest(inputs, Given(truth, 2), leaf_of_least_error(inputs, Given(truth, 2)))
    values = forest.fill(torch.eye(2)[torch.from_numpy(truth)])
    expected = values[forest.trees(inputs)].mean(1)
    torch.testing.assert_close(found.machine.scores(inputs)[:, last], expected)


def test_scores_moved_by_new_targets_of_some_rows_are_those_of_full_leaves(table) -> None:
    inputs, given = table
    forest, old = Forest(inputs, given), given.targets(torch.float64)
    scores, new, rows = forest.out_of_bag(forest.fill(old)), old.clone(), torch.tensor([3, 50, 199])
    new[rows] = torch.rand(3, 3, dtype=torch.float64)
    forest.move(scores, new[rows] - old[rows], rows)
    np.testing.assert_allclose(scores.numpy(), forest.out_of_bag(forest.fill(new)).numpy(), atol=1e-7)
