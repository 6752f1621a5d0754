"""Texts through an encoder: beside their words, empty ones and long ones, kept in the model's file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._source import from_frame

OPTIONS = ReadOptions(encoder="texts", text=("text",), label="label")


def frame(cells, **more):
    return pa.table({"text": cells, "label": list("uv" * len(cells))[: len(cells)], **more})


CELLS = ["a bird sings", "the bird", "", "dogs bark at a bird " * 4, "a dog", "a dog sings"]


def test_features_stand_beside_words_at_half_their_length(encoders):
    plain = from_frame(frame(CELLS), options=ReadOptions(text=("text",), label="label"))
    data = from_frame(frame(CELLS), options=OPTIONS)
    words = plain.inputs.shape[1]
    np.testing.assert_array_equal(data.inputs[:, :words], plain.inputs)
    beside = data.inputs[:, words:].numpy()
    assert beside.shape == (6, 26)
    there = np.array([bool(cell) for cell in CELLS])
    np.testing.assert_array_equal(beside[~there], 0)
    np.testing.assert_allclose(beside[there].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(np.square(beside[there]).sum(1).mean(), 25, rtol=1e-5)
    letters = encoders["texts"].encode([encoders["texts"].prepare(cell) for cell in CELLS if cell])
    factor = beside[there][0, 1] / (letters - letters.mean(0))[0, 1]
    np.testing.assert_allclose(beside[there], (letters - letters.mean(0)) * factor, atol=1e-5)


def test_empty_and_long_texts_are_named(encoders):
    data = from_frame(frame(CELLS), options=OPTIONS)
    assert "column 'text' has 1 empty texts, in rows 2 (from 0)." in data.warnings
    assert any("1 texts that are longer than the encoder reads" in message for message in data.warnings)
    assert data.preprocess.scaled
    assert data.preprocess.only_scaled


def test_texts_are_encoded_once(encoders):
    data = from_frame(frame(CELLS), options=OPTIONS)
    assert encoders["texts"].seen == 6
    from_frame(frame(CELLS[::-1]), options=OPTIONS)
    assert encoders["texts"].seen == 6
    assert data.preprocess.apply(frame(["a bird sings"])).shape[0] == 1


def test_a_model_keeps_the_encoder_and_refuses_another(encoders):
    data = from_frame(frame(CELLS, size=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), options=OPTIONS)
    again = Preprocess.from_state(*data.preprocess.to_state())
    np.testing.assert_array_equal(again.apply(frame(CELLS, size=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])), data.inputs)
    encoders["texts"].fingerprint = "3" * 64
    other = Preprocess.from_state(*data.preprocess.to_state())
    with pytest.raises(DataError, match="'texts' has 33333333 here"):
        other.apply(frame(CELLS, size=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))


def test_a_table_without_texts_is_refused(encoders):
    table = pa.table({"size": [1.0, 2.5, 3.0], "label": list("uvu")})
    with pytest.raises(SettingError, match="encoder texts has nothing to read: no column is text"):
        from_frame(table, options=ReadOptions(encoder="texts", label="label"))


def test_an_encoder_of_photos_is_refused_for_texts(encoders):
    with pytest.raises(SettingError, match="encoder 'photos' takes photos, but the data are texts"):
        from_frame(frame(CELLS), options=ReadOptions(encoder="photos", text=("text",), label="label"))
