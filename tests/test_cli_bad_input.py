"""Whatever is wrong with what was given: one line with the value and the way out, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import shutil
import struct
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfdistill._core.record import write_json_record
from selfdistill.cli import main

FEW = ["--epochs", "2", "--network", "mlp:4"]


def cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run what must fail; return the one line."""
    before = sorted(str(p) for p in Path().rglob("*"))
    code, out, err = cli(capsys, *arguments)
    last = err.splitlines()[-1]
    assert code == 2, err
    assert out == ""
    assert [line for line in err.splitlines() if line.startswith("error")] == [last]
    assert "Traceback" not in err
    assert sorted(str(p) for p in Path().rglob("*")) == before, "something was left behind"
    return last


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(n: int = 24) -> list[list[str]]:
    rng = np.random.default_rng(0)
    return [[str(i), f"{rng.normal():.3f}", f"{rng.normal():.3f}", "ab"[i % 2]] for i in range(n)]


def table(change: Callable[[list[list[str]]], object] = lambda r: None, name: str = "t.csv") -> str:
    body = rows()
    change(body)
    Path(name).write_text("\n".join(",".join(row) for row in [["key", "x", "z", "label"], *body]) + "\n")
    return name


def put(row: int, column: int, value: str) -> Callable[[list[list[str]]], object]:
    return lambda body: body[row].__setitem__(column, value)


def ids(body: list[list[str]]) -> None:
    body += [[str(i), "1", "1", "ab"[i % 2]] for i in range(24, 60)]


def one_class(body: list[list[str]]) -> None:
    for row in body:
        row[3] = "a"


def folder(sizes: dict[str, tuple[int, int]] | None = None) -> str:
    for i in range(8):
        place = Path("photos") / "ab"[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        size = (sizes or {}).get(place.name, (6, 6))
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (*size, 3), np.uint8)).save(place)
    return "photos"


def bad_image() -> str:
    folder()
    Path("photos/a/4.png").write_bytes(b"\x89PNG nothing more")
    return "photos"


def npz(X: np.ndarray, y: np.ndarray) -> str:
    np.savez("d.npz", X=X, y=y)
    return "d.npz"


def nan_array() -> str:
    X = np.zeros((6, 2))
    X[3, 1] = np.nan
    return npz(X, np.arange(6) % 2)


def objects() -> str:
    np.savez("d.npz", X=np.zeros((2, 2)), y=np.array(["a", {"b": 1}], dtype=object))
    return "d.npz"


