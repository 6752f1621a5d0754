"""Arrays: npz, npy, safetensors, with the names that people and libraries give them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from safetensors.torch import save_file
from tests.corpus.case import LABELS, Case, N
from tests.corpus.text_tables import text

NPZ, NPY, TENSORS, SPARSE = "Arrays in npz", "Arrays in npy", "Tensors", "Sparse matrices"
FEATURES = np.random.default_rng(1).normal(size=(N, 4))
RECORDS = np.zeros(N, dtype=[("a", "f8"), ("b", "f8")])
IMAGES = np.random.default_rng(2).integers(0, 256, (N, 6, 5), dtype=np.uint8)
CODES = np.array([int(c == "b") for c in LABELS])
NUMBERED = [str(code) for code in CODES]
HALF = N // 2
TWO_WORDS = [f"class {c}" for c in LABELS]
ONE_HOT = np.eye(2)[CODES]
SENTENCES = np.array([f"{['good', 'bad'][code]} song number {i}" for i, code in enumerate(CODES)])
TEXT = {"numeric": (), "categorical": (), "text": ("text",)}


def npz(name: str = "a.npz", *, packed: bool = False, **arrays: Any) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        (np.savez_compressed if packed else np.savez)(folder / name, **arrays)

    return make


def _usual(name: str, shown: bool = False, **more: Any) -> Case:
    arrays = more.pop("arrays")
    options = {"labels": NUMBERED, "kinds": (4,)} | more
    return Case(NPZ, name, "a.npz", npz(**arrays), shown=shown, **options)


def _objects(folder: Path) -> None:
    """Three arrays, of which one is a pickle that nobody needs."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (N,)})
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        for name, array in (("X", FEATURES), ("y", CODES)):
            part = io.BytesIO()
            np.save(part, array)
            archive.writestr(f"{name}.npy", part.getvalue())
        archive.writestr("paths.npy", file.getvalue() + b"no pickle")


