"""Teachers of any kind: each gives the soft labels that it says, or one sentence why it cannot."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import nn

from selfdistill._core.errors import DataError, InputError, SettingError
from selfdistill.data._source import from_arrays, from_frame
from selfdistill.distill import Distiller, find_teacher, soft_labels
from selfdistill.distill._soft_labels import load_store, save_store
from selfdistill.estimator._classifier import SelfDistillClassifier
from selfdistill.train import Settings
from selfdistill.train._runtime import TorchRuntime

N, K = 90, 3
RNG = np.random.default_rng(0)
X = RNG.normal([5.0, -3.0, 0.0, 100.0], [1.0, 20.0, 1.0, 1e-3], (N, 4))
Y = np.array(["b", "c", "a"])[((X - X.mean(0)) / X.std(0))[:, :3].argmax(-1)]
LOGITS = RNG.normal(size=(N, K)) * 3
P = torch.tensor(LOGITS).softmax(-1)


@pytest.fixture(scope="module")
def table():
    return from_arrays(X, Y)


def soft_labels_of(given, examples, **options) -> torch.Tensor:
    found = soft_labels(find_teacher(given, examples, **options), examples, TorchRuntime())
    return found.soft.probabilities(torch.arange(len(examples)))


class Saying(nn.Module):
    """Gives the logits of the first rows in some wrapping."""

    def __init__(self, wrap=lambda logits: logits):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(torch.tensor(LOGITS[: len(x)]).float())


FRAME = pd.DataFrame(LOGITS, columns=["a", "b", "c"])
GIVEN = {
    "array of logits": LOGITS,
    "tensor of logits": torch.tensor(LOGITS),
    "half a tensor": torch.tensor(LOGITS).half(),
    "list of lists": LOGITS.tolist(),
    "tuple of tuples": tuple(map(tuple, LOGITS)),
    "probabilities": P.numpy(),
    "frame in another order": FRAME[["c", "a", "b"]],
    "frame without names": pd.DataFrame(LOGITS),
    "what a network of transformers gave": {"logits": torch.tensor(LOGITS), "hidden": None},
    "network": Saying(),
    "network with a ModelOutput": Saying(lambda z: {"logits": z}),
    "network with an object": Saying(lambda z: SimpleNamespace(logits=z)),
    "function": lambda x: torch.tensor(LOGITS[: len(x)]),
    "function of arrays": lambda x: LOGITS[: len(x)],
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_a_teacher_says_is_what_is_taught(table, name):
    torch.testing.assert_close(soft_labels_of(GIVEN[name], table), P.float(), atol=2e-3, rtol=0)


REFUSED = {
    "None": (None, SettingError, "no teacher was given. Name a run"),
    "7": (
        7,
        SettingError,
        "the teacher is 7, which cannot teach. Give a run, a network, a function, a classifier, or logits",
    ),
    "class": (Saying, SettingError, r"the teacher is the class Saying. Give one of its kind: Saying\(...\)"),
    "class of scikit-learn": (LogisticRegression, SettingError, "the teacher is the class LogisticRegression"),
    "too few rows": (
        LOGITS[:5],
        DataError,
        r"the predictions of ndarray have shape \[5, 3\], but there are 90 examples of 3 cl",
    ),
    "a row": (LOGITS[0], DataError, r"have shape \[3\]"),
    "labels": (Y, DataError, "the predictions of ndarray are not an array of numbers. Give logits"),
    "no rows": ([], DataError, r"have shape \[0\]"),
    "ragged": ([[1.0, 2.0, 3.0], [1.0]], DataError, "the predictions of list are not an array of numbers"),
    "NaN": (np.full((N, K), np.nan), DataError, "hold numbers that are not finite. Look for NaN"),
    "nothing is likely": (np.full((N, K), -np.inf), DataError, "hold numbers that are not finite"),
    "network with a tuple": (Saying(lambda z: (z, z)), DataError, r"gives a tuple, which holds no logits. Give a fun"),
    "function of nothing": (lambda: None, DataError, r"<lambda> cannot take inputs of shape \[4\], torch.float32: "),
    "one value for all": (lambda x: torch.zeros(1, 3), DataError, r"outputs of shape \[1, 3\] for 2 examples of 3"),
    "no probabilities": (LinearSVC(), SettingError, "LinearSVC.*cannot teach"),
    "other classes": (
        LogisticRegression().fit(X, Y == "a"),
        DataError,
        "knows the classes False, True, but the data ha",
    ),
    "other columns": (
        LogisticRegression().fit(X[:, :2], Y),
        DataError,
        "LogisticRegression cannot take these examples",
    ),
    "not fitted": (LogisticRegression(), DataError, "LogisticRegression knows the classes none"),
    "a list with one of them": ([Saying(), 7], SettingError, "the teacher is 7"),
    "a long text": ("x" * 200, InputError, "is not a run directory"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_teach_is_refused_in_one_sentence(table, name):
    given, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words) as refused:
        Distiller("mlp:4", settings=Settings(epochs=1)).fit(given, table)
    assert "\n" not in str(refused.value)


def test_a_way_of_choosing_is_refused_where_there_is_nothing_to_choose(table):
    for given in (LOGITS, Saying(), RandomForestClassifier(3).fit(X, Y)):
        with pytest.raises(
            SettingError, match=r"choose air needs several epochs to choose from, but .* is one candidate"
        ):
            find_teacher(given, table, way="air")


@pytest.mark.parametrize("made", [LogisticRegression(max_iter=1000), RandomForestClassifier(20, random_state=0)])
def test_a_classifier_of_scikit_learn_gets_what_it_learned_from(table, made):
    wanted = made.fit(X, Y).predict_proba(X)  # its classes are a, b, c, as the data's
    torch.testing.assert_close(soft_labels_of(made, table).double(), torch.tensor(wanted), atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [(60, 9, 8, 3), (60, 3, 9, 8), (60, 9, 8)])
def test_it_gets_images_in_their_layout_and_its_classes_may_have_any_order(shape):
    images = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    labels = np.arange(60) % 3
    made = RandomForestClassifier(5, random_state=0).fit(images.reshape(60, -1), labels)
    wanted = made.predict_proba(images.reshape(60, -1))
    other = SimpleNamespace(
        predict_proba=lambda x: made.predict_proba(x)[:, [2, 0, 1]], classes_=made.classes_[[2, 0, 1]]
    )
    got = soft_labels_of(other, from_arrays(images, labels))
    torch.testing.assert_close(got.double(), torch.tensor(wanted), atol=2e-3, rtol=0)


def test_our_own_estimator_teaches_too(table):
    made = SelfDistillClassifier().fit(X, Y)
    torch.testing.assert_close(
        soft_labels_of(made, table).double(), torch.tensor(made.predict_proba(X)).double(), atol=2e-3, rtol=0
    )


def test_texts_and_categories_cannot_be_had_back():
    frame = pd.DataFrame({"kind": ["u", "v"] * 30, "x": range(60)})
    examples = from_frame(frame, ["p", "q"] * 30)
    made = LogisticRegression().fit(frame[["x"]], ["p", "q"] * 30)
    with pytest.raises(
        SettingError, match=r"LogisticRegression cannot be used.*Give its predictions instead: predict_"
    ):
        find_teacher(made, examples)
    assert soft_labels_of(made.predict_proba(frame[["x"]]), examples).shape == (60, 2)


def test_an_ensemble_teaches_the_mean_of_what_its_members_say(table, tmp_path):
    tree = RandomForestClassifier(5, random_state=0).fit(X, Y)
    save_store(tmp_path / "soft.st", soft_labels(find_teacher(Saying(), table), table, TorchRuntime()))
    np.save(tmp_path / "logits.npy", LOGITS[::-1])
    members = [Saying(), tree, tmp_path / "soft.st", str(tmp_path / "logits.npy"), LOGITS * 2]
    each = [P, torch.tensor(tree.predict_proba(X)), P, P.flip(0), torch.tensor(LOGITS * 2).softmax(-1)]
    torch.testing.assert_close(soft_labels_of(members, table).double(), torch.stack(each).mean(0), atol=2e-3, rtol=0)
    record = Distiller("mlp:4", settings=Settings(epochs=1)).teach(members[2:4], table, tmp_path / "run")
    asked = record.distillation.asked
    assert (asked.teacher, asked.also) == (str(members[2]), [members[3]])
    assert record.distillation.teacher.name == f"Saying + {members[3]}"
    kept = load_store(tmp_path / "run" / "soft_labels.safetensors").soft.probabilities(torch.arange(N))
    torch.testing.assert_close(kept.double(), (P + P.flip(0)) / 2, atol=2e-3, rtol=0)


def test_an_npy_file_that_is_none(table, tmp_path):
    (tmp_path / "a.npy").write_bytes(b"none")
    with pytest.raises(DataError, match=r"a.npy is not an array of numbers: .* Write it with numpy.save"):
        find_teacher(tmp_path / "a.npy", table)
