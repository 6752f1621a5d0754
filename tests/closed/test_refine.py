"""The whole: what it finds, what it leaves, and the inputs that usually break such code."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from selfdistill._core.errors import DataError, ResourceError, SettingError
from selfdistill.closed import refine_labels
from selfdistill.closed._landmarks import Landmarks
from selfdistill.closed._prepare import _check_memory
from selfdistill.closed._refine import ClosedForm
from selfdistill.closed._spectrum import Spectrum
from selfdistill.networks._build import build
from selfdistill.networks._kernel_machine import KERNELS

pytestmark = pytest.mark.usefixtures("few_trees")


def refine(inputs: torch.Tensor, given: np.ndarray, k: int, **more) -> ClosedForm:
    return refine_labels(inputs, torch.from_numpy(given), k, **more)


def check(found: ClosedForm, n: int, k: int) -> None:
    assert found.posterior.shape == found.prior.shape == (n, k)
    assert found.posterior.dtype == found.prior.dtype == torch.float32
    for one in (found.posterior, found.prior, torch.from_numpy(found.noise_matrix)):
        assert torch.isfinite(one).all()
        assert float(one.min()) >= 0
        torch.testing.assert_close(one.sum(1), torch.ones_like(one[:, 0]), rtol=0, atol=1e-5)
    assert found.quality.shape == (n,)
    assert ((found.quality >= 0) & (found.quality <= 1)).all()
    assert sum(found.choice.weights) == pytest.approx(1)


@pytest.mark.parametrize("pairs", [False, True], ids=["even", "pairs"])
def test_finds_wrong_labels(blobs, pairs: bool) -> None:
    inputs, truth, given = blobs(1200, 4, 0.35, pairs=pairs, d=5)
    found = refine(inputs, given, 4)
    check(found, 1200, 4)
    wrong = given != truth
    assert (found.posterior.argmax(1).numpy() == truth).mean() > 0.93
    assert roc_auc_score(wrong, -found.quality) > 0.97
    each = np.arange(1200)
    assert 1200 - float(found.posterior[each, given].sum()) == pytest.approx(wrong.sum(), rel=0.12)
    assert found.noise_matrix.diagonal().mean() == pytest.approx(0.65, abs=0.08)


def test_true_labels_stay(blobs) -> None:
    inputs, truth, given = blobs(600, 3, 0.0)
    found = refine(inputs, given, 3)
    assert (found.posterior.argmax(1).numpy() == truth).mean() > 0.995
    assert found.noise_matrix.diagonal().min() > 0.9


def test_new_rows_are_classified(blobs) -> None:
    inputs, truth, given = blobs(1500, 4, 0.4, d=5, apart=2.0)
    found = refine(inputs[:700], given[:700], 4)
    probabilities = found.machine(inputs[700:]).exp()
    assert (probabilities.argmax(1).numpy() == truth[700:]).mean() > 0.93
    torch.testing.assert_close(probabilities.sum(1), torch.ones(800))


def test_two_calls_are_equal_bit_for_bit(blobs) -> None:
    inputs, _, given = blobs(300, 3, 0.2)
    one, two = (refine(inputs, given, 3) for _ in range(2))
    assert torch.equal(one.posterior, two.posterior)
    assert torch.equal(one.prior, two.prior)
    np.testing.assert_array_equal(one.quality, two.quality)
    for a, b in zip(one.machine.state_dict().values(), two.machine.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_callers_tensors_and_random_state_are_left_alone(blobs) -> None:
    inputs, _, given = blobs(200, 3, 0.2)
    before, labels, state = inputs.clone(), torch.from_numpy(given), torch.get_rng_state()
    refine_labels(inputs, labels, 3)
    assert torch.equal(inputs, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("landmarks", [None, 50])
def test_machine_on_training_rows_is_the_ridge(blobs, kernel: str, landmarks: int | None) -> None:
    inputs, _, given = blobs(200, 3, 0.2)
    asked = {"kernel": kernel, "landmarks": landmarks, "rounds": 1, "forest": False}
    found = refine(inputs, given, 3, dtype=torch.float64, **asked)
    machine = found.machine
    features = Landmarks(kernel, machine.landmarks.double())
    rows = machine.rows(inputs).double()
    spectrum = Spectrum(lambda part: features(rows[part]), 200)
    onehot = torch.eye(3, dtype=torch.float64)[torch.from_numpy(given)]
    for part, chain in enumerate(found.choice.chains):
        weights, offset = spectrum.coefficients(spectrum.solve(*spectrum.learn(onehot), chain[0].ridge))
        torch.testing.assert_close(
            machine.scores(inputs)[:, part].double(), features(rows) @ weights + offset, rtol=0, atol=2e-3
        )


def test_machine_gives_the_mixture_and_comes_back(blobs) -> None:
    inputs, _, given = blobs(400, 3, 0.3, pairs=True)
    found = refine(inputs, given, 3)
    machine = found.machine
    assert machine.kernel == found.kernel
    assert len(machine.weights) == len(found.choice.chains)
    again = build(machine.spec, (6,), 3, seed=0)
    again.load_state_dict(machine.state_dict())
    assert torch.equal(again(inputs), machine(inputs))
    near = (machine(inputs).exp() - found.prior).abs()
    assert float(near.mean()) < 0.1  # the label of a row has a part in the one and none in the other


def test_no_forest_where_there_are_many_columns_few_rows_or_many_classes(blobs) -> None:
    for n, d, k in ((40, 3, 2), (120, 301, 2), (200, 3, 51)):
        given = np.arange(n) % k
        found = refine(torch.randn(n, d, generator=torch.Generator().manual_seed(0)), given, k)
        assert {one.source for one in found.choice.tried} == {"kernel"}


@pytest.mark.parametrize(("columns", "landmarks"), [(40, 20), (41, 40)])
def test_rows_wider_than_the_landmarks_get_more_of_them(monkeypatch, columns: int, landmarks: int) -> None:
    monkeypatch.setattr("selfdistill.closed._prepare._EXACT", 20)
    monkeypatch.setattr("selfdistill.closed._prepare._WIDE_LANDMARKS", 40)
    inputs = torch.randn(100, columns, generator=torch.Generator().manual_seed(0))
    found = refine(inputs, (inputs[:, 0] > 0).long().numpy(), 2, kernel="rbf", rounds=1, forest=False)
    assert len(found.machine.landmarks) == landmarks


def test_landmarks_in_part_come_near_all(blobs) -> None:
    inputs, _, given = blobs(600, 3, 0.3)
    exact = refine(inputs, given, 3, kernel="rbf", rounds=1)
    part = refine(inputs, given, 3, kernel="rbf", rounds=1, landmarks=300)
    assert float((exact.prior - part.prior).abs().mean()) < 0.03


def test_streaming_equals_kept(blobs, monkeypatch) -> None:
    inputs, _, given = blobs(400, 3, 0.3)
    kept = refine(inputs, given, 3, landmarks=60)
    monkeypatch.setattr("selfdistill.closed._prepare._KEPT_BYTES", 1000)
    monkeypatch.setattr("selfdistill.closed._prepare._BLOCK", 60 * 33)
    monkeypatch.setattr("selfdistill.closed._prepare._CHOICE_ROWS", 399)
    stream = refine(inputs, given, 3, landmarks=60)
    # Rounds and leaves are chosen without one of the rows, so that others may be.
    assert float((stream.posterior - kept.posterior).abs().mean()) < 0.02
    assert float((stream.posterior.argmax(1) == kept.posterior.argmax(1)).float().mean()) > 0.97
    assert len(stream.choice.best.losses) == 399


def test_rounds_chosen_on_some_rows(blobs, monkeypatch) -> None:
    inputs, truth, given = blobs(1300, 3, 0.3, apart=2.0)
    monkeypatch.setattr("selfdistill.closed._prepare._CHOICE_ROWS", 500)
    found = refine(inputs, given, 3, landmarks=200)
    check(found, 1300, 3)
    assert (found.posterior.argmax(1).numpy() == truth).mean() > 0.9


def test_energies(blobs) -> None:
    inputs, _, given = blobs(300, 3, 0.4)
    found = refine(inputs, given, 3)
    for energy in (found.given_energy, found.refined_energy):
        assert len(energy) == len(found.eigenvalues)
        assert 0.5 < float(energy.sum()) < 1.001
    assert float(found.refined_energy[:5].sum()) > float(found.given_energy[:5].sum())
    assert (found.eigenvalues.diff() <= 0).all()


def test_steps_are_told(blobs) -> None:
    inputs, _, given = blobs(120, 2, 0.2)
    messages: list[str] = []
    refine(inputs, given, 2, tell=messages.append)
    assert messages[0] == "choosing the kernel"
    assert any(one.startswith("kernel, round 1, even noise, confusion none: 0.") for one in messages)


@pytest.mark.parametrize("standardise", [True, False])
def test_constant_columns_change_nothing(blobs, standardise: bool) -> None:
    inputs, _, given = blobs(200, 3, 0.2)
    more = torch.cat([inputs, torch.full((200, 2), 7.0), torch.zeros(200, 1)], 1)
    found = refine(more, given, 3, standardise=standardise)
    check(found, 200, 3)
    if standardise:
        torch.testing.assert_close(found.posterior, refine(inputs, given, 3).posterior, rtol=0, atol=1e-3)
        moved = torch.cat([inputs, torch.full((200, 3), -40.0)], 1)  # new rows may differ there
        torch.testing.assert_close(found.machine(moved), found.machine(more))


def test_some_rows_zero(blobs) -> None:
    inputs, _, given = blobs(200, 3, 0.2)
    inputs[:50] = 0
    for standardise in (True, False):
        check(refine(inputs, given, 3, standardise=standardise), 200, 3)


def test_equal_rows_with_conflicting_labels(blobs) -> None:
    inputs, truth, _ = blobs(100, 3, 0.0)
    given = np.concatenate([truth, truth, (truth + 1) % 3])
    found = refine(inputs.repeat(3, 1), given, 3)
    check(found, 300, 3)
    assert found.quality[:200].mean() > found.quality[200:].mean() + 0.3


def test_two_points_only() -> None:
    inputs = torch.tensor([[0.0], [1.0]]).repeat(20, 1)
    check(refine(inputs, np.arange(40) % 2, 2), 40, 2)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_handful_of_rows(n: int) -> None:
    check(refine(torch.arange(2.0 * n).view(n, 2), np.arange(n) % 2, 2), n, 2)


def test_two_classes(blobs) -> None:
    inputs, truth, given = blobs(500, 2, 0.2)
    found = refine(inputs, given, 2)
    check(found, 500, 2)
    assert (found.posterior.argmax(1).numpy() == truth).mean() > 0.95


def test_many_classes_of_few_rows(blobs) -> None:
    inputs, truth, given = blobs(300, 60, 0.2, d=20)
    found = refine(inputs, given, 60)
    check(found, 300, 60)
    assert roc_auc_score(given != truth, -found.quality) > 0.8


def test_classes_of_one_to_five_rows(blobs) -> None:
    inputs, truth, _ = blobs(200, 3, 0.0)
    rare = torch.cat(
        [torch.randn(size, 6, generator=torch.Generator().manual_seed(size)) + 9 * size for size in (1, 2, 3, 4, 5)]
    )
    given = np.concatenate([truth, np.repeat(np.arange(3, 8), [1, 2, 3, 4, 5])])
    check(refine(torch.cat([inputs, rare]), given, 8), 215, 8)


def test_a_class_without_rows(blobs) -> None:
    inputs, _, given = blobs(150, 3, 0.2)
    found = refine(inputs, given, 5)
    check(found, 150, 5)
    assert float(found.posterior[:, 3:].sum()) < 0.05 * 150


def test_one_of_a_hundred(blobs) -> None:
    inputs, truth, _ = blobs(2000, 2, 0.0, apart=4.0)
    keep = np.flatnonzero((truth == 0) | (np.cumsum(truth == 1) <= 10) & (truth == 1))
    found = refine(inputs[keep], truth[keep], 2)
    check(found, len(keep), 2)
    assert (found.posterior.argmax(1).numpy() == truth[keep]).mean() > 0.98


def test_images_are_flattened_and_halves_are_read(blobs) -> None:
    inputs, _, given = blobs(150, 3, 0.2)
    flat = refine(inputs, given, 3)
    assert torch.equal(refine(inputs.view(150, 1, 2, 3), given, 3).posterior, flat.posterior)
    check(refine(inputs.half(), given, 3), 150, 3)


BAD = [
    (lambda x, y: (x[:9], y, 3, {}), DataError, "there are 9 inputs but 30 labels", "Give every example one label."),
    (
        lambda x, y: (x, 0 * y, 3, {}),
        DataError,
        "the labels hold 1 class, but at least 2 are needed",
        "Give more data.",
    ),
    (lambda x, y: (x, y + 1, 3, {}), DataError, "labels run from 1 to 3, outside 0 to 2", "Number the classes from 0."),
    (
        lambda x, y: (x, y - 1, 3, {}),
        DataError,
        "labels run from -1 to 1, outside 0 to 2",
        "Number the classes from 0.",
    ),
    (lambda x, y: (0 * x, y, 3, {}), DataError, "no column of the inputs varies", "Give features that differ"),
    (lambda x, y: (0 * x + 4, y, 3, {}), DataError, "no column of the inputs varies", "Give features that differ"),
    (lambda x, y: (x / 0, y, 3, {}), DataError, "the inputs hold numbers that are not finite", "Fill or drop them."),
    (lambda x, y: (x, y, 3, {"kernel": "cosine"}), SettingError, "kernel is 'cosine'", "Choose auto, linear, relu1"),
    (
        lambda x, y: (x, y, 3, {"landmarks": 1}),
        SettingError,
        "landmarks is 1, but must be from 2",
        "Leave landmarks out.",
    ),
    (lambda x, y: (x, y, 3, {"rounds": 4}), SettingError, "rounds is 4, but must be from 1 to 3", "Leave rounds out."),
]


@pytest.mark.parametrize(("spoil", "error", "text", "way_out"), BAD)
def test_bad_input_is_named(spoil, error: type[Exception], text: str, way_out: str) -> None:
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    x, y, k, more = spoil(inputs, torch.arange(30) % 3)
    with pytest.raises(error) as raised:
        refine_labels(x, y, k, **more)
    assert text in str(raised.value)
    assert way_out in str(raised.value)


def test_too_little_memory_is_told_in_advance(blobs, monkeypatch) -> None:
    inputs, _, given = blobs(200, 3, 0.2)
    monkeypatch.setattr("selfdistill.closed._prepare._physical_memory", lambda: 2.0**20)
    with pytest.raises(ResourceError, match=r"200 rows of 3 classes with 200 landmarks need about 0\.\d GiB") as raised:
        refine(inputs, given, 3)
    assert "but there are 0.0 GiB. Take fewer rows, or fewer landmarks." in str(raised.value)


def test_features_of_zero_without_standardising_are_named() -> None:
    with pytest.raises(DataError, match="no column of the inputs varies"):
        refine_labels(torch.zeros(20, 3), torch.arange(20) % 2, 2, standardise=False)


def test_landmarks_take_memory_by_their_square(monkeypatch) -> None:
    monkeypatch.setattr("selfdistill.closed._prepare._physical_memory", lambda: 200 * 2**30)
    _check_memory(10, 2, 50_000, 3)
    with pytest.raises(ResourceError, match=r"10 rows of 2 classes with 100,000 landmarks need about 223\.\d GiB"):
        _check_memory(10, 2, 100_000, 3)  # three matrices of 64 bit