def _names() -> list[Case]:
    pairs = [
        ("X", "y"),
        ("x", "y"),
        ("features", "labels"),
        ("embeddings", "labels"),
        ("embedding", "label"),
        ("data", "target"),
        ("inputs", "targets"),
        ("feats", "Labels"),
        ("FEATURES", "LABELS"),
        ("arr_0", "arr_1"),
        ("vectors", "class"),
        ("Embeddings", "Y"),
    ]
    shown = {"X", "embeddings", "arr_0"}
    out = [_usual(f"`{one}` and `{two}`", one in shown, arrays={one: FEATURES, two: CODES}) for one, two in pairs]
    splits = [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("Xtrain", "ytrain", "Xtest", "ytest"),
        ("train_embeddings", "train_labels", "test_embeddings", "test_labels"),
        ("features_train", "labels_train", "features_test", "labels_test"),
        ("training_data", "training_labels", "testing_data", "testing_labels"),
        ("train-x", "train-y", "test-x", "test-y"),
    ]
    for names in splits:
        parts = (FEATURES[:HALF], CODES[:HALF], FEATURES[HALF:], CODES[HALF:])
        arrays = dict(zip(names, parts, strict=True))
        out.append(
            _usual(
                ", ".join(f"`{n}`" for n in names),
                names[0] == "x_train",
                arrays=arrays,
                labels=NUMBERED[:HALF],
                test=NUMBERED[HALF:],
            )
        )
    medical = {
        "train_images": IMAGES[:6],
        "train_labels": CODES[:6, None],
        "val_images": IMAGES[6:9],
        "val_labels": CODES[6:9, None],
        "test_images": IMAGES[9:],
        "test_labels": CODES[9:, None],
    }
    return [
        *out,
        _usual(
            "`train_images`, `val_images`, `test_images` and labels (MedMNIST)",
            True,
            arrays=medical,
            kinds=(1, 6, 5),
            labels=NUMBERED[:6],
            test=NUMBERED[9:],
        ),
        _usual(
            "names of your own",
            True,
            arrays={"clip": FEATURES, "genre": CODES},
            options={"inputs": "clip", "label": "genre"},
        ),
        _usual(
            "one of several arrays",
            arrays={"X": FEATURES[:, :2], "clip": FEATURES, "y": CODES},
            options={"inputs": "clip"},
        ),
        _usual(
            "names of your own, none said",
            arrays={"clip": FEATURES, "genre": CODES},
            error="Did you mean --inputs clip --label genre?",
        ),
        _usual("no label", arrays={"X": FEATURES}, error="has no labels; it holds 'X'"),
        _usual(
            "a name that does not exist",
            arrays={"X": FEATURES, "y": CODES},
            options={"inputs": "Z"},
            error="no array 'Z'",
        ),
        _usual(
            "a label that does not exist",
            arrays={"X": FEATURES, "y": CODES},
            options={"label": "yy"},
            error="has no array 'yy' (--label). Did you mean 'y'?",
        ),
        _usual("`y` beside `Y`", arrays={"X": FEATURES, "y": CODES, "Y": 1 - CODES}),
        _usual(
            "ids and truth",
            arrays={"X": FEATURES, "y": CODES, "truth": CODES, "ids": np.arange(N)},
            check=lambda data: data.truth.tolist() == CODES.tolist() or 1 / 0,
        ),
        _usual("labels of one column", arrays={"X": FEATURES, "y": CODES[:, None]}),
        _usual("labels that are words", arrays={"X": FEATURES, "y": np.array(LABELS)}, labels=LABELS),
        _usual("labels that are bytes", arrays={"X": FEATURES, "y": np.array(LABELS, "S")}, labels=LABELS),
        _usual("labels that are decimals", arrays={"X": FEATURES, "y": CODES.astype(float)}),
        _usual(
            "labels that are truth values",
            arrays={"X": FEATURES, "y": CODES == 1},
            labels=[str(bool(c)) for c in CODES],
        ),
        _usual("fewer labels", arrays={"X": FEATURES, "y": CODES[:-1]}, error="but 'y' has (11,)"),
        _usual("images", arrays={"images": IMAGES, "labels": CODES}, kinds=(1, 6, 5)),
        _usual(
            "images of colours, channels last",
            arrays={"images": np.stack([IMAGES] * 3, -1), "labels": CODES},
            kinds=(3, 6, 5),
        ),
        _usual("features of half precision", arrays={"X": FEATURES.astype(np.float16), "y": CODES}),
        _usual("features in Fortran's order", arrays={"X": np.asfortranarray(FEATURES), "y": CODES}),
        _usual(
            "features with NaN", arrays={"X": np.where(FEATURES > 1.2, np.nan, FEATURES), "y": CODES}, error="hold NaN"
        ),
        _usual("one feature for each example", arrays={"X": FEATURES[:, 0], "y": CODES}, error="array.reshape(-1, 1)"),
        _usual("labels of no columns", arrays={"X": FEATURES, "y": np.zeros((N, 0))}, error="has shape (12, 0)"),
        _usual("a single number", arrays={"X": np.float64(3), "y": CODES}, error="has shape ()"),
    ]


