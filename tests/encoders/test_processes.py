"""Several processes fill one store: the files of one process, byte for byte, also after a kill; none waits in vain."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfdistill._core.wording import GROUP
from selfdistill.encoders._store import FeatureStore, key_of

# Of 1,700 texts in files of 512 two cannot be prepared, one in a file of each process, and the last file is short.
SCRIPT = """
import os, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[2])
from test_processes import BAD, Lengths, filled
from selfdistill._core import dist
from selfdistill.encoders._store import PROGRESS, FeatureStore
from selfdistill.train._runtime import process_group

with process_group("cpu"):
    encoder, killed = Lengths(), os.environ["RANK"] == sys.argv[4]
    PROGRESS.set(lambda kind, done, total: os._exit(9) if killed and done >= 600 else None)
    bad, found = filled(FeatureStore(Path(sys.argv[1]), encoder))
    assert sorted(bad) == sorted(BAD), bad
    np.save(f"{sys.argv[3]}/{dist.rank()}.npy", found)
    Path(f"{sys.argv[3]}/{dist.rank()}.txt").write_text(str(encoder.seen) + "; ".join(map(str, bad.values())))
"""
DIGESTS = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_processes import Lengths
from selfdistill._core import dist
from selfdistill.data._pictures import through_store
from selfdistill.encoders._store import FeatureStore
from selfdistill.train._runtime import process_group

read, reads = Path.read_bytes, []
Path.read_bytes = lambda path: reads.append(path.name) or read(path)
def prepare(file):
    word, number, *rest = file.read_text().split(" ")
    return " ".join([word, number, *rest])
with process_group("cpu"):
    files = [Path(sys.argv[4 if dist.rank() else 3]) / f"{number}.txt" for number in range(9)]
    store = FeatureStore(Path(sys.argv[1]), Lengths())
    array, places, bad = through_store(files, "here", store, prepare, True)
    found = {"features": array.tolist(), "places": places, "bad": bad, "reads": reads}
    Path(f"{sys.argv[1]}-{dist.rank()}.json").write_text(json.dumps(found))
"""
CELLS, BAD = [f"word {number} {'a' * (number % 7)}" for number in range(1700)], (70, 1000)
PAIR = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "selfdistill", "embed"]
NETWORK = """
import os, torch
class Good(torch.nn.Flatten):
    side = 4
class Bad(Good):
    def forward(self, x):
        return super().forward(x) * (float("nan") if os.environ.get("RANK") == "1" and x.any() else 1)
"""


class Lengths:
    kind, name, fingerprint, dimension, side, seen = "texts", "lengths", "f" * 64, 2, 0, 0

    def encode(self, prepared):
        self.seen += len(prepared)
        return np.array([[len(one), int(one.split()[1])] for one in prepared], np.float32)


def filled(store):
    def prepare(place):
        if place in BAD:
            raise ValueError(f"{place} is damaged")
        return CELLS[place]

    keys = [key_of(cell.encode()) for cell in CELLS]
    bad = store.fill(CELLS, keys, prepare)
    return bad, store.gather([key for place, key in enumerate(keys) if place not in bad])


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_two(tmp_path, store, kill=""):
    """Start both; they find each other by a file."""
    return started(tmp_path, SCRIPT, store, tmp_path, kill)


