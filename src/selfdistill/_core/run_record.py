"""What ``run.json`` holds, typed: checked where it is read, so that those who use it need not look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    ValidationError,
    create_model,
    model_validator,
)

from selfdistill._core.advice import Advice
from selfdistill._core.distillation_record import Accuracy, Distillation, Number, Part, Positive, SoftLabels, Whole
from selfdistill._core.errors import RunError
from selfdistill._core.options import explicit_options, options_of
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.settings import ResolvedSettings, Settings
from selfdistill._core.wording import quoted

SCHEMA = 2
"""Of the records that are written. Those of schema 1 have no digests, of themselves and of the run's files."""
_CURVES = ("loss", "agreement", "refined_share", "lr")

NotStrict = Strict(False)  # JSON has lists where Python has tuples; what they hold stays strict


def _part(kind: Any, extra: Literal["ignore", "forbid"], dump: Any) -> Any:
    """Make the type of a field that is an options dataclass: read from JSON, strictly, and written to it."""
    hints = get_type_hints(kind)
    declared: dict[str, Any] = {
        one.name: (hints[one.name], ... if one.default is MISSING else one.default) for one in fields(kind)
    }
    config = ConfigDict(strict=True, extra=extra, allow_inf_nan=False)
    model = create_model(kind.__name__, __config__=config, **declared)

    def opened(value: Any) -> Any:
        value = asdict(value) if isinstance(value, kind) else value
        if not isinstance(value, Mapping):
            return value
        return {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}

    return Annotated[
        model,
        BeforeValidator(opened),
        AfterValidator(lambda made: kind(**dict(made))),
        PlainSerializer(dump, return_type=dict[str, Any]),
    ]


if TYPE_CHECKING:
    _Settings: TypeAlias = ResolvedSettings
    _Read: TypeAlias = ReadOptions
else:
    _Settings = _part(ResolvedSettings, "ignore", asdict)
    _Read = _part(ReadOptions, "forbid", explicit_options)


class RunData(Part):
    """Where the data came from, and what they were."""

    model_config = ConfigDict(extra="allow")

    source: str | None = None
    read: _Read | None = None
    test: str | None = None
    decisions: str | None = None
    seed: Whole | None = None
    taught: bool = False
    extra: str | None = None
    examples: Positive
    classes: list[str]
    given_counts: list[Whole] = []
    input_shape: list[Whole]
    fingerprint: str
    counts: dict[str, Whole] = {}


class Noise(Part):
    """Wrong labels, counted where the truth is known."""

    rate: Number | None = None
    joint_true_given: list[list[Whole]]


class Truth(Part):
    """Findings against true labels; shares, and numbers of the ranking."""

    examples: Number
    given_right: Number = 0.0
    refined_right: Number = 0.0
    wrong_set_right: Number | None = None
    right_spoiled: Number | None = None
    flagged_precision: Number | None = None
    flagged_recall: Number | None = None
    auroc: Number | None = None
    average_precision: Number | None = None


class EstimatedNoise(Part):
    """What the labels' noise looks like."""

    expected_wrong: Number
    health: Number
    counts_true_given: list[list[Number]] | None = None
    unseen: list[str] = []
    overlap: list[Annotated[tuple[str, str, Number], NotStrict]] = []


