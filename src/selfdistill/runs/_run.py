"""A run from Python: what the command line does, step by step, on the same run directories."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfdistill._core.advice import PYTHON, at
from selfdistill._core.air_options import AirOptions
from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.options import options_from
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

_READING = tuple(one.name for one in fields(ReadOptions))
_SETTINGS = tuple(one.name for one in fields(Settings))


def fit(
    source: str | Path | None = None,
    *,
    out: str | Path | None = None,
    test: str | Path | None = None,
    say: Callable[[str], None] | None = print,
    **options: Any,
) -> Run:
    """Learn from labels that may be wrong: ``selfdistill fit`` from Python.

    For arrays and DataFrames in memory see `selfdistill.SelfDistillClassifier`.

    Args:
        source: A file or folder, as ``selfdistill fit`` takes it; the built-in digits if left out.
        out: The run directory, which must not exist; by default the next free ``runs/<name>-NNN``.
        test: Data with true labels to measure on.
        say: Takes sentences as they come; ``None``: nobody.
        **options: Options of ``selfdistill fit`` with underscores: of reading, such as ``label="genre"``, and of
            training, such as ``method="kernel"``, ``epochs=40`` or ``seed=1``.

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
    unknown = [name for name in options if name not in (*_READING, *_SETTINGS)]
    if unknown:
        near = difflib.get_close_matches(unknown[0], (*_READING, *_SETTINGS), n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise SettingError(
            f"option {unknown[0]!r} does not exist", f"{hint}Choose of: {', '.join((*_READING, *_SETTINGS))}."
        )
    asked = FitRequest(
        None if source is None else str(source),
        None if test is None else str(test),
        options_from(ReadOptions, {name: options[name] for name in _READING if name in options}),
        options_from(Settings, {name: options[name] for name in _SETTINGS if name in options}),
        None if out is None else Path(out),
    )
    _, folder = start(asked, say=lambda text: None if say is None else say(at(text, PYTHON)))
    return Run(folder)


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
            decisions: Labels that a person settled, a file of ``selfdistill review``.

        Returns:
            What was written.

        Raises:
            DataError: ``out`` is taken, or the source has changed.
        """  # noqa: DOC502 (raised by what is called)
        return refine(self.folder, Path(out), how=how, decisions=None if decisions is None else Path(decisions))

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

    def air(self, out: str | Path | None = None, **options: Any) -> dict[str, Any]:
        """Show what was learned first: spectrum and energies, or, of a network, its kernel at each moment.

        Args:
            out: Folder for ``air.json`` and four figures; nothing is written if left out.
            **options: Fields of `AirOptions`, for networks.

        Returns:
            What ``air.json`` holds. Cost: of a run in closed form none; else that of the kernel of ``examples``.

        Raises:
            SettingError: An option that does not exist, or that a run in closed form does not have.
        """
        record, names = self.record, [one.name for one in fields(AirOptions)]
        if unknown := [name for name in options if name not in names]:
            raise SettingError(f"option {unknown[0]!r} does not exist", f"Choose of: {', '.join(names)}.")
        if record.closed is not None:
            if options:
                problem = (
                    f"{next(iter(options))} does nothing: the run is in closed form, whose spectrum is in its record"
                )
                raise SettingError(problem, "Leave it out.")
            if out is None:
                return {"data": {"name": self.folder.name}, "closed": record.as_json()["closed"]}
            return write_closed(Path(out), record, self.folder.name)[0]
        asked = AirOptions(**options)
        asked.check()
        found, _ = measure(of_run(self.folder), self.folder.name, True, asked)
        if out is not None:
            write_study(Path(out), found)
        return found
