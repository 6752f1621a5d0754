import numpy as np
import torch

from selfdistill.data._read import read
from selfdistill.runs._demo import compare_with_plain, noisy_digits
from selfdistill.train import Settings


def test_the_test_set_is_clean_held_out_and_a_fifth_of_each_class():
    digits = read("digits")
    train, tests = noisy_digits(0)
    inputs, labels = tests["test"]
    whole, held = torch.bincount(digits.labels), torch.bincount(labels)
    assert (held == (0.2 * whole).round()).all()
    rest = np.setdiff1d(digits.ids, train.ids)
    where = torch.from_numpy(np.flatnonzero(np.isin(digits.ids, rest)))
    assert torch.equal(digits.inputs[where], inputs)
    assert torch.equal(digits.labels[where], labels)
    assert len(train) + len(labels) == len(digits)


def test_about_forty_per_cent_of_the_labels_are_flipped_to_other_classes():
    train, _ = noisy_digits(0)
    wrong = train.labels != train.truth
    assert abs(wrong.float().mean().item() - 0.4) < 3 * (0.24 / len(train)) ** 0.5
    assert len(set(train.labels[wrong].tolist())) == 10


def test_the_seed_decides_and_is_in_the_fingerprint():
    one, same, other = noisy_digits(1)[0], noisy_digits(1)[0], noisy_digits(2)[0]
    assert torch.equal(one.labels, same.labels)
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_the_comparison_trains_plainly_and_measures():
    train, tests = noisy_digits(0)
    found = compare_with_plain(train, tests, Settings(epochs=2, network="mlp:16").resolve(len(train), "cpu"))
    assert found["method"] == "cross-entropy"
    assert found["test_accuracy"]["last"] == found["curve"][-1]
    assert found["test_accuracy"]["best"] == max(found["curve"])
    assert found["truth"]["given_right"] == (train.labels == train.truth).double().mean().item()