class Result(Part):
    """What a finished run found; beside these, an `Accuracy` under ``<name>_accuracy`` for each evaluation set."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Accuracy] = Field(init=False)

    label_issues: Whole
    confused: list[Annotated[tuple[str, str, Whole], NotStrict]]
    no_better_label: Whole = 0
    most_doubtful: Annotated[tuple[Whole, Number], NotStrict] | None = None
    never_refined_to: list[str] = []
    estimated_noise: EstimatedNoise | None = None
    agreement: Number = 0.0
    seconds: Number
    chosen_epoch: Whole | None = Field(default=None, alias="kept_epoch")
    truth: Truth | None = None
    soft_labels: SoftLabels | None = None

    @property
    def accuracies(self) -> dict[str, Accuracy]:
        """By name of the evaluation set."""
        found = self.__pydantic_extra__ or {}
        return {name.removesuffix("_accuracy"): value for name, value in found.items()}


class Trust(Part):
    """The reliability check."""

    verdict: Literal["trust", "except", "refuse"] = "trust"
    classes: list[str] = []
    sentences: list[str]
    evidence: dict[str, Any] = {}


class Mixed(Part):
    """One of the explanations that a closed form averages."""

    model_config = ConfigDict(extra="allow")

    source: str | None = None
    weight: Number


class Closed(Part):
    """What the closed form chose; its spectrum is checked by who draws it."""

    model_config = ConfigDict(extra="allow")

    kernel: str
    landmarks: Whole
    round: Whole
    nats: Number
    plausible_wrong: Annotated[tuple[Number, Number], NotStrict] | None = None
    mixture: list[Mixed]
    spectrum: dict[str, Any] = {}


class Comparison(Part):
    """Plain training on the same labels."""

    method: str
    test_accuracy: Accuracy
    truth: Truth
    curve: list[Number] = []
    seconds: Number = 0.0


class Resumed(Part):
    """Where a run went on under other versions."""

    created: str = ""
    versions: dict[str, str]
    hardware: dict[str, Any] = {}


class RunRecord(Part):
    """Everything needed to judge, repeat and resume a run; ``docs/run-directory.md`` tells what each entry means."""

    version: int = Field(default=SCHEMA, alias="schema")
    status: Literal["running", "interrupted", "finished", "failed"]
    id: str = ""
    settings: _Settings
    data: RunData
    noise: Noise | None = None
    warnings: list[str]
    notes: list[str]
    created: str = ""
    versions: dict[str, str] = {}
    hardware: dict[str, Any] = {}
    distillation: Distillation | None = None
    error: str = ""
    files: dict[str, str] = {}
    curves: dict[str, list[Number]] = {}
    result: Result | None = None
    trust: Trust | None = None
    closed: Closed | None = None
    comparison: Comparison | None = None
    resumed: list[Resumed] = []

    @model_validator(mode="after")
    def _complete(self) -> RunRecord:
        """A finished run has curves of as many epochs as its settings say, and a result."""
        for name, (_, option) in options_of(Settings).items():
            value = getattr(self.settings, name)
            if isinstance(value, int | float) and not isinstance(value, bool) and (problem := option.problem(value)):
                raise ValueError(f"settings.{name} is {value}, but {problem}")
        if self.status != "finished":
            return self
        needed = ("loss",) if self.settings.method == "kernel" else _CURVES
        if "curves" not in self.model_fields_set:
            raise ValueError("curves is None")
        missing = [name for name in needed if name not in self.curves]
        if missing:
            raise ValueError(f"curves.{missing[0]} is missing")
        if self.result is None:
            raise ValueError("result is missing")
        if self.settings.method == "kernel" and self.closed is None:
            raise ValueError("closed is missing")
        if self.settings.method != "kernel" and {len(one) for one in self.curves.values()} != {self.settings.epochs}:
            raise ValueError("curves are not of as many epochs as the settings say")
        return self

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> RunRecord:
        """Check a record."""
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise ValueError(problem_of(error)) from None

    def as_json(self) -> dict[str, Any]:
        """Give the record as JSON holds it, with what was set alone."""
        return self.model_dump(by_alias=True, exclude_unset=True, mode="json")

    def updated(self, **changes: Any) -> RunRecord:
        """Give a record with other entries, checked."""
        entries = {name: getattr(self, name) for name in self.model_fields_set} | changes
        entries["schema"] = entries.pop("version", self.version)
        return self.from_json(entries)

    def check_not_failed(self, folder: Path) -> RunRecord:
        """Refuse a run that failed."""
        if self.status == "failed":
            raise RunError(
                f"{folder} failed: {self.error}",
                Advice("Start again: {--out} {folder} is free.", folder=quoted(folder)),
            )
        return self

    def check_finished(self, folder: Path) -> RunRecord:
        """Refuse a run that failed or is not finished."""
        self.check_not_failed(folder)
        if self.status != "finished":
            raise RunError(
                f"{folder} is not finished",
                f"Finish it with: selfdistill fit --resume {quoted(folder)}",
            )
        return self


def problem_of(error: ValidationError) -> str:
    """Tell the first problem of a record in a few words."""
    first = error.errors(include_url=False)[0]
    place = ""
    for name in first["loc"]:
        place += f"[{name}]" if isinstance(name, int) else f".{name}" if place else name
    if first["type"] == "missing":
        return f"{place} is missing"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    return f"{place} is {first['input']!r:.60}"
