"""Several processes fill one store: the files of one process, byte for byte, also after a kill; none waits in vain."""

from __future__ import annotations

import os
import subprocess
import sys
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
    script, group = tmp_path / "script.py", tmp_path / f"group{kill}"
    script.write_text(SCRIPT)
    group.mkdir()
    shared = os.environ | {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", GROUP: str(group), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(script), str(store), str(Path(__file__).parent), str(tmp_path), kill]
    started = [
        subprocess.Popen(command, env=shared | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    messages = [one.communicate(timeout=60)[1] for one in started]
    return [one.returncode for one in started], messages


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


def photos(folder):
    rng = np.random.default_rng(0)
    for number in range(600):
        place = folder / "ab"[number % 2] / f"{number:03}.bmp"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 4 + number % 3, 3), np.uint8)).save(place)


@pytest.mark.slow
def test_embed_under_torchrun(tmp_path):
    """The same command, alone and in two processes; where one fails, its line is said and both end."""
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
    assert messages[0] == messages[1]
    assert len(messages[0]) == 2
    assert "photos of the first process: 32 of 512" in two.stderr
    failed = embed(PAIR, "Bad", "three")
    assert failed.returncode
    assert "error (process 1): encoder 'torch:mine:Bad' gives numbers that are not finite for" in failed.stderr
    assert "photos/" in failed.stderr
