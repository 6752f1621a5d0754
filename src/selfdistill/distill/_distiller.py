"""From a teacher to a student: soft labels once, generations if asked for, and a run like any other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn

from selfdistill._core.advice import Advice, Flag
from selfdistill._core.distillation_record import Distillation
from selfdistill._core.errors import RunError, SettingError
from selfdistill._core.events import Listener
from selfdistill._core.files import digest
from selfdistill._core.folder import inside
from selfdistill._core.record import read_record, reading_record
from selfdistill._core.rng import derive
from selfdistill._core.run_record import RunRecord
from selfdistill._core.settings import ResolvedSettings
from selfdistill._core.wording import as_many, quoted
from selfdistill.data._labelled import LabelledData
from selfdistill.distill._features import FeaturePair, FeatureStudent
from selfdistill.distill._job import STORE, Job, escaped, graduate
from selfdistill.distill._measures import who_teaches
from selfdistill.distill._objective import OBJECTIVES, objective, own, try_out
from selfdistill.distill._soft_labels import Store, load_store
from selfdistill.distill._teacher import AnyTeacher, Teacher, find_teacher, soft_labels
from selfdistill.networks._build import build
from selfdistill.rivals import Method
from selfdistill.runs._directory import Plan, check_free, run
from selfdistill.targets import TeacherTargets
from selfdistill.train import Settings
from selfdistill.train._fit import fit as train_fit
from selfdistill.train._fit import network_spec
from selfdistill.train._fitted import Fitted
from selfdistill.train._runtime import TorchRuntime
from selfdistill.train._settings import resolve_device

_GO_ON = "Go on with: selfdistill distill --resume {}"
_NUMBERS = ("temperature", "weight", "mixing", "alpha", "beta")


@final
@dataclass(frozen=True)
class Distiller:
    """Distils a teacher into a student, without clean labels.

    Attributes:
        student: A specification for `networks.build`; for `fit` any network of your own, too.
        objective: One of `OBJECTIVES`, or a function of the student's logits, the teacher's and the given labels as
            one-hot rows, all ``[b, K]``, to one value per example.
        temperature: Of ``hinton`` and ``dkd``; default 4; of ``standardised``; default 2.
        weight: The teacher's share of ``hinton`` and ``standardised``; default 0.9.
        mixing: The teacher's weight ξ of ``born-again``, any number; default 1.
        alpha: Weight of the given class in ``dkd``; default 1.
        beta: Weight of the other classes in ``dkd``; default 8.
        generations: Students in a row, each taught by the one before.
        choose: How the epoch of a teaching run is chosen, see `choose`; default held-out where the run can serve it.
        entries: Logits kept per row; default all, up to 1 GiB.
        features: Layers of the student that follow layers of the teacher, for `fit` only.
        settings: How the student trains; ``method`` and ``network`` are set by this.

    Example:
        >>> from selfdistill.networks import build
        >>> from selfdistill.runs import noisy_digits
        >>> digits, tests = noisy_digits(0)
        >>> teacher = build("mlp:64", (1, 8, 8), 10, seed=0, stats=digits.preprocess.stats)  # one that has learned
        >>> fitted = Distiller("mlp:8", objective="refinery", settings=Settings(epochs=4)).fit(teacher, digits)
        >>> sum(p.numel() for p in fitted.model.parameters())
        610
    """

    student: str | nn.Module = "auto"
    objective: str | Callable[[Tensor, Tensor, Tensor], Tensor] = "hinton"
    temperature: float | None = None
    weight: float | None = None
    mixing: float | None = None
    alpha: float | None = None
    beta: float | None = None
    generations: int = 1
    choose: str | None = None
    entries: int | None = None
    features: Sequence[FeaturePair] = ()
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        """Refuse what makes no sense, before anything is read."""
        if isinstance(self.student, type):
            name = self.student.__name__
            raise SettingError(f"the student is the class {name}", f"Pass one of its kind: {name}(...).")
        if not isinstance(self.student, str | nn.Module):
            raise SettingError(f"the student is {self.student!r:.60}", "Pass an nn.Module, or a name such as 'mlp:32'.")
        self._objective()
        for name in ("generations", "entries"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise SettingError(
                    f"{name} is {value!r}, but must be a whole number of at least 1",
                    Advice("Leave {option} out.", option=Flag(name)),
                    param=name,
                )

    def _objective(self) -> tuple[Callable[..., Any], Callable[..., Tensor], dict[str, float]]:
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        if isinstance(self.objective, str):
            return objective(self.objective, **numbers)
        explicit = [name for name, value in numbers.items() if value is not None]
        if not callable(self.objective) or explicit:
            what = f"takes no {explicit[0]}" if explicit else "must be a name or a function"
            raise SettingError(f"the objective {self.objective!r:.60} {what}", "Leave it out.")
        found = own(self.objective)
        return found.reading, found.loss, {}

    @property
    def _name(self) -> str:
        """The objective's, for records."""
        if isinstance(self.objective, str):
            return self.objective
        return f"own: {getattr(self.objective, '__name__', type(self.objective).__name__)}"

    def resolved(self, data: LabelledData) -> ResolvedSettings:
        """Fill in the student's settings from the data; refuses values out of range and pairs."""
        network = self.student if isinstance(self.student, str) else "auto"
        settings = replace(self.settings, method=self._name, network=network)
        if network.strip().startswith("2*"):
            raise SettingError(f"student {network!r} is a pair, but one network is taught", "Leave the 2* out.")
        reading, loss, _ = self._objective()
        try_out(loss, reading, data.num_classes)
        return settings.resolve(len(data), resolve_device(settings.device or "auto"))

    def fit(
        self,
        teacher: object,
        data: LabelledData,
        *,
        evaluations: Mapping[str, tuple[Tensor, Tensor]] | None = None,
        tell: Listener = lambda event: None,
    ) -> Fitted:
        """Teach in memory, and write nothing.

        Args:
            teacher: See `find_teacher`.
            data: What the student learns from.
            evaluations: Inputs and true labels by name; their accuracy is measured, nothing is chosen by it.
            tell: Listener of events.

        Returns:
            The last generation.

        Raises:
            DataError: Teacher and data do not fit.
            SettingError: A student that does not fit, or a number out of range.
        """  # noqa: DOC502
        settings = self.resolved(data)
        found = self._find(teacher, data, {}, None)
        store = self._store(found, data, settings)
        for generation in range(1, self.generations + 1):
            model = copy.deepcopy(self.student) if isinstance(self.student, nn.Module) else None
            now, method = self._seeded(settings, generation), self._lesson(store)
            if self.features:
                guided = self._guided(found, data, now, method, model)
                with guided.listening():
                    fitted = train_fit(
                        data, now, model=guided, evaluations=evaluations, tell=tell, method=guided.followed(method)
                    )
                return replace(fitted, model=guided.student)
            fitted = train_fit(data, now, model=model, evaluations=evaluations, tell=tell, method=method)
            if generation < self.generations:
                store = self._store(graduate(fitted.model, data, f"generation {generation}"), data, settings)
        return fitted

    def _guided(
        self, found: AnyTeacher, data: LabelledData, settings: ResolvedSettings, method: Method, model: nn.Module | None
    ) -> FeatureStudent:
        """Lay the student's layers beside the teacher's."""
        if not isinstance(found, Teacher) or found.inputs is not data.inputs or self.generations > 1:
            raise SettingError(
                "features are followed from one network to one student, on the same inputs",
                "Give one network, or a run of these data, as the teacher, and one generation.",
            )
        if settings.compile:
            raise SettingError("features are not followed in a compiled network", Advice("Leave {--compile} out."))
        if model is None:
            spec = network_spec(settings, data, method)
            shape, stats = tuple(data.inputs.shape[1:]), data.preprocess.stats
            model = build(spec, shape, data.num_classes, seed=settings.seed, stats=stats)
        network = found.network.to(TorchRuntime(settings.device).device)
        return FeatureStudent(model, network, self.features, data.inputs[:2], settings.seed)

    def teach(
        self,
        teacher: object,
        data: LabelledData,
        out: Path,
        *,
        source: Mapping[str, Any] | None = None,
        store: Path | None = None,
        evaluations: Mapping[str, tuple[Tensor, Tensor]] | None = None,
        resume: bool = False,
        tell: Listener = lambda event: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> RunRecord:
        """Teach, and fill a run directory.

        Args:
            teacher: See `find_teacher`; ``None`` only where a resumed run has its soft labels already.
            data: What the student learns from.
            out: The run directory; must not exist, or be empty, unless resumed.
            source: ``source``, ``read``, ``test`` and, of the built-in digits, ``seed``: where the data came from, for
                the record.
            store: Where the soft labels go, for other students; must not exist. By itself into the run directory.
            evaluations: Inputs and true labels by name, measured after each epoch.
            resume: Go on with the run in ``out``.
            tell: Listener of events.
            say: Takes sentences for the user.

        Returns:
            The run record: that of any run, with ``distillation``.

        Raises:
            DataError: Teacher and data do not fit.
            RunError: ``out`` holds another run, or the teacher cannot serve the choice.
            SettingError: A student that does not fit, or a number out of range.
            Interrupted: Ctrl-C; the run is saved.
        """  # noqa: DOC502
        if not isinstance(self.student, str):
            raise SettingError(
                f"the student is a {type(self.student).__name__}, but a run directory holds networks by their name",
                "Pass a specification such as 'mlp:256', or use Distiller.fit.",
            )
        if self.features:
            raise SettingError("features are followed in memory only", "Use Distiller.fit, or leave them out.")
        described: dict[str, Any] = {"source": None, "read": {}, "test": None, "seed": self.settings.seed or 0}
        described |= {"taught": True} | dict(source or {})
        settings, path = self.resolved(data), store or inside(out, STORE)
        if not resume:
            check_free(out)
            _check_new(store)
        elif path.exists():
            _check_own(out, path)
        found = self._find(teacher, data, described, None if not (resume and path.exists()) else path)
        record = self._record(teacher, found, None if isinstance(found, Store) else store)
        base = read_record(out).as_json()["distillation"] if resume else record
        with reading_record(out):
            taught = who_teaches(Distillation.model_validate(base))
        say(f"Learning from {taught}")
        go_on = _GO_ON.format(quoted(out) + as_many())
        job = Job(self, found, data, settings, described, path, base, evaluations, tell, go_on)
        plan = Plan({"distillation": base}, job.prepare, job.room(), escaped(job.go_on))
        return run(data, settings, out, source=described, evaluations=evaluations, resume=resume, tell=tell, plan=plan)

    def _find(self, teacher: object, data: LabelledData, source: Mapping[str, Any], there: Path | None) -> AnyTeacher:
        if there is not None:
            found = load_store(there)
            found.check(data)
            return found
        if teacher is None:
            raise SettingError("no teacher was given", "Name a run, a checkpoint, a network or soft labels.")
        usual = OBJECTIVES[self.objective].choose if isinstance(self.objective, str) else None
        where, read = source.get("source"), source.get("read")
        return find_teacher(teacher, data, way=self.choose, usual=usual, source=where, read=read)

    def _store(self, found: AnyTeacher, data: LabelledData, settings: ResolvedSettings) -> Store:
        if isinstance(found, Store):
            return found
        return soft_labels(found, data, TorchRuntime(settings.device), entries=self.entries)

    def _lesson(self, store: Store) -> Method:
        """Make the method that learns from soft labels."""
        reading, loss, given = self._objective()
        usual = OBJECTIVES[self.objective].takes if isinstance(self.objective, str) else {}
        numbers = {name: (value, usual[name]) for name, value in given.items() if name in usual}
        return Method(
            lambda context: TeacherTargets(context.labels, store.soft, reading), loss, self._name, numbers=numbers
        )

    def _seeded(self, settings: ResolvedSettings, generation: int) -> ResolvedSettings:
        """Give each generation a start of its own; the last has the seed that was asked for."""
        if generation == self.generations:
            return settings
        return replace(settings, seed=derive(settings.seed, "generation", generation) % 2**31)

    def _record(self, teacher: object, found: AnyTeacher, path: Path | None) -> dict[str, Any]:
        _, _, numbers = self._objective()
        asked = {name: getattr(self, name) for name in (*_NUMBERS, "generations", "choose", "entries")}
        asked |= {"objective": self._name, "store": None if path is None else str(path)}
        several = list(teacher) if isinstance(teacher, list | tuple) else [teacher]
        named = [str(one) for one in several if isinstance(one, str | Path)]
        named = named if len(named) == len(several) else []
        asked |= {"teacher": named[0] if named else None, "also": named[1:]}
        described = found.about.teacher if isinstance(found, Store) else dict(found.described)
        choice = found.choice if isinstance(found, Teacher) else None
        return {
            "asked": asked,
            "objective": self._name,
            "numbers": numbers,
            "generations": self.generations,
            "teacher": described,
        } | ({} if choice is None else choice.record())


def _check_own(out: Path, store: Path) -> None:
    """Refuse soft labels in a run directory that this run did not write."""
    wanted = read_record(out).files.get(STORE)
    if store == out / STORE and wanted is not None and digest(store) != wanted:
        raise RunError(
            f"{store} is damaged, or of another run: its digest differs", "Put back what it was, or start a new run."
        )


def _check_new(store: Path | None) -> None:
    if store is None:
        return
    if store.exists():
        raise SettingError(
            f"store {store} exists already",
            "Choose another name, or give it as the teacher to learn from it.",
            param="store",
        )
    if not store.absolute().parent.is_dir():
        problem = f"store {store}: the folder {store.parent} does not exist"
        raise SettingError(problem, "Make it first.", param="store")
