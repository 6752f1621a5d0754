"""The one form of a data set."""

from selfdistill.data._source import from_arrays


def test_length_and_classes():
    data = from_arrays([[1.0], [2.0], [4.0]], ["b", "a", "b"])
    assert (len(data), data.num_classes, data.classes) == (3, 2, ("a", "b"))
    assert data.truth is None
    assert data.counts == {}
    assert len(data.fingerprint) == 64