def _kinds() -> list[Case]:
    several = ONE_HOT.copy()
    several[3] = 1
    soft = np.full((N, 2), 0.5)
    hot = "is one-hot"
    return [
        _usual("one-hot labels", True, arrays={"X": FEATURES, "y": ONE_HOT}, says=[hot]),
        _usual("one-hot labels, whole numbers", arrays={"X": FEATURES, "y": ONE_HOT.astype(np.uint8)}, says=[hot]),
        _usual("one-hot labels, truth values", arrays={"X": FEATURES, "y": ONE_HOT.astype(bool)}, says=[hot]),
        _usual("a structured array", arrays={"X": RECORDS, "y": CODES}, error="is a structured array, with the fields"),
        _usual("structured labels", arrays={"X": FEATURES, "y": RECORDS}, error="'y' is a structured array"),
        _usual(
            "several labels for one example",
            arrays={"X": FEATURES, "y": several},
            error="'y' is multi-label: row 3 has 2 of 2 labels",
        ),
        _usual("no label for an example", arrays={"X": FEATURES, "y": several * 0}, error="row 0 has 0 of 2 labels"),
        _usual("probabilities as labels", arrays={"X": FEATURES, "y": soft}, error="holds probabilities of 2 classes"),
        _usual("labels of three axes", arrays={"X": FEATURES, "y": np.zeros((N, 2, 2))}, error="has shape (12, 2, 2)"),
        _usual("texts", True, arrays={"texts": SENTENCES, "labels": CODES}, kinds=TEXT),
        _usual("texts of one column", arrays={"X": SENTENCES[:, None], "y": CODES}, kinds=TEXT),
        _usual("texts as bytes", arrays={"X": SENTENCES.astype("S"), "y": CODES}, kinds=TEXT),
        Case(NPZ, "an array of objects that nobody needs", "a.npz", _objects, labels=NUMBERED, kinds=(4,), shown=True),
        Case(
            NPZ, "an array of objects that is asked for", "a.npz", _objects, {"inputs": "paths"}, error="could run code"
        ),
        Case(NPZ, "an array of objects as labels", "a.npz", _objects, {"label": "paths"}, error="could run code"),
        Case(NPZ, "packed", "a.npz", npz(packed=True, X=FEATURES, y=CODES), labels=NUMBERED, kinds=(4,)),
        Case(
            NPZ, "labels in a file of their own", "a.npz", _with_file, {"labels": "labels.csv"}, kinds=(4,), shown=True
        ),
        Case(NPZ, "no npz", "a.npz", text("a.npz", "x,label"), error="is truncated or not an npz file"),
    ]


def _with_file(folder: Path) -> None:
    np.savez(folder / "a.npz", X=FEATURES)
    (folder / "labels.csv").write_text("label\n" + "\n".join(LABELS) + "\n")


def _npy() -> list[Case]:
    def case(name: str, given: Any, file: str, *, X: np.ndarray = FEATURES, wanted: Any = LABELS, **more: Any) -> Case:
        def make(folder: Path) -> None:
            np.save(folder / "X.npy", X)
            if isinstance(given, np.ndarray):
                np.save(folder / file, given)
            else:
                (folder / file).write_text(given)

        shown = {"options": {"labels": file}, "kinds": (4,), "labels": wanted} | more
        return Case(NPY, name, "X.npy", make, **shown)

    def folder_of(**arrays: np.ndarray) -> Callable[[Path], Any]:
        def make(folder: Path) -> None:
            (folder / "d").mkdir()
            for name, array in arrays.items():
                np.save(folder / "d" / f"{name}.npy", array)

        return make

    column = "\n".join(LABELS) + "\n"
    parts = {"X_train": FEATURES[:HALF], "y_train": CODES[:HALF], "X_test": FEATURES[HALF:], "y_test": CODES[HALF:]}
    return [
        case("labels in npy", CODES, "y.npy", wanted=NUMBERED, shown=True),
        case("labels in CSV", "label\n" + column, "y.csv", shown=True),
        case(
            "labels in CSV of two words", "label\n" + "".join(f"class {c}\n" for c in LABELS), "y.csv", wanted=TWO_WORDS
        ),
        case("labels in a table", "id,label\n" + "".join(f"{i},{c}\n" for i, c in enumerate(LABELS)), "y.csv"),
        case("labels in text", column, "y.txt", shown=True),
        case("labels in text, two words", "".join(f"class {c}\n" for c in LABELS), "y.txt", wanted=TWO_WORDS),
        case("one-hot labels in npy", ONE_HOT, "y.npy", wanted=NUMBERED, says=["is one-hot"]),
        case("labels of several for one", np.ones((N, 3)), "y.npy", error="y.npy is multi-label"),
        case("texts", CODES, "y.npy", X=SENTENCES, kinds=TEXT, wanted=NUMBERED, shown=True),
        case("fewer labels", CODES[:-1], "y.npy", error="has 12 examples, but y.npy 11 labels"),
        case("a header too much in a text", "label\n" + column, "y.txt", error="has 12 examples, but y.txt 13 labels"),
        case("no labels, a file beside", CODES, "y.npy", options={}, error="Did you mean --labels y.npy?"),
        case("no labels", CODES, "other.npy", options={}, error="has no labels: an npy file holds one array"),
        case(
            "a file of labels that does not exist",
            CODES,
            "y.npy",
            options={"labels": "z.npy"},
            error="z.npy (--labels)",
        ),
        Case(
            NPY, "a folder of npy files", "d", folder_of(X=FEATURES, y=CODES), labels=NUMBERED, kinds=(4,), shown=True
        ),
        Case(
            NPY,
            "a folder of a training and a test part",
            "d",
            folder_of(**parts),
            labels=NUMBERED[:HALF],
            test=NUMBERED[HALF:],
            kinds=(4,),
            shown=True,
        ),
        Case(NPY, "a folder without labels", "d", folder_of(X=FEATURES, z=FEATURES), error="d has no labels"),
        Case(
            NPY,
            "a header that is never closed",
            "X.npy",
            text("X.npy", b"\x93NUMPY\x01\x00\x20\x00{'descr': '<f8', 'shape': (12, (\n"),
            {"labels": "X.npy"},
            error="not an npy file: no header",
        ),
        Case(NPY, "no npy", "X.npy", text("X.npy", "x"), {"labels": "X.npy"}, error="is truncated or not an npy file"),
    ]


