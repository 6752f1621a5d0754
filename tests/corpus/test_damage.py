"""Damaged files of every format are read or refused in one line: bytes changed, left out, doubled, or cut."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest
from tests.corpus.all_cases import CASES
from tests.corpus.case import Case

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._read import read

WHOLE = [case for case in CASES if case.shown and not case.source.startswith("~")]
TIMES = 3


def damage(content: bytes, rng: random.Random) -> bytes:
    """Change a few bytes, or cut."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 4, 16])):
        place = rng.randrange(len(data)) if data else 0
        match rng.randrange(5):
            case 0:
                data[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[place : place + rng.choice([1, 7, 100])]
            case 2:
                data[place:place] = data[place : place + rng.choice([1, 8, 64])]
            case 3:
                data[place:place] = rng.choice([b"\0", b"\n", b'"', b"\xff" * 8, b"9" * 30, b";,\t", b"\r\n\r\n"])
            case _:
                data[place : place + 1] = bytes([data[place] ^ 1 << rng.randrange(8)]) if data else b""
    return bytes(data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.2 and data else data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", WHOLE, ids=[f"{case.group}: {case.name}" for case in WHOLE])
def test_damaged_files_are_read_or_refused(case: Case, tmp_path, monkeypatch):
    if case.needs and importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"{case.needs} is not installed")
    rng = random.Random(f"{case.group}{case.name}")
    for time in range(TIMES):
        folder = tmp_path / str(time)
        folder.mkdir()
        monkeypatch.chdir(folder)
        case.make(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        chosen: Path = rng.choice(files)
        chosen.write_bytes(damage(chosen.read_bytes(), rng))
        assert "\n" not in refusal(case)


def refusal(case: Case) -> str:
    """The error's text, or nothing."""
    try:
        read(case.source, ReadOptions(**case.options))
    except DataError as error:
        return str(error)
    return ""
