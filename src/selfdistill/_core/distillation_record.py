"""What ``run.json`` holds of a student's teacher, typed; and the types that the rest of the record shares with it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[float, Field(gt=-1e100, lt=1e100)]  # no number of a run; beyond, sums and products are infinite
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Positive = Annotated[int, Field(gt=0, lt=2**63)]


class Part(BaseModel):
    """A part of a record: strict, frozen, of finite numbers."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True)


class Accuracy(Part):
    """Accuracy on an evaluation set: after the last epoch, and after the best, counted from 0."""

    last: Number
    best: Number
    best_epoch: Whole


class SoftLabels(Part):
    """How the refined distributions were kept for the findings."""

    kind: str
    bytes: Whole = 0
    tolerance: Number = 0.0
    why: str | None = None


class _Open(Part):
    """A part whose further entries are numbers and names for a reader."""

    model_config = ConfigDict(extra="allow")


class TeacherRecord(_Open):
    """Who taught: a run with its epoch, a network, soft labels, or several of these."""

    name: str
    kind: str = ""
    epoch: Whole | None = None


class AskedOptions(_Open):
    """What the user said; numbers of the objective are among the further entries."""

    objective: str
    teacher: str | None = None
    also: list[str] = []
    store: str | None = None
    generations: Positive = 1
    choose: str | None = None
    entries: Positive | None = None


class CandidateEpoch(_Open):
    """An epoch that could teach, what was measured of it, and the ways that choose it."""

    epoch: Whole
    chosen_by: list[str] = []


class LearnedLabels(SoftLabels):
    """The soft labels that were learned from."""

    file: str | None = None
    teacher: TeacherRecord | None = None


class Information(Part):
    """On the truth, beyond the likeliest class, in nats."""

    plug_in: Number
    bias: Number
    corrected: Number


class Knowledge(Part):
    """What soft labels hold beyond their likeliest class; entropies in nats, the rest shares."""

    entropy: Number
    beyond_top: Number
    top: Number
    agreement: Number
    accuracy: Number | None = None
    information: Information | None = None
    similarity: Number | None = None


class Generation(_Open):
    """A student before the last."""

    folder: str
    seed: Whole
    test_accuracy: Accuracy | None = None


class Distillation(Part):
    """Who taught a student, and what."""

    objective: str
    numbers: dict[str, Number] = {}
    generations: Positive = 1
    asked: AskedOptions | None = None
    teacher: TeacherRecord | None = None
    choose: str | None = None
    epoch: Whole | None = None
    choices: dict[str, dict[str, Any]] = {}
    candidates: list[CandidateEpoch] = []
    soft_labels: LearnedLabels | None = None
    dark_knowledge: Knowledge | None = None
    earlier: list[Generation] = []
    generation: Positive | None = None
    run: str = ""
