"""Data sets by name, `datasets:NAME`, from the library's own cache: no test asks a network."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sys
import time

import numpy as np
import pytest

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data import _place
from selfdistill.data._place import is_there
from selfdistill.data._read import read

datasets = pytest.importorskip("datasets")
constants = pytest.importorskip("huggingface_hub").constants


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A cache that holds somebody/flowers with the splits train and test, a hub that is not reached, and no retries."""

    class Unreachable:
        def head(self, url, timeout):
            raise OSError(f"{url} is not reached in {timeout} s")

    cache = tmp_path / "cache"
    rng = np.random.default_rng(0)
    for split, n in (("train", 40), ("test", 10)):
        label = rng.integers(2, size=n)
        rows = [f"{3 * y + v:.3f},{w:.3f},{'ab'[y]}" for y, v, w in zip(label, *rng.normal(size=(2, n)), strict=True)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["width,length,label", *rows]) + "\n")
    files = {split: str(tmp_path / f"{split}.csv") for split in ("train", "test")}
    made = datasets.load_dataset("csv", data_files=files, cache_dir=str(cache / "made"))
    folder = cache / "somebody___flowers" / "default" / "0.0.0" / ("0" * 40)
    folder.mkdir(parents=True)
    for split, one in made.items():
        (file,) = one.cache_files
        shutil.copy(file["filename"], folder / f"flowers-{split}.arrow")
    info = json.loads((next((cache / "made").rglob("dataset_info.json"))).read_text())
    message = json.dumps(info | {"builder_name": "parquet", "dataset_name": "flowers", "config_name": "default"})
    (folder / "dataset_info.json").write_text(message.replace("csv-", "flowers-"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr("huggingface_hub.get_session", Unreachable)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits {seconds} s for a network"))
    _place._loaded.cache_clear()
    yield tmp_path
    assert not constants.HF_HUB_OFFLINE
    assert not datasets.config.HF_HUB_OFFLINE
    _place._loaded.cache_clear()


@pytest.mark.filterwarnings("ignore")  # of the library: it tells that it takes what is cached
def test_a_data_set_is_read_by_name_and_split(cached):
    assert is_there("datasets:somebody/flowers")
    data = read("datasets:somebody/flowers", ReadOptions())
    assert (len(data), data.classes) == (40, ("a", "b"))
    assert len(read("datasets:somebody/flowers::test", ReadOptions())) == 10
    with pytest.raises(DataError, match=r"has no split 'dev'. There are: 'train', 'test'"):
        read("datasets:somebody/flowers::dev", ReadOptions())


@pytest.mark.filterwarnings("ignore")
def test_a_run_is_fitted_tested_and_refined_by_name(cached, monkeypatch, cli):
    monkeypatch.chdir(cached)
    output = ""
    for command in (
        ["fit", "datasets:somebody/flowers", "--epochs", "2", "--network", "mlp:4"],
        ["refine", "runs/flowers-001", "--relabel", "--out", "new"],
    ):
        code, out, err = cli(*command)
        assert code == 0, err
        output += out + err
    assert "%  test " in output  # of the split test
    with _place._offline_if_unreachable():
        old = datasets.load_dataset("somebody/flowers", split="train")
    new = datasets.load_from_disk(cached / "new")
    assert new.features.keys() == old.features.keys() | {"refined_label"}
    assert new["label"] == old["label"]


@pytest.mark.filterwarnings("ignore")
def test_without_a_network_the_line_says_what_to_do(cached):
    with pytest.raises(DataError, match=r"^datasets:no/where cannot be loaded: .*no/where.*Without a network, load it"):
        read("datasets:no/where", ReadOptions())


@pytest.mark.parametrize("name", ["datasets:", "datasets:::train"])
def test_an_empty_name_is_told(name):
    with pytest.raises(DataError, match=r"datasets: names no data set. Name it after the colon, such as datasets:OW"):
        read(name, ReadOptions())


def test_retries_of_the_library_do_not_reach_the_terminal(monkeypatch, caplog):
    def fail(*_):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise ConnectionError("no network")

    monkeypatch.setattr(_place, "_offline_if_unreachable", contextlib.nullcontext)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    level = logging.getLogger("huggingface_hub").level
    with pytest.raises(DataError, match="no/retries cannot be loaded: no network"):
        read("datasets:no/retries", ReadOptions())
    assert not caplog.records
    assert logging.getLogger("huggingface_hub").level == level


def test_without_the_library_the_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    _place._loaded.cache_clear()
    with pytest.raises(DataError, match=r"datasets:a/b needs the library datasets. pip install 'selfdistill\[hf\]'"):
        read("datasets:a/b", ReadOptions())
