import numpy as np
import pandas as pd
import pytest

from selfdistill import noise
from selfdistill._core.errors import SelfdistillError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._read import read
from selfdistill.runs._noisy_copy import noisy_copy


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=90), "label": np.array(["a", "b", "c"])[rng.integers(0, 3, 90)]})
    frame.to_csv(tmp_path / "clean.csv", index=False)
    return tmp_path / "clean.csv"


@pytest.mark.parametrize(
    "kind",
    [
        {"symmetric": 0.5, "include_clean": True},
        {"symmetric": 0.5, "include_clean": False},
        {"pair": 0.3},
        {"instance": 0.4},
    ],
)
def test_the_file_holds_the_labels_that_were_drawn(source, tmp_path, kind):
    made = noisy_copy(str(source), tmp_path / "noisy.csv", seed=3, **kind)
    clean, noisy = pd.read_csv(source), pd.read_csv(tmp_path / "noisy.csv")
    changed = noisy["label"] != clean["label"]
    assert made.changed == changed.sum() > 0
    assert made.total == 90
    by_class = [(name, (clean["label"] == name).sum(), changed[clean["label"] == name].sum()) for name in "abc"]
    assert made.classes == by_class
    assert noisy["label_before_noise"].equals(clean["label"])


def test_it_draws_what_the_noise_room_draws(source, tmp_path):
    noisy_copy(str(source), tmp_path / "noisy.csv", pair=0.3, seed=3)
    clean, noisy = read(source), read(tmp_path / "noisy.csv", ReadOptions(label="label"))
    assert (noise.draw(clean.labels, noise.pair(3, 0.3), 3).labels == noisy.labels).all()


def test_a_matrix_file_is_read_by_class_names(source, tmp_path):
    (tmp_path / "T.csv").write_text("clean,c,b,a\na,0,1,0\nb,0,1,0\nc,1,0,0\n")  # every a becomes b
    made = noisy_copy(str(source), tmp_path / "noisy.csv", matrix=tmp_path / "T.csv")
    assert [changed for _, _, changed in made.classes] == [made.classes[0][1], 0, 0]


def test_symmetric_noise_needs_a_word_about_the_true_class(source, tmp_path):
    with pytest.raises(SelfdistillError, match="36 % of the labels change if it may"):
        noisy_copy(str(source), tmp_path / "noisy.csv", symmetric=0.4)
    assert not (tmp_path / "noisy.csv").exists()


def test_exactly_one_kind(source, tmp_path):
    for kinds in ({}, {"pair": 0.1, "instance": 0.1}):
        with pytest.raises(SelfdistillError, match="Choose one: `symmetric` RATE"):
            noisy_copy(str(source), tmp_path / "noisy.csv", **kinds)
