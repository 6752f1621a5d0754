"""Claim 1: what mainly helps distillation is that the teacher stopped early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import figure
from benchmarks.claims.claim import Check, Claim, Condition, Measured, Part, Rows
from benchmarks.claims.problems import draw as draw_problem
from benchmarks.claims.trainings import trained
from selfdistill.targets import FixedTargets

STUDENTS = ("same", "smaller")
_FITS = 100  # epochs by which a network on digits fits its given labels
CHECKS = (
    ("early gain", 0.005, "the student of the best-stopped teacher beats the student of the last one by half a point"),
    ("stopping over last", 0.0, "stopping the teacher adds at least what distilling from the last teacher adds"),
    ("recovered", 0.0, "a network trained alone and stopped at its oracle epoch has at least half of the gain"),
)
SHOWN = (
    ("alone, last epoch", "alone last"),
    ("alone, oracle epoch", "alone oracle"),
    ("alone, noisy hold-out", "alone hold-out"),
    ("student of last teacher", "of last"),
    ("student of best teacher", "of best"),
    ("the same, stopped by oracle", "of best, oracle"),
    ("best teacher's epoch", "best epoch"),
    ("given labels fitted by the last teacher", "teacher fits"),
)


def measure(settings: Mapping[str, Any], seed: int, folder: Path) -> Measured:
    """Train a teacher, students of its epochs, and the students' networks alone."""
    problem = draw_problem(settings, seed, folder)
    epochs, stops = settings["epochs"], [*settings["stops"], settings["epochs"]]
    teacher = trained(problem, "cross-entropy", settings["teacher"], epochs, seed, keep=lambda done: True)
    # The best stopping epoch is the teacher's own, by the clean choice set; students of it are trained as well.
    best = teacher.best_epoch()
    stops = sorted({*stops, best})
    numbers: dict[str, float] = {"best epoch": best, "teacher last": teacher.last}
    numbers["teacher fits"] = teacher.fitted.curves[-1]["agreement"]
    curves: dict[str, Any] = {"teacher": teacher.curve("test"), "stops": stops, "best": best}
    for student in STUDENTS:
        network = settings[student]
        alone = trained(problem, "cross-entropy", network, epochs, seed + 1000)
        of = {
            stop: trained(
                problem,
                "cross-entropy",
                network,
                epochs,
                seed + 1000,
                targets=FixedTargets(teacher.probabilities[stop]),
            )
            for stop in stops
        }
        gain = of[best].last - alone.last
        found = {
            "alone last": alone.last,
            "alone oracle": alone.at_best("choice"),
            "alone hold-out": alone.at_best("holdout"),
            "of last": of[epochs].last,
            "of best": of[best].last,
            "of best, oracle": of[best].at_best("choice"),
            "early gain": of[best].last - of[epochs].last,
            "stopping over last": (of[best].last - of[epochs].last) - (of[epochs].last - alone.last),
            "recovered": alone.at_best("choice") - alone.last - 0.5 * gain,
            "gain left when stopped": of[best].last - alone.at_best("choice"),
            "gain left when stopped by hold-out": of[best].last - alone.at_best("holdout"),
        }
        numbers |= {f"{student}: {key}": value for key, value in found.items()}
        curves[student] = {
            "students": [of[stop].last for stop in stops],
            "stopped": [of[stop].at_best("choice") for stop in stops],
        }
    return Measured(numbers, curves)


def conditions(parts: Sequence[Part]) -> tuple[Condition, ...]:
    """Judge each kind of labels with each size of student."""
    found = []
    for part in parts:
        for student in STUDENTS:
            checks = tuple(Check(f"{student}: {key}", ">=", bound, words) for key, bound, words in CHECKS)
            shown = tuple(
                (head, key if key in {"best epoch", "teacher fits"} else f"{student}: {key}") for head, key in SHOWN
            )
            size = "as large" if student == "same" else "smaller"
            s = part.settings
            place = f"{s['data']}, {s['noise']}, {s['epochs']} epochs, student {size}"
            found.append(Condition(place, part.name, checks, shown, "outside" if _outside(s) else "inside"))
    return tuple(found)


def _outside(s: Mapping[str, Any]) -> bool:
    """Whether a part is a control: see the claim's assumptions."""
    return bool(s["noise"] == "clean" or (s["data"] == "digits" and s["epochs"] < _FITS))


