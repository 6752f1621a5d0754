"""Rebuilding from JSON and tensors: anything else is refused, nothing is run."""

import numpy as np
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill.data._arrays import ArrayPreprocess, UserPreprocess
from selfdistill.data._images import ImagePreprocess
from selfdistill.data._preprocess import Preprocess


@pytest.mark.parametrize("spec", [{}, {"kind": "os.system"}, {"kind": None}])
def test_unknown_kinds(spec):
    with pytest.raises(DataError, match="is not known; known are"):
        Preprocess.from_state(spec, {})


@pytest.mark.parametrize(
    ("spec", "tensors"),
    [
        ({"kind": "array"}, {"scale": torch.ones(2)}),
        ({"kind": "table"}, {}),
        ({"kind": "user", "shape": [2], "dtype": "object"}, {}),
        ({"kind": "user", "shape": None, "dtype": "int64"}, {}),
        ({"kind": "image", "shape": [1, 2], "dtype": "uint8"}, {}),
        ({"kind": "image", "shape": [1, 2, 2], "dtype": "uint8", "layout": "x", "mean": [], "std": []}, {}),
    ],
)
def test_damaged_states(spec, tensors):
    with pytest.raises(DataError, match="is damaged"):
        Preprocess.from_state(spec, tensors)


def test_every_kind_gives_itself_back():
    kinds = [
        ArrayPreprocess.fit(np.eye(3)),
        ImagePreprocess.fit(np.zeros((2, 4, 4), np.uint8)),
        UserPreprocess.fit(np.zeros((2, 5))),
    ]
    for made in kinds:
        again = Preprocess.from_state(*made.to_state())
        assert type(again) is type(made)
        assert again.input_shape == made.input_shape
        assert again.facts() == made.facts()