def _sparse() -> list[Case]:
    matrix = scipy.sparse.csr_array(np.where(FEATURES > 0, FEATURES, 0))

    def saved(made: Any, *, damage: bool = False) -> Callable[[Path], Any]:
        def make(folder: Path) -> None:
            made.indices = made.indices + 99 if damage else getattr(made, "indices", None)
            scipy.sparse.save_npz(folder / "a.npz", made)
            (folder / "y.txt").write_text("\n".join(LABELS) + "\n")

        return make

    one: dict[str, Any] = {"group": SPARSE, "source": "a.npz", "options": {"labels": "y.txt"}, "kinds": (4,)}
    broken, backwards = matrix.copy(), matrix.copy()
    backwards.indptr[-1] = -(2**31)
    return [
        Case(name="`scipy.sparse.save_npz`, rows", make=saved(matrix.copy()), shown=True, **one),
        Case(name="columns", make=saved(matrix.tocsc()), **one),
        Case(
            name="coordinates",
            make=lambda f: (saved(matrix.copy())(f), scipy.sparse.save_npz(f / "a.npz", matrix.tocoo())),
            **one,
        ),
        Case(
            name="blocks",
            error="of the form 'bsr'",
            make=lambda f: (saved(matrix.copy())(f), scipy.sparse.save_npz(f / "a.npz", matrix.tobsr())),
            **one,
        ),
        Case(
            name="an index out of bounds", make=saved(broken, damage=True), error="holds a damaged sparse matrix", **one
        ),
        Case(name="a row that ends before it begins", make=saved(backwards), error="index pointers decrease", **one),
        Case(name="no labels", make=saved(matrix.copy()), error="has no labels", **one | {"options": {}}),
    ]


def _tensors() -> list[Case]:
    def case(name: str, tensors: dict[str, torch.Tensor], **more: Any) -> Case:
        shown = {"labels": NUMBERED, "kinds": (4,)} | more
        return Case(TENSORS, name, "a.safetensors", lambda f: save_file(tensors, f / "a.safetensors"), **shown)

    X, y = torch.from_numpy(FEATURES).contiguous(), torch.from_numpy(CODES)
    parts = {
        "train_x": X[:HALF].clone(),
        "train_y": y[:HALF].clone(),
        "test_x": X[HALF:].clone(),
        "test_y": y[HALF:].clone(),
    }
    return [
        case("safetensors", {"X": X, "y": y}, shown=True),
        case("of bfloat16", {"embeddings": X.bfloat16(), "labels": y}),
        case("a training and a test part", parts, labels=NUMBERED[:HALF], test=NUMBERED[HALF:]),
        case("names of your own", {"clip": X, "genre": y}, options={"inputs": "clip", "label": "genre"}, shown=True),
        case("one-hot labels", {"X": X, "y": torch.from_numpy(ONE_HOT).contiguous()}, says=["is one-hot"]),
        case("no label", {"X": X}, error="has no labels; it holds 'X'"),
        Case(TENSORS, "no safetensors", "a.safetensors", text("a.safetensors", "x"), error="not a safetensors file"),
    ]


CASES = [*_names(), *_kinds(), *_npy(), *_sparse(), *_tensors()]