def idx(images: int = 6, labels: int = 6, cut: int = 0) -> str:
    Path("idx").mkdir()
    pixels = struct.pack(">4I", 0x803, images, 4, 4) + bytes(images * 16)
    Path("idx/train-images-idx3-ubyte").write_bytes(pixels[: len(pixels) - cut])
    Path("idx/train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, labels) + bytes(range(labels)))
    return "idx"


def huge_field() -> str:
    Path("t.csv").write_text("x,label\n1,a\n" + "9" * (2**20 + 1) + ",b\n")
    return "t.csv"


def huge_image() -> str:
    folder()
    Image.new("1", (10_000, 10_000)).save("photos/b/huge.png")
    return "photos"


def no_grey() -> str:
    folder()
    Image.fromarray(np.full((6, 6), -1, np.float32)).save("photos/a/no.tif")
    return "photos"


def raw(content: bytes) -> str:
    Path("t.csv").write_bytes(content)
    return "t.csv"


def near_miss() -> str:
    table(name="songs.csv")
    return "song.csv"


def document() -> str:
    Path("t.docx").write_text("x")
    return "t.docx"


BAD_DATA = {
    "missing file": (near_miss, [], "song.csv does not exist. Did you mean 'songs.csv'?"),
    "unknown kind of file": (document, [], "t.docx is of an unknown kind (.docx)"),
    "unknown column": (table, ["--label", "labl"], "has no column 'labl' (--label). Did you mean 'label'?"),
    "unknown column to ignore": (table, ["--ignore", "zz"], "has no column 'zz' (--ignore)"),
    "ids as labels": (lambda: table(ids), ["--label", "key"], "no two of the 60 labels of t.csv are alike ('0', '1', "),
    "one class": (lambda: table(one_class), [], "hold only the class 'a', but training needs at least 2 classes"),
    "missing label": (lambda: table(put(3, 3, "")), [], "no label in 1 of 24 rows: 3 "),
    "infinite feature": (lambda: table(put(5, 1, "inf")), [], "column 'x' holds an infinite value in row 5"),
    "array with NaN": (nan_array, [], "NaN in row 3, column 1"),
    "array with objects": (objects, [], "holds Python objects, which are not read: they could run code"),
    "repeated id": (lambda: table(put(7, 0, "2")), ["--id", "key"], "repeats the id '2' (rows 2 and 7)"),
    "unreadable image": (bad_image, [], "1 of 8 images cannot be read: photos/a/4.png"),
    "grey values below 0": (no_grey, [], "a/no.tif holds grey values from -1 to -1, but they must be 0 to 65,535"),
    "IDX counts differ": (lambda: idx(6, 5), [], "holds 6 images, but train-labels-idx1-ubyte holds 5 labels"),
    "truncated IDX": (lambda: idx(cut=10), [], "is truncated: it should hold 96 more bytes here, but ends after 86"),
    "huge field": (huge_field, [], "field 1 has 1,048,577 characters, more than 1,048,576"),
    "huge image": (huge_image, [], "10,000 x 10,000 pixels, but at most 64,000,000 are read"),
    "a workbook": (lambda: raw(b"PK\x03\x04\x00" + bytes(range(256))), [], "workbook or an archive, not a CSV file"),
    "NUL bytes": (lambda: raw(b"x,label\n1,a\x00\n2,b\n"), [], "t.csv is not a text file: it holds NUL bytes. Export"),
    "another encoding": (lambda: raw(b"x,label\n1,\xe4\n2,b\n"), ["--encoding", "utf-8"], "byte 0xe4 cannot be read."),
    "the folder of the data": (lambda: (table(), ".")[1], [], "but 1 file of data. Name one of them, such as t.csv."),
    "the root": (lambda: "/", [], "/ is the root of the file system. Name the file or folder that holds your data."),
    "empty folder": (lambda: (Path("none").mkdir(), "none")[1], [], "the folder none is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(case, capsys):
    make, options, message = BAD_DATA[case]
    assert message in refused(capsys, "fit", make(), *options, *FEW)


BAD_SETTINGS = {
    "--epochs 0": "epochs is 0, but must be at least 1",
    "--epochs 1e21": "Invalid value for '--epochs': '1e21' is not a whole number.",
    f"--epochs {10**21}": f"--epochs is {10**21}, but must be at most 1,000,000. Leave it out",
    "--network mlp:99999999999": "GiB",
    "--batch-size 1": "--batch-size is 1, but must be at least 2",
    "--lr nan": "lr is nan, but must be finite and above 0",
    "--lr -1": "lr is -1.0, but must be finite and above 0",
    "--precision fp16": "precision is 'fp16'. Choose one of auto, fp32, bf16.",
    "--method selfdistil": "method 'selfdistil' does not exist. Did you mean selfdistill?",
    "--network foo": "network 'foo'",
    "--augment flop": "augment",
    "--device cuda:99": "device 'cuda:99' is not available. Choose --device auto or cpu.",
    "--device quantum": "device 'quantum' is unknown",
    "--test nothing.csv": "nothing.csv does not exist",
    "--seed -1": "seed is -1, but must be at least 0",
    "--image-size 8": "--image-size 8 does not apply: t.csv is a table",
    "--epochs many": "Invalid value for '--epochs'",
    "--nonsense": "No such option: --nonsense",
    "--resume nowhere": "nowhere is not a run directory: it has no run.json",
}


@pytest.mark.parametrize("options", BAD_SETTINGS)
def test_bad_settings(options, capsys):
    few = [] if options.startswith(("--epochs", "--network")) else FEW
    assert BAD_SETTINGS[options] in refused(capsys, "fit", table(), *few, *options.split())


@pytest.mark.parametrize("options", ["--label y", "--id y", "--ignore y", "--image-size 8", "--test t.csv"])
def test_the_built_in_digits_take_no_options_about_data(options, capsys):
    line = refused(capsys, "fit", *FEW, *options.split())
    flag = options.split()[0]
    assert f"{flag} does not apply to the built-in digits" in line
    assert f"selfdistill fit SOURCE {flag}" in line


def test_an_out_that_holds_another_run_is_left_alone(capsys):
    source = table()
    assert cli(capsys, "fit", source, *FEW, "--out", "mine")[0] == 0
    before = {p: p.read_bytes() for p in Path("mine").rglob("*") if p.is_file()}
    assert "mine already holds a run. Choose another --out" in refused(capsys, "fit", source, *FEW, "--out", "mine")
    assert before == {p: p.read_bytes() for p in Path("mine").rglob("*") if p.is_file()}


def test_an_out_that_is_a_file_or_holds_files_is_left_alone(capsys):
    source = table()
    assert f"{source} is a file. Choose another --out" in refused(capsys, "fit", source, *FEW, "--out", source)
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    assert "mine already holds files" in refused(capsys, "fit", source, *FEW, "--out", "mine")


def test_no_room_on_disk(capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 2**20, 2**20))
    line = refused(capsys, "fit", table(), *FEW)
    assert "has 1 MiB free, but the run needs about 16 MiB. Free space or choose another folder with --out." in line


def test_a_folder_that_may_not_be_written(capsys, monkeypatch):
    source = table()

    def mkdir(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    line = refused(capsys, "fit", source, *FEW, "--out", "locked")
    assert line.startswith("error: locked: Permission denied. Choose a place that you may read and write")


def test_a_mistake_of_our_own_keeps_its_traceback(monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr("selfdistill.runs._request.start", broken)
    with pytest.raises(ZeroDivisionError):
        main(["fit"])


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> str:
    assert cli(capsys, "fit", table(), "--id", "key", *FEW, "--out", "run")[0] == 0
    return "run"


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("x", "1", "the feature columns differ from training: missing 'z'"),
        ("x,z,more", "1,2,3", "not known from training: 'more'"),
        ("x,z,label", "1,2,c", "holds the class 'c' (row 0"),
        ("x,z", "1,inf", "column 'z' holds an infinite value"),
        ("x,z", "1,many", "column 'z' holds numbers, but row 0"),
    ],
)
def test_new_data_that_do_not_fit(run, capsys, header, row, message):
    Path("new.csv").write_text(f"key,{header}\n1,{row}\n")
    assert message in refused(capsys, "predict", run, "new.csv")


def test_predict_wants_a_finished_run_and_a_place_to_write(run, capsys):
    assert "nowhere is not a run directory" in refused(capsys, "predict", "nowhere", "t.csv")
    assert "no.csv does not exist" in refused(capsys, "predict", run, "no.csv")
    assert "ends in '.xlsx'" in refused(capsys, "predict", run, "t.csv", "--out", "p.xlsx")
    assert "the folder far does not exist" in refused(capsys, "predict", run, "t.csv", "--out", "far/p.csv")
    assert "batch_size is 0" in refused(capsys, "predict", run, "t.csv", "--batch-size", "0")
    assert "device 'cuda:99' is not available" in refused(capsys, "predict", run, "t.csv", "--device", "cuda:99")
    record = json.loads(Path("run/run.json").read_text())
    write_json_record(Path("run"), record | {"status": "interrupted"})
    assert "selfdistill fit --resume run" in refused(capsys, "predict", run, "t.csv")


def test_predictions_overwrite_nothing_unless_told(run, capsys):
    Path("p.csv").write_text("mine")
    Path("p.parquet").mkdir()
    line = refused(capsys, "predict", run, "t.csv", "--out", "p.csv")
    assert line == "error: --out p.csv exists already. Choose another name, or overwrite it with --force."
    assert Path("p.csv").read_text() == "mine"
    assert "--out p.parquet is a folder" in refused(capsys, "predict", run, "t.csv", "--out", "p.parquet", "--force")
    assert cli(capsys, "predict", run, "t.csv", "--out", "p.csv", "--force")[0] == 0
    assert Path("p.csv").read_text().startswith("id,predicted_label")


def test_categories_that_training_never_saw_are_counted(capsys):
    Path("c.csv").write_text("colour,label\n" + "red,a\nblue,b\n" * 12)
    assert cli(capsys, "fit", "c.csv", *FEW, "--out", "run")[0] == 0
    Path("new.csv").write_text('colour\ngreen\nred\n""\ngreen\npink\n')
    code, out, err = cli(capsys, "predict", "run", "new.csv")
    assert (code, len(out.splitlines())) == (0, 6)
    message = "warning: column 'colour' holds categories that were not in training in 3 of 5 rows, such as 'green'; "
    assert message + "they count as missing." in err.splitlines()
    assert "warning" not in cli(capsys, "predict", "run", "c.csv")[2]


def test_a_damaged_model_is_refused(run, capsys):
    model = Path("run/model.safetensors")
    model.write_bytes(model.read_bytes()[:-5])
    assert "run/model.safetensors is damaged" in refused(capsys, "predict", run, "t.csv")


NOISE = {
    "": "no kind of noise is given. Choose one: --symmetric RATE (any other class), --pair RATE",
    "--pair 0.1 --instance 0.1": "2 kinds of noise are given. Choose one",
    "--symmetric 0.4": "say which",
    "--pair 0.4 --include-clean": "belong together",
    "--pair 0.1 --seed -1": "seed is -1, but must be at least 0",
    "--pair 1.5": "noise rate 1.5 is not in [0, 1]",
    "--pair nan": "noise rate nan is not in [0, 1]",
    "--matrix none.csv": "none.csv",
    "--pair 0.1 --label labl": "has no column 'labl'",
}


@pytest.mark.parametrize("options", NOISE)
def test_bad_noise(options, capsys):
    assert NOISE[options] in refused(capsys, "noise", table(), "--out", "noisy.csv", *options.split())


def test_ways_out_name_options_of_the_command_only(run, capsys):
    line = refused(capsys, "noise", table(put(3, 3, "")), "--out", "noisy.csv", "--pair", "0.1")
    assert line.endswith("rows: 3 (from 0). Fill them in.")
    Path("new.csv").write_text("x,z\n1,inf\n")
    line = refused(capsys, "predict", run, "new.csv")
    assert line.endswith("empty the cell, or train without the column, with --ignore z.")
    Path("new.csv").write_text("x,z\n1,many\n")
    assert refused(capsys, "predict", run, "new.csv").endswith("empty it (missing numbers are imputed).")


def test_noise_overwrites_nothing(capsys):
    source = table()
    assert "t.csv exists already" in refused(capsys, "noise", source, "--out", source, "--pair", "0.1")


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        ("0.9,0.1\n", "labels of 1 class"),
        ("0.5,0.5,0\n0.1,0.9,0\n0,0,1\n", "matrix of 3 classes, but the data have 2"),
        ("0.5,0.5\n0.5,0.5\n", "forward"),
    ],
)
def test_a_noise_matrix_that_does_not_fit_leaves_nothing_behind(capsys, matrix, text):
    Path("T.csv").write_text(matrix)
    method = "backward" if text == "forward" else "forward"
    asked = ["fit", table(), *FEW, "--label", "label", "--method", method, "--noise-matrix", "T.csv", "--out", "run"]
    assert text in refused(capsys, *asked)


def test_what_a_method_cannot_use_is_refused_with_those_that_can(capsys):
    line = refused(capsys, "fit", table(), *FEW, "--label", "label", "--noise-rate", "0.4", "--out", "run")
    problem = "--method auto, the default, chooses selfdistill here: method 'selfdistill' takes no --noise-rate. "
    assert line == f"error: {problem}Leave it out, or choose a method that takes it: co-teaching."
    assert refused(capsys, "fit", "--noise-rate", "0.4", "--out", "run") == line  # of the built-in digits
    line = refused(capsys, "fit", table(), "--method", "elr", "--noise-rate", "0.4", "--out", "run")
    assert line.startswith("error: method 'elr' takes no --noise-rate. ")
    line = refused(capsys, "fit", table(), "--method", "co-teaching", "--noise-rate", "1.4", "--out", "run")
    assert "--noise-rate is 1.4, but must be in [0, 1)" in line
