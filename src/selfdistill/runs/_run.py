"""A run from Python: what the command line does, step by step, on the same run directories."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from selfdistill._core.advice import PYTHON, at
from selfdistill._core.air_options import AirOptions
from selfdistill._core.arguments import AirArguments, FitArguments
from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.options import listing_options, options_from
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_finished
from selfdistill._core.run_record import RunRecord
from selfdistill.runs._air import measure, write_closed, write_study
from selfdistill.runs._label_table import label_table
from selfdistill.runs._model_file import Model, load_model
from selfdistill.runs._predict import predict
from selfdistill.runs._refine import Refined, refine
from selfdistill.runs._request import FitRequest, start
from selfdistill.runs._subject import of_run
from selfdistill.train import Settings

if TYPE_CHECKING:
    import pandas as pd

    from selfdistill.report._report import Report

_OF_COMMAND = {
    "report": "From Python: fit(...).report('report.html').",
    "json": "From Python: fit(...).record.as_json().",
    "processes": "Start several processes in a terminal: selfdistill fit DATA --processes N.",
}
"""Options of ``selfdistill fit`` that `fit` does not have, and what to do instead."""


@listing_options(ReadOptions, Settings)
def fit(
    source: str | Path | None = None,
    *,
    out: str | Path | None = None,
    test: str | Path | None = None,
    decisions: str | Path | None = None,
    resume: str | Path | None = None,
    say: Callable[[str], None] | None = print,
    **options: Unpack[FitArguments],
) -> Run:
    """Learn from labels that may be wrong: ``selfdistill fit`` from Python.

    For arrays and DataFrames in memory see `selfdistill.SelfDistillClassifier`.

    Args:
        source: A file or folder, as ``selfdistill fit`` takes it; the built-in digits if left out.
        out: The run directory, which must not exist; by default the next free ``runs/<name>-NNN``.
        test: Data with true labels to measure on.
        decisions: Labels that a person decided on, a file of ``selfdistill review``; the closed form holds them.
        resume: A run directory to go on with, in the place of ``out``; options given again must agree.
        say: Takes sentences as they come; ``None``: nobody.
        **options: Options of ``selfdistill fit`` with underscores: of reading, such as ``label="genre"``, and of
            training, such as ``method="kernel"``, ``epochs=40`` or ``seed=1``; ``help(selfdistill.fit)`` lists them.

    Returns:
        The finished run.

    Raises:
        SettingError: An option that does not exist, or a value out of range.
        DataError: The data cannot be used.
        RunError: ``out`` is taken.

    Example:
        >>> import tempfile
        >>> from sklearn.datasets import load_iris
        >>> folder = Path(tempfile.mkdtemp())
        >>> load_iris(as_frame=True).frame.to_csv(folder / "iris.csv", index=False)
        >>> run = fit(folder / "iris.csv", label="target", out=folder / "run", say=None)
        >>> run.labels["refined_label"].nunique(), run.predict(folder / "iris.csv").shape
        (3, (150, 6))
    """  # noqa: DOC502 (raised by what is called)
    if source is not None and not isinstance(source, str | Path):
        raise DataError(
            f"source is a {type(source).__name__}, not a path",
            "Write it to a file, or use SelfDistillClassifier().fit(X, y).",
        )
    if elsewhere := next((name for name in options if name in _OF_COMMAND), None):
        raise SettingError(f"{elsewhere} is an option of the command line only", _OF_COMMAND[elsewhere])
    read, settings = _split(options, ReadOptions, Settings)
    request = FitRequest(
        None if source is None else str(source),
        None if test is None else str(test),
        options_from(ReadOptions, read),
        options_from(Settings, settings),
        _path(out),
        _path(resume),
        _path(decisions),
    )
    _, folder = start(request, say=lambda text: None if say is None else say(at(text, PYTHON)))
    return Run(folder)


def _path(place: str | Path | None) -> Path | None:
    return None if place is None else Path(place)


def _split(options: Mapping[str, object], *kinds: type[Any]) -> list[dict[str, object]]:
    """Give each options dataclass its own of some options; refuse one that none has."""
    names = [[one.name for one in fields(kind)] for kind in kinds]
    every = [name for some in names for name in some]
    for unknown in (name for name in options if name not in every):
        near = difflib.get_close_matches(unknown, every, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise SettingError(f"option {unknown!r} does not exist", f"{hint}Choose of: {', '.join(every)}.")
    return [{name: options[name] for name in some if name in options} for some in names]


def load(folder: str | Path) -> Run:
    """Open a finished run.

    Args:
        folder: The run directory.

    Returns:
        The run.

    Raises:
        RunError: No run there, it failed, or it is not finished.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "run"
        >>> load(fit(out=folder, method="kernel", landmarks=100, say=None).folder).classes[:3]
        ('0', '1', '2')
    """  # noqa: DOC502 (raised by what is called)
    run = Run(Path(folder))
    read_finished(run.folder)
    return run


@dataclass(frozen=True)
class Run:
    """A finished run directory.

    Attributes:
        folder: Its path.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> run = fit(out=folder / "run", method="kernel", landmarks=100, say=None)  # built-in digits
        >>> worst = run.labels.sort_values("label_quality").iloc[0]
        >>> bool(worst["is_label_issue"]), run.record.data.examples == len(run.labels)
        (True, True)
        >>> _ = run.report(folder / "report.html")
        >>> sorted(run.air())
        ['closed', 'data']
    """

    folder: Path

    @property
    def record(self) -> RunRecord:
        """Settings, versions, curves and results: ``run.json``."""
        return read_finished(self.folder)

    @property
    def labels(self) -> pd.DataFrame:
        """``labels.parquet``, a row per example in the data's order; the lower ``label_quality``, the more doubtful."""
        return label_table(self.folder)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.record.data.classes)

    @property
    def model(self) -> Model:
        """The trained network: ``network``, ``preprocess``, ``classes``, ``spec`` and ``input_shape``."""
        return load_model(self.folder / "model.safetensors")

    def predict(self, new: str | Path, *, device: str = "auto") -> pd.DataFrame:
        """Predict labels of new data.

        Args:
            new: A file or folder like the one of training.
            device: ``"cpu"``, ``"cuda"`` or ``"auto"``.

        Returns:
            Columns ``id``, ``predicted_label``, ``confidence`` and ``p_<class>`` for each class.

        Raises:
            DataError: The data do not fit the run.
        """
        if not isinstance(new, str | Path):
            raise DataError(
                f"new is a {type(new).__name__}, not a path",
                "Write it to a file, or use SelfDistillClassifier().predict(X).",
            )
        return predict(self.folder, new, device=device).table()

    def refine(self, out: str | Path, how: str = "relabel", *, decisions: str | Path | None = None) -> Refined:
        """Write a cleaned copy of the data set. The source is only read.

        Args:
            out: File or folder that does not exist.
            how: ``"relabel"``, ``"drop"`` or ``"weight"``.
            decisions: Labels that a person decided on, a file of ``selfdistill review``.

        Returns:
            What was written.

        Raises:
            DataError: ``out`` is taken, or the source has changed.
        """  # noqa: DOC502 (raised by what is called)
        return refine(self.folder, Path(out), how=how, decisions=_path(decisions))

    def report(self, out: str | Path | None = None) -> Report:
        """Report what was found, whether to trust it, and what to do next.

        Args:
            out: An HTML file to write, which needs no network to be read; one that is there is replaced.

        Returns:
            The report: printed it is a dozen lines, in a notebook a page.
        """
        from selfdistill.report._report import Report

        report = Report.of_run(self.folder)
        if out is not None:
            report.save(out)
        return report

    def _repr_html_(self) -> str:
        """Show the report in a notebook."""
        return self.report()._repr_html_()

    @listing_options(AirOptions)
    def air(self, out: str | Path | None = None, **options: Unpack[AirArguments]) -> dict[str, Any]:
        """Show what was learned first: spectrum and energies, or, of a network, its kernel at each moment.

        Args:
            out: Folder for ``air.json`` and four figures; nothing is written if left out.
            **options: Options of ``selfdistill air``, for networks, such as ``examples=500``.

        Returns:
            What ``air.json`` holds. Cost: of a run in closed form none; else that of the kernel of ``examples``.

        Raises:
            SettingError: An option that does not exist, or that a run in closed form does not have.
        """
        record = self.record
        (measuring,) = _split(options, AirOptions)
        if record.closed is not None:
            if options:
                problem = (
                    f"{next(iter(options))} does nothing: the run is in closed form, whose spectrum is in its record"
                )
                raise SettingError(problem, "Leave it out.")
            if out is None:
                return {"data": {"name": self.folder.name}, "closed": record.as_json()["closed"]}
            return write_closed(Path(out), record, self.folder.name)[0]
        request = options_from(AirOptions, measuring)
        request.check()
        found, _ = measure(of_run(self.folder), self.folder.name, True, request)
        if out is not None:
            write_study(Path(out), found)
        return found
