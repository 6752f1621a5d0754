"""A suite is a small TOML file: data, noise, networks, methods, seeds, settings, budget. A cell is one training."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.science import variants
from selfdistill import train
from selfdistill._core.errors import SettingError, one_line
from selfdistill.networks._build import resolve
from selfdistill.train._methods import METHODS
from selfdistill.train._methods import method as train_method

SUITES = Path(__file__).parent / "suites"
_CALLED = ("music", "trec", "semeval")
WEAK = (*_CALLED, *(f"{name}-development" for name in _CALLED))  # wrong labels as people and labelling rules made them
DATA = ("digits", "fashion", "fashion-all", "fashion-development", "cifar10", "cifar10-development", *WEAK)
HUMAN = {"human-aggre": "aggre_label", "human-random1": "random_label1", "human-worse": "worse_label"}
DRAWN = ("symmetric", "pair", "instance", "asymmetric")
FIRST = ("cross-entropy", "selfdistill")
_KEYS = ("title", "data", "examples", "holdout", "noise", "networks", "methods", "seeds", "budget", "device")
_NEEDED = ("title", "data", "noise", "networks", "methods", "seeds", "budget")
_NOT_SHARED = {"method", "network", "seed", "device", "noise_rate", "noise_matrix"}
_SETTINGS = tuple(f.name for f in fields(train.Settings) if f.name not in _NOT_SHARED)

Cell = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of the tables: a method, and what it is told that others are not.

    Attributes:
        name: What the report calls it.
        method: One of ``train.METHODS``.
        options: Settings of this row alone; ``noise_rate`` and ``noise_matrix`` may be "oracle": taken from the truth.
        numbers: Hyper-parameters that differ from those of the method's paper, see `variants`.
    """

    name: str
    method: str
    options: dict[str, Any]
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def told(self) -> bool:
        """Whether it is told something about the noise that nobody knows of real data."""
        return any(key in self.options for key in ("noise_rate", "noise_matrix"))


@dataclass(frozen=True)
class Suite:
    """A suite, as read and checked.

    Attributes:
        name: Of the file, without its ending.
        title: Heading in the report.
        data: Names of data sets.
        noise: Kinds of noise; "given" for labels as they come, "clean" for the true ones.
        networks: Specifications, see ``selfdistill.networks.build``.
        rows: Methods with their options.
        seeds: Each seeds the choice of examples, the noise, the hold-out and the training.
        budget: Minutes after which no further cell is started.
        settings: Settings that all rows share.
        examples: Training examples; ``None``: all but the hold-out.
        holdout: Noisy hold-out examples; ``None``: a tenth of the training examples.
        device: Torch device of the trainings.
    """

    name: str
    title: str
    data: tuple[str, ...]
    noise: tuple[str, ...]
    networks: tuple[str, ...]
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    budget: float
    settings: dict[str, Any]
    examples: int | None = None
    holdout: int | None = None
    device: str = "cpu"

    def cells(self) -> list[Cell]:
        """List the cells in the order to run them: seed by seed, the two main rows first, then the cheap methods."""
        ranked = sorted(enumerate(self.rows), key=lambda item: (*_rank(item[1]), item[0]))
        return [
            {
                "suite": self.name,
                "data": data,
                "noise": noise,
                "network": network,
                "row": row.name,
                "method": row.method,
                "seed": seed,
                "examples": self.examples,
                "holdout": self.holdout,
                "settings": self.settings | row.options,
                "device": self.device,
            }
            | ({"numbers": row.numbers} if row.numbers else {})
            for seed in self.seeds
            for _, row in ranked
            for network in self.networks
            for data in self.data
            for noise in self.noise
        ]


def _rank(row: Row) -> tuple[int, int, int]:
    """Order rows: main ones, then by networks, by trainings, by passes per step."""
    main = FIRST.index(row.name) if row.name in FIRST else len(FIRST)
    found = METHODS.get(row.method)
    if found is None:
        return main, 0, 0
    first = found.first is not None
    return main, found.networks + first, int(found.objective is not METHODS["cross-entropy"].objective)


def record_key(cell: Cell) -> str:
    """Name the record of a cell."""
    parts = (cell["data"], cell["noise"], cell["network"], cell["row"], f"s{cell['seed']}")
    return "_".join(re.sub(r"[^a-z0-9.]+", "-", str(part).lower()).strip("-") for part in parts)


