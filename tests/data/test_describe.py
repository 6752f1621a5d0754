"""A few words."""

from selfdistill._core.read_options import ReadOptions
from selfdistill.data._labelled import describe
from selfdistill.data._read import read
from selfdistill.data._source import from_arrays


def test_facts_and_counts():
    data = from_arrays(
        [[1.0], [2.0], [3.0], [4.0]],
        ["b", "a", "b", None],
        truth=["b", "b", "b", "b"],
        options=ReadOptions(drop_unlabelled=True),
    )
    assert describe(data).splitlines() == [
        "3 examples, 1 number",
        "2 classes: a, b",
        "rows without a label left out: 1; true labels known for 3: 33.3 % of the given ones differ",
    ]


def test_many_classes_are_cut():
    data = from_arrays([[float(i)] for i in range(12)], list(range(12)))
    assert describe(data).splitlines()[1] == "12 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."


def test_digits():
    assert describe(read("digits")).startswith("1,797 examples, grey images of 8 x 8 pixels\n10 classes: 0, 1")


def test_long_names_and_line_breaks_stay_within_a_line():
    lines = describe(from_arrays([[1.0], [2.0]], ["a\nb", "x" * 10_000])).splitlines()
    assert lines[1:] == ["2 classes: a\\u000ab, " + "x" * 57 + "..."]