def draw(rows: Rows) -> Any:
    """Draw student accuracy over the teacher's stopping epoch."""
    chosen = {name: records for name, records in rows.items() if records}
    drawn, axes = figure.panels(len(chosen), sharey=False, width=3.0)
    for axis, (name, records) in zip(axes[0], chosen.items(), strict=True):
        epochs = range(1, len(records[0]["curves"]["teacher"]) + 1)
        figure.band(
            axis, epochs, [_percent(r["curves"]["teacher"]) for r in records], color=figure.BLACK, label="teacher"
        )
        for student, colour, marker in (("same", figure.BLUE, "o"), ("smaller", figure.ORANGE, "s")):
            stops = sorted(set.intersection(*(set(r["curves"]["stops"]) for r in records)))
            values = [
                [100 * r["curves"][student]["students"][r["curves"]["stops"].index(s)] for r in records] for s in stops
            ]
            figure.points(axis, stops, values, color=colour, fmt=f"-{marker}", label=f"student, {student} size")
            alone = [100 * r["numbers"][f"{student}: alone last"] for r in records]
            axis.axhline(sum(alone) / len(alone), color=colour, ls=":", lw=1)
        axis.set(xscale="log", xlabel="teacher's epochs", title=name)
    axes[0][0].set_ylabel("test accuracy (%)")
    axes[0][0].legend(loc="lower right")
    return drawn


def _percent(values: Sequence[float]) -> list[float]:
    return [100 * v for v in values]


def _parts(
    data: str, examples: int, epochs: int, stops: list[int], networks: tuple[str, str], after: str = ""
) -> tuple[Part, ...]:
    shared = {"data": data, "examples": examples, "epochs": epochs, "stops": stops}
    shared |= {"teacher": networks[0], "same": networks[0], "smaller": networks[1]}
    needs = ("fashion",) if data == "fashion" else ()
    return tuple(
        Part(f"{data}-{noise}{after}", shared | {"noise": noise}, needs) for noise in ("clean", "symmetric-40")
    )


CLAIM = Claim(
    name="early_stopping",
    title="Early stopping is what helps",
    statement="What mainly helps a student in distillation is that its overparameterised teacher stopped early.",
    standing="Abstract (first claim). That a teacher trained to the end has little left to teach is our reading. "
    "The experiment and its criterion are ours.",
    method="A teacher is trained by cross-entropy; its soft labels on the training set after each of several epochs "
    "train a student (soft labels only, temperature 1), of the same size and smaller, to its own last epoch. The best "
    "epoch to stop the teacher is an oracle's: best accuracy of the teacher on clean examples outside the test set. "
    "The student's network is also trained alone on the given labels, and read at its last epoch, at an oracle's and "
    "at the one that is best on a noisy hold-out.",
    assumptions="Wrong labels, and a last teacher that fits what it was given. On true labels the last teacher has "
    "memorised nothing wrong, and after 30 epochs of digits it fits three quarters of the given labels: controls.",
    full=(
        *_parts("digits", 1000, 30, [1, 2, 4, 8, 15], ("mlp:256,256", "mlp:32")),
        *_parts("digits", 1000, 150, [2, 5, 15, 40], ("mlp:256,256", "mlp:32"), "-long")[1:],
        *_parts("fashion", 6000, 30, [1, 2, 4, 8, 16], ("mlp:512,512", "mlp:64")),
    ),
    small=(
        *_parts("digits", 500, 30, [2, 8], ("mlp:128", "mlp:24")),
        *_parts("digits", 300, 100, [5], ("mlp:128", "mlp:24"), "-long")[1:],
    ),
    conditions=conditions,
    measure=measure,
    draw=draw,
    caption="Test accuracy of students over the epoch at which their teacher stopped; dotted: the student's network "
    "trained alone on the given labels to the end. Bars: one standard deviation over the seeds.",
    notes="Whether the last teacher was trained to the end is said by the share of given labels that it fits (a dash: "
    "not recorded then); the long part was added after the digits of the full form had run, when that share was seen "
    "to matter, with the same criterion. The learning rate rises and falls once in a training (one cycle), so the last "
    "epochs are the ones in which labels are memorised; a teacher stopped early has not seen a small rate.",
)