def suite_names(folder: Path = SUITES) -> list[str]:
    """List the suites there are."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def read_suite(name: str, folder: Path = SUITES) -> Suite:
    """Read a suite and check all but whether its methods exist, see `check_methods`."""
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise SettingError(f"suite {name!r} does not exist", nearest(name, suite_names(folder)))
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is no TOML: {one_line(error)}", "Mend that line.") from error
    settings, extra = table.pop("settings", {}), table.pop("rows", [])
    for key in table:
        if key not in _KEYS:
            raise SettingError(f"{path} has the unknown key {key!r}", nearest(key, (*_KEYS, "settings", "rows")))
    for key in _NEEDED:
        if key not in table:
            raise SettingError(f"{path} has no {key!r}", f"A suite needs {', '.join(_NEEDED)}.")
    _check_lists(path, table)
    _check_numbers(path, table)
    _check_settings(path, "settings", settings, _SETTINGS)
    suite = Suite(
        name=name,
        title=str(table["title"]),
        data=tuple(table["data"]),
        noise=tuple(table["noise"]),
        networks=tuple(table["networks"]),
        rows=(*(Row(m, m, {}) for m in table["methods"]), *_rows(path, extra)),
        seeds=tuple(table["seeds"]),
        budget=float(table["budget"]),
        settings=settings,
        examples=table.get("examples"),
        holdout=table.get("holdout"),
        device=table.get("device", "cpu"),
    )
    _check_together(path, suite)
    return suite


def _check_lists(path: Path, table: dict[str, Any]) -> None:
    for key, kind in (("data", str), ("noise", str), ("networks", str), ("methods", str), ("seeds", int)):
        value = table[key]
        if not isinstance(value, list) or not value or any(type(item) is not kind for item in value):
            raise SettingError(
                f"{path}: {key} is {value!r}", f"Give a list of {'numbers' if kind is int else 'texts'}."
            )
        twice = [item for item in value if value.count(item) > 1]
        if twice:
            raise SettingError(f"{path}: {key} names {twice[0]!r} twice", "Leave one out.")
    if min(table["seeds"]) < 0:
        raise SettingError(f"{path}: a seed is {min(table['seeds'])}, but must be at least 0", "Give whole numbers.")


def _check_numbers(path: Path, table: dict[str, Any]) -> None:
    for key, least in (("examples", 2), ("holdout", 1)):
        value = table.get(key)
        if value is not None and (type(value) is not int or value < least):
            raise SettingError(f"{path}: {key} is {value!r}, but must be at least {least}", "Give a whole number.")
    if type(table["budget"]) not in {int, float} or not table["budget"] > 0:
        raise SettingError(f"{path}: budget is {table['budget']!r}, but must be above 0", "Give minutes.")


def _check_settings(path: Path, where: str, given: Any, known: Collection[str]) -> None:
    if not isinstance(given, dict):
        raise SettingError(f"{path}: {where} is {given!r}", f"Write it as a table, [{where}].")
    for key in given:
        if key not in known:
            raise SettingError(f"{path}: {where} has the unknown key {key!r}", nearest(key, known))
    try:
        train.Settings(**{key: value for key, value in given.items() if value != "oracle"}).resolve(100, "cpu")
    except SettingError as error:
        raise SettingError(f"{path}: {where}: {error.problem}", error.hint) from error


def _rows(path: Path, extra: Any) -> list[Row]:
    if not isinstance(extra, list):
        raise SettingError(f"{path}: rows is {extra!r}", "Write each as a table, [[rows]].")
    found = []
    for row in extra:
        for key in ("name", "method"):
            if not isinstance(row.get(key), str):
                raise SettingError(f"{path}: a row has no {key}", "Give each of [[rows]] a name and a method.")
        options = {key: value for key, value in row.items() if key not in {"name", "method", "numbers"}}
        _check_settings(path, f"row {row['name']!r}", options, (*_SETTINGS, "noise_rate", "noise_matrix"))
        if options.get("noise_matrix", "oracle") != "oracle":
            raise SettingError(
                f"{path}: row {row['name']!r} names a file as noise_matrix", 'Only "oracle" is known here.'
            )
        numbers = row.get("numbers", {})
        if not isinstance(numbers, dict):
            raise SettingError(f"{path}: numbers of row {row['name']!r} is {numbers!r}", "Write { name = value }.")
        found.append(Row(row["name"], row["method"], options, numbers))
    return found


def _check_together(path: Path, suite: Suite) -> None:
    for name in suite.data:
        if name not in DATA:
            raise SettingError(f"{path}: data set {name!r} does not exist", nearest(name, DATA))
        for noise in suite.noise:
            if not fits(noise, name):
                raise SettingError(f"{path}: noise {noise!r} does not go with the data set {name!r}", _noise_of(name))
        for network in suite.networks:
            if name not in WEAK:
                resolve(network, (3, 32, 32))
    names = [record_key({"data": "", "noise": "", "network": "", "row": row.name, "seed": 0}) for row in suite.rows]
    for row, name in zip(suite.rows, names, strict=True):
        if names.count(name) > 1:
            raise SettingError(f"{path}: two rows would write to the same records, {row.name!r} is one", "Rename it.")


def fits(noise: str, data: str) -> bool:
    """Say whether a kind of noise goes with a data set."""
    if data in WEAK:
        return noise in {"given", "clean"}
    cifar = data.startswith("cifar10")
    if noise == "clean" or (cifar and noise in HUMAN):
        return True
    kind, _, percent = noise.rpartition("-")
    known = kind in DRAWN and (kind != "asymmetric" or cifar)
    return known and percent.isdecimal() and 0 < int(percent) < 100


def _noise_of(data: str) -> str:
    if data in WEAK:
        return 'Its labels are wrong as they come: write "given", or "clean" for the true ones.'
    human = f", {', '.join(HUMAN)}, asymmetric-40" if data.startswith("cifar10") else ""
    return f"Write for instance clean, symmetric-40, pair-40, instance-40{human}."


def check_methods(rows: Iterable[Row]) -> None:
    """Refuse methods that do not exist, and options that a method does not take."""
    for row in rows:
        found = train_method(row.method)
        if row.numbers:
            variants.check(row.method, row.numbers)
        for key in ("noise_rate", "noise_matrix"):
            if key in row.options and key not in found.takes:
                raise SettingError(f"row {row.name!r}: method {row.method!r} takes no {key}", "Leave it out.")


def nearest(name: str, known: Collection[str]) -> str:
    """Say which name may have been meant, and all there are."""
    near = difflib.get_close_matches(name, known, n=1)
    return (f"Did you mean {near[0]!r}? " if near else "") + f"Choose one of: {', '.join(known)}."
