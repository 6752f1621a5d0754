"""Which columns are no features."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data import _roles
from selfdistill.data._labelled import Note
from selfdistill.data._read import read


def choose(columns, **options):
    return _roles.choose_roles(pa.table(columns), ReadOptions(**options), "here")


BASE = {"x": ["1", "2", "3", "4"], "label": ["a", "b", "a", "b"]}


@pytest.mark.parametrize("name", ["label", "target", "Class", "y", "Y"])
def test_label_by_name(name):
    roles, notes = choose({"x": ["1", "2"], name: ["a", "b"]})
    assert roles.label == name
    assert notes == [f"column {name!r} is taken as the label; --label to choose another."]


def test_label_that_is_not_there():
    with pytest.raises(DataError, match=r"here has no column 'lable' \(`label`\). Did you mean 'label'\?"):
        choose(BASE, label="lable")
    with pytest.raises(DataError, match=r"here has no column named label, target, class or y. .* there are: 'p', 'q'"):
        choose({"p": ["1"], "q": ["2"]})
    with pytest.raises(DataError, match=r"here has 2 columns that may be the label: label, y"):
        choose(BASE | {"y": ["1", "2", "3", "4"]})
    assert choose(BASE | {"y": ["1", "2", "3", "4"]}, ignore=("y",))[0].label == "label"


@pytest.mark.parametrize("option", ["id", "truth"])
def test_other_columns_that_are_not_there(option):
    with pytest.raises(DataError, match=rf"no column 'q' \(`{option}`\)"):
        choose(BASE, **{option: "q"})


@pytest.mark.parametrize("option", ["ignore", "text", "numeric", "categorical"])
def test_lists_of_columns_that_are_not_there(option):
    with pytest.raises(DataError, match=rf"no column 'q' \(`{option}`\)"):
        choose(BASE, **{option: ("x", "q")})


def test_two_roles():
    with pytest.raises(DataError, match="column 'label' is given as `label` and as `truth`"):
        choose(BASE, label="label", truth="label")


def test_id_is_found_where_it_is_unique():
    assert choose(BASE | {"id": ["p", "q", "r", "s"]})[0].id == "id"
    assert choose(BASE | {"id": ["p", "q", "r", "r"]})[0].id is None
    assert choose(BASE | {"id": ["1", "2", "3", "4"]}, numeric=("id",))[0].id is None


def test_an_id_that_repeats_or_lacks_values_is_told():
    for cells in (["p", "q", "r", "r"], ["p", "q", None, "r"]):
        roles, notes = choose(BASE | {"id": cells})
        assert roles.id is None
        (message,) = [note for note in notes if not isinstance(note, Note)]
        assert message.startswith("column 'id' does not name the rows (3 different values in 4 rows) and is taken as a")
        assert "--ignore id" in message
    assert choose(BASE | {"id": ["p", "q", "r", "r"]}, ignore=("id",))[1] == choose(BASE)[1]


def test_what_was_decided_by_itself_is_a_note():
    _, notes = choose(BASE | {"id": ["p", "q", "r", "s"]})
    assert len(notes) == 2
    assert all(isinstance(note, Note) for note in notes)


def test_columns_of_class_names_are_left_out():
    columns = BASE | {"truth": ["a", "b", "b", "b"], "vote": ["b", "b", "a", "a"]}
    roles, notes = choose(columns, truth="truth")
    assert roles.ignored == ("vote",)
    assert "column 'vote' holds the label's own class names (equal in 50.0 % of rows)" in notes[-1]
    assert "--truth vote" in notes[-1]
    assert choose(columns, categorical=("vote", "truth"))[0].ignored == ()


def test_flags_are_no_copies_of_numeric_classes():
    columns = {"flag": ["0", "1"] * 10, "label": ["0", "1", "1", "0"] * 5}
    assert choose(columns) == (
        _roles.Roles("label"),
        ["column 'label' is taken as the label; --label to choose another."],
    )


def test_a_column_that_tells_the_label_is_kept_with_a_warning():
    columns = {"code": ["7", "8"] * 30, "label": ["a", "b"] * 30, "x": [str(i * i) for i in range(60)]}
    roles, notes = choose(columns)
    assert roles.ignored == ()
    assert "column 'code' tells the label almost perfectly" in notes[-1]
    columns["code"] = ["7", "8"] * 29 + ["8", "7"]
    assert len(choose(columns)[1]) == 1


def test_numbers_that_nearly_tell_the_label_are_warned_of():
    rng = np.random.default_rng(0)
    code = np.tile([0.0, 1.0, 2.0], 40)
    names = np.array(["a", "b", "c"])[code.astype(int)]
    for near, warned in ((code + rng.normal(size=120) / 100, True), (code + rng.normal(size=120) / 5, False)):
        for label in (names.tolist(), code.astype(int).tolist()):
            roles, notes = choose({"near": pa.array(near), "label": label})
            assert roles.ignored == ()
            assert any("column 'near' tells the label almost perfectly" in note for note in notes) is warned
    roles, notes = choose({"near": [str(cell) for cell in code + 0.01], "label": names.tolist()})
    assert any("column 'near' tells" in note for note in notes)
    noise = pa.array(np.round(rng.normal(size=120)) + 0.01)
    assert not any("'noise' tells" in note for note in choose({"noise": noise, "label": names.tolist()})[1])


def test_one_hot_columns_are_told_with_how_to_join_them():
    hot = np.eye(3, dtype=int)[np.arange(12) % 3]
    columns = {"x": np.linspace(0, 1, 12)} | {f"is_{name}": hot[:, i] for i, name in enumerate("abc")}
    for kind in (int, bool, str):
        table = pa.table(columns | {name: cells.astype(kind) for name, cells in columns.items() if name != "x"})
        with pytest.raises(
            DataError,
            match=r"'is_a', 'is_b', 'is_c' are one label, one-hot: make it one .* = table.drop\(columns=hot\)",
        ):
            _roles.choose_roles(table, ReadOptions(), "here")
    made = pd.DataFrame(columns)
    made["label"] = made[["is_a", "is_b", "is_c"]].idxmax(axis=1)
    assert made["label"].tolist() == ["is_a", "is_b", "is_c"] * 4
    table = pa.table(columns | {"is_c": np.ones(12, int)})
    with pytest.raises(DataError, match=r"Did you mean --label|Say which"):
        _roles.choose_roles(table, ReadOptions(), "here")


def test_one_hot_columns_that_tell_the_label_are_left_out():
    rng = np.random.default_rng(0)
    code = rng.integers(3, size=300)
    hot = {f"is_{name}": (code == i).astype(int) for i, name in enumerate("abc")}
    part = rng.integers(2, size=300)  # one-hot too, but tells nothing
    flags = {"flag": rng.integers(2, size=300), "part_0": part, "part_1": 1 - part}
    label = np.array(["a", "b", "c"])[code]
    label[0] = "abc"[(code[0] + 1) % 3]  # almost perfectly
    columns = {"x": rng.normal(size=300), **flags, **hot, "label": label.tolist()}
    roles, notes = choose(columns)
    assert roles.ignored == tuple(hot)
    message = "one-hot columns 'is_a', 'is_b', 'is_c' tell the label together and are not used as features"
    assert f"{message}; --numeric is_a to use them." in notes
    assert choose(columns, ignore=("is_a",))[0].ignored == tuple(hot)
    assert choose(columns, numeric=("is_b",))[0].ignored == ()
    del columns["label"]
    assert choose(columns, label="is_b")[0].ignored == ("is_a", "is_c")
    assert choose(columns, label="flag")[0].ignored == ()
    assert choose({name: cells[:40] for name, cells in columns.items()}, label="is_b")[0].ignored == ()


def test_dictionary_columns_are_looked_at_too():
    vote = pa.array(["b", "b", "a", "a"]).dictionary_encode()
    assert choose(BASE | {"vote": vote, "label": pa.array(BASE["label"]).dictionary_encode()})[0].ignored == ("vote",)


def test_spec_round_trip():
    roles = _roles.Roles("l", None, "t", ("a", "b"))
    assert _roles.Roles.from_spec(roles.to_spec()) == roles


def test_columns_that_this_package_wrote_are_left_out_whatever_they_hold():
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "x": rng.normal(size=60),
            "label": np.arange(60) % 2,
            "label_before_noise": np.arange(60) % 2,
            "label_weight": rng.random(60),
            "refined_label": np.arange(60) % 2,
        }
    )
    roles, notes = _roles.choose_roles(table, ReadOptions(label="label"), "the table")
    assert set(roles.ignored) == {"label_before_noise", "label_weight", "refined_label"}
    assert sum("written beside the label by this package" in note for note in notes) == 3
    kept, _ = _roles.choose_roles(table, ReadOptions(label="label", numeric=("label_weight",)), "the table")
    assert "label_weight" not in kept.ignored
    assert all(("--truth" in note) is ("label_weight" not in note) for note in notes)  # a weight is no label
    measured, _ = _roles.choose_roles(table, ReadOptions(label="label", truth="label_before_noise"), "the table")
    assert measured.truth == "label_before_noise"


def test_a_numeric_reading_of_a_numeric_label_is_left_out():
    rng = np.random.default_rng(0)
    truth = np.arange(200) % 5
    given = np.where(rng.random(200) < 0.3, rng.integers(5, size=200), truth)
    table = pa.table({"x": rng.normal(size=200), "stars": rng.integers(5, size=200), "other": truth, "y": given})
    roles, notes = _roles.choose_roles(table, ReadOptions(label="y"), "the table")
    assert roles.ignored == ("other",)  # as many values as classes alone are no reading of the label
    assert any("'other' holds the label's own class names" in note for note in notes)


def test_two_classes_as_numbers_do_not_make_every_flag_a_label():
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=200)
    flag = np.where(rng.random(200) < 0.2, 1 - label, label)
    roles, _ = _roles.choose_roles(pa.table({"flag": flag, "y": label}), ReadOptions(label="y"), "the table")
    assert roles.ignored == ()


@pytest.mark.parametrize(
    ("name", "cells", "hint"),
    [
        *[
            (name, ["a", "b", "c"] * 4, f"Did you mean label={name!r}? It has 3 values. Say which")
            for name in ("labels", "Category", "sentiment", "species", "class_name", "main_category")
        ],
        ("last one", [0, 1] * 6, "Did you mean label='last one'? It has 2 values. Say which"),
        ("last", list(range(12)), "y. Say which"),
        ("last", [1] * 12, "y. Say which"),
        ("labels", [None] * 12, "y. Say which"),
    ],
)
def test_a_column_is_proposed_as_the_label(name, cells, hint):
    x = np.linspace(0, 1, 12)
    for table in (pa.table({"x": x, name: cells}), pa.table({name: cells, "x": x})):
        if table.column_names[-1] == "x" and name.startswith("last"):
            continue
        with pytest.raises(DataError) as error:
            _roles.choose_roles(table, ReadOptions(), "here")
        assert hint in str(error.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "5.1,3.5,Iris-a\n4.9,3.0,Iris-a\n5.1,3.5,Iris-b\n6.2,3.1,Iris-b\n",
            "no header: its first line looks like data",
        ),
        ("red;1,5;yes\nblue;2,5;no\nred;3,5;yes\nblue;1,5;no\n", r"no header: .*\('red', '1,5', 'yes'\)"),
        ("id,2019,2020\na,1,2\nb,3,4\nc,2019,6\nd,1,2\n", "no column named label"),
        ("0,1,2\n1,0,0\n0,1,2\n1,0,1\n0,1,2\n", "no column named label"),  # as a DataFrame names its columns
    ],
)
def test_a_table_without_a_header_is_told_from_one_without_a_label(tmp_path, text, found):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=found):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("first", "second"),
    [("label", "id"), ("label", "truth"), ("label", "ignore"), ("id", "truth"), ("id", "ignore"), ("truth", "ignore")],
)
def test_any_two_roles_for_one_column_are_refused(first, second):
    given = {role: ("x",) if role == "ignore" else "x" for role in (first, second)}
    with pytest.raises(DataError, match=f"column 'x' is given as `{first}` and as `{second}`"):
        choose(BASE, **{"label": "label"} | given)
