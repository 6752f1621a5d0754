"""The report itself: rendered, saved, shown in a notebook."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache, cached_property
from pathlib import Path
from typing import Any, final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError
from selfdistill._core.files import atomic
from selfdistill._core.record import reading_record
from selfdistill._core.run_record import RunRecord
from selfdistill._core.wording import clean
from selfdistill.report._charts import sheet
from selfdistill.report._content import Subject, content
from selfdistill.runs._verdict import training_line, verdict


@final
class Report:
    """What was found about labels, as one page: no network and no script is needed to read it.

    Made by `selfdistill.Run.report`. ``str`` gives the dozen lines that ``selfdistill fit`` prints; a notebook
    shows the page.

    Args:
        subject: What it is about.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    @classmethod
    def of_run(cls, folder: str | Path) -> Report:
        """Report on a finished run.

        Args:
            folder: The run directory.

        Returns:
            The report. Cost: that of reading the table of labels, and of each example that is shown.

        Raises:
            RunError: No run there, not finished, or damaged.

        Example:
            >>> import tempfile
            >>> from sklearn.datasets import load_iris
            >>> from selfdistill import fit
            >>> folder = Path(tempfile.mkdtemp())
            >>> load_iris(as_frame=True).frame.to_csv(folder / "iris.csv", index=False)
            >>> run = fit(folder / "iris.csv", label="target", out=folder / "run", say=None)
            >>> page = Report.of_run(run.folder).save(folder / "report.html")
            >>> "look wrong" in page.read_text()
            True
        """  # noqa: DOC502 (raised by what is called)
        return cls(Subject.of_run(Path(folder)))

    @cached_property
    def html(self) -> str:
        """The page."""
        folder = self._subject.folder
        with nullcontext() if folder is None else reading_record(folder):
            return self._rendered()

    def _rendered(self) -> str:
        record = self._subject.record
        more = {} if record is None else {"trained": training_line(record).partition(":")[0], "facts": _facts(record)}
        truth = record.result.truth if record and record.result else None
        style = Markup((_FOLDER / "report.css").read_text(encoding="utf-8"))
        shown = content(self._subject) | more | {"truth": truth, "style": style}
        return _environment().get_template("report.html").render(shown)

    def save(self, out: str | Path) -> Path:
        """Write the page to a file; one that is there is replaced.

        Args:
            out: The file, which ends in ``.html``.

        Returns:
            Its path.

        Raises:
            DataError: Another ending, or a folder that does not exist.
        """  # noqa: DOC502 (raised by what is called)
        path = _checked(Path(out), ".html")
        with atomic(path) as part:
            part.write_text(self.html, encoding="utf-8", errors="backslashreplace")
        return path

    def gallery(self, out: str | Path, most: int = 40) -> Path:
        """Write a sheet of the most doubtful photos.

        Args:
            out: The file, which ends in ``.png``; one that is there is replaced.
            most: How many photos.

        Returns:
            Its path.

        Raises:
            DataError: Another ending, or a run without images.
        """
        path, examples = _checked(Path(out), ".png"), self._subject.examples
        if examples is None or examples.kind != "image":
            why = examples.missing if examples is not None and examples.missing else "the run has no images"
            raise DataError(f"a gallery cannot be drawn: {why}", Advice("Leave {--gallery} out."))
        found = self._subject.found
        rows = self._subject.doubtful(most)
        with atomic(path) as part:
            sheet(found, examples, rows).save(part, "PNG", optimize=True)
        return path

    def __str__(self) -> str:
        """Give the lines that ``selfdistill fit`` prints."""
        record, folder = self._subject.record, self._subject.folder
        assert record is not None
        assert folder is not None
        return "\n".join(verdict(record, folder))

    def _repr_html_(self) -> str:
        """Show the page apart from the notebook's own style, and without its rights."""
        frame = '<iframe sandbox srcdoc="{}" style="width:100%;height:720px;border:0" title="Label report"></iframe>'
        return str(Markup(frame).format(self.html))


_FOLDER = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    def shown(value: Any) -> Any:
        return clean(value, keep="\n") if isinstance(value, str) and not isinstance(value, Markup) else value

    made = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, finalize=shown, trim_blocks=True
    )
    made.filters["short"] = lambda text, most: text if len(text) <= most else text[: most - 1] + "…"
    made.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    return made


def _checked(path: Path, ending: str) -> Path:
    if path.suffix != ending:
        raise DataError(f"{path} does not end in {ending}", f"Choose a name such as {path.with_suffix(ending)}.")
    if not path.parent.is_dir():
        raise DataError(f"the folder {path.parent} does not exist", "Make it first.")
    return path


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    """Settings, versions and hardware, as a reader needs them to do it again."""
    settings = {name: value for name, value in record.settings.as_dict().items() if value is not None}
    if record.closed is not None:
        settings = {name: settings[name] for name in ("method", "network", "seed")}
    facts = [("data", record.data.source or "built-in digits"), ("fingerprint of the data", record.data.fingerprint)]
    facts += [(name.replace("_", " "), str(value)) for name, value in settings.items()]
    facts += [("started", record.created), ("run", record.id)] if record.created else []
    facts += [("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items()))]
    return [*facts, ("machine", str(record.hardware.get("device_name", "")))]