def started(tmp_path, content, store, *more, processes=2):
    script, group = tmp_path / "script.py", Path(tempfile.mkdtemp(dir=tmp_path))
    script.write_text(content)
    world = str(processes)
    shared = os.environ | {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, GROUP: str(group), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", script, store, Path(__file__).parent, *more]
    running = [
        subprocess.Popen(command, env=shared | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in map(str, range(processes))
    ]
    messages = [one.communicate(timeout=120)[1] for one in running]
    return [one.returncode for one in running], messages


@pytest.mark.parametrize("kill", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_processes_write_the_files_of_one(tmp_path, kill):
    _, alone = filled(FeatureStore(tmp_path / "one", Lengths()))
    good = [cell for place, cell in enumerate(CELLS) if place not in BAD]
    np.testing.assert_array_equal(alone, Lengths().encode(good))
    if kill:  # the second process dies in its second file
        codes, messages = in_two(tmp_path, tmp_path / "two", kill="1")
        assert (codes[0] > 0, codes[1]) == (True, 9)
        assert "another process of this run has ended" in messages[0]
        kept = files(tmp_path / "two")
        assert len(kept) == 4
        assert kept.items() <= files(tmp_path / "one").items()
    codes, messages = in_two(tmp_path, tmp_path / "two")
    assert codes == [0, 0], messages
    assert files(tmp_path / "two") == files(tmp_path / "one")
    for rank in range(2):
        np.testing.assert_array_equal(np.load(tmp_path / f"{rank}.npy"), alone)
    seen = [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)]
    counts = (164, 0) if kill else (1024 - 1, 1700 - 1024 - 1)
    assert seen == [f"{count}70 is damaged; 1000 is damaged" for count in counts]


def text_files(folder):
    """Nine files, of which two are equal, one is empty and one is missing."""
    folder.mkdir()
    for number in range(9):
        text = "" if number == 4 else f"word {number % 8} {'a' * (number % 8)}"
        if number != 5:
            (folder / f"{number}.txt").write_text(text)


def test_each_file_is_read_for_its_digest_by_one_process(tmp_path):
    text_files(tmp_path / "texts")
    found = {}
    for name, processes in (("one", 1), ("two", 2)):
        texts = [tmp_path / "texts"] * 2
        codes, messages = started(tmp_path, DIGESTS, tmp_path / name, *texts, processes=processes)
        assert codes == [0] * processes, messages
        found[name] = [json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in range(processes)]
    [alone], pair = found["one"], found["two"]
    assert alone["places"] == [0, 1, 2, 3, 6, 7, 8]
    why = {4: "not enough values to unpack (expected at least 2, got 1)", 5: "No such file or directory"}
    assert alone["bad"] == [f"{tmp_path / 'texts' / f'{place}.txt'} ({reason})" for place, reason in why.items()]
    for one in pair:
        assert [one[part] for part in ("features", "places", "bad")] == [
            alone[part] for part in ("features", "places", "bad")
        ]
    names = [f"{number}.txt" for number in range(9)]
    assert (pair[0]["reads"], pair[1]["reads"], alone["reads"]) == (names[::2], names[1::2], names)
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("change", ["size", "missing"])
def test_processes_that_see_other_files_say_so(tmp_path, change):
    for name in ("here", "there"):
        text_files(tmp_path / name)
    if change == "size":
        (tmp_path / "there" / "2.txt").write_text("word 2 a")
    else:
        (tmp_path / "there" / "2.txt").unlink()
    codes, messages = started(tmp_path, DIGESTS, tmp_path / "store", tmp_path / "here", tmp_path / "there")
    assert codes == [1, 1]
    for one in messages:
        assert "DataError: the processes do not see the same images in here. Name a place that all machines" in one


def photos(folder):
    rng = np.random.default_rng(0)
    for number in range(600):
        place = folder / "ab"[number % 2] / f"{number:03}.bmp"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 4 + number % 3, 3), np.uint8)).save(place)


@pytest.mark.slow
def test_embed_under_torchrun(tmp_path):
    """The same command, alone and in two processes; where one fails, its line is printed and both end."""
    photos(tmp_path / "photos")
    (tmp_path / "mine.py").write_text(NETWORK)

    def embed(start, network, out):
        command = [sys.executable, *start, "photos", "--encoder", f"torch:mine:{network}", "--out", out]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    one, two = embed(["-m", "selfdistill", "embed"], "Good", "one"), embed(PAIR, "Good", "two")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert len(files(tmp_path / "one")) == 3
    messages = [[line for line in done.stderr.splitlines() if not line.startswith("photos")] for done in (one, two)]
    assert messages[0] == [line.replace("two", "one") for line in messages[1]]
    assert messages[0][-1].startswith("Features are in one.")
    assert "photos of the first process: 32 of 512" in two.stderr
    failed = embed(PAIR, "Bad", "three")
    assert failed.returncode
    assert "error (process 1): encoder 'torch:mine:Bad' gives numbers that are not finite for" in failed.stderr
    assert "photos/" in failed.stderr


def machines(tmp_path, *command):
    """Run a command on two machines of one process each: here two launchers, which meet at a port."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    meet = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "job"]
    meet += ["--rdzv-endpoint", f"localhost:{port}"]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *meet, "--node-rank", node, *command],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in "01"
    ]
    messages = [one.communicate(timeout=240) for one in running]
    assert [one.returncode for one in running] == [0, 0], messages


@pytest.mark.slow
def test_two_machines_leave_the_files_of_one(tmp_path):
    """Features, the store that a fit fills by itself, and what the fit finds, which is in closed form: all the same."""
    photos(tmp_path / "photos")
    (tmp_path / "mine.py").write_text(NETWORK)
    embed = ["-m", "selfdistill", "embed", "photos", "--encoder", "torch:mine:Good", "--out"]
    fit = ["-m", "selfdistill", "fit", "photos", "--encoder", "torch:mine:Good", "--features"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for command in ([*embed, "one"], [*fit, "fit-one", "--out", "run-one"]):
        subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, check=True, capture_output=True)
    machines(tmp_path, *embed, "two")
    machines(tmp_path, *fit, "fit-two", "--out", "run-two")
    one = files(tmp_path / "one")
    assert len(one) == 3
    for folder in ("two", "fit-one", "fit-two"):
        assert files(tmp_path / folder) == one, folder
    for name in ("labels.parquet", "model.safetensors"):
        assert (tmp_path / "run-two" / name).read_bytes() == (tmp_path / "run-one" / name).read_bytes(), name
