"""From a teacher to a student: soft labels once, generations if asked for, and a run like any other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from selfdistill import train
from selfdistill._core.dist import barrier, rank
from selfdistill._core.errors import RunError, SettingError
from selfdistill._core.events import Listener
from selfdistill._core.files import digest
from selfdistill._core.folder import inside
from selfdistill._core.group import as_many
from selfdistill._core.record import read_record
from selfdistill._core.record_form import reading_record
from selfdistill._core.rng import derive
from selfdistill._core.wording import quoted
from selfdistill.data import LabelledData
from selfdistill.distill._measures import dark_knowledge
from selfdistill.distill._objective import OBJECTIVES, objective
from selfdistill.distill._report import who_teaches
from selfdistill.distill._store_file import Store, load_store, save_store
from selfdistill.distill._teacher import Teacher, find_teacher, soft_labels
from selfdistill.distill._views import Views, views_of
from selfdistill.noise import check_votes, read_votes
from selfdistill.targets import Taught
from selfdistill.train import Fitted, Method, Plan, Settings, TorchRuntime

__all__ = ["STORE", "Distiller"]

STORE = "soft_labels.safetensors"
"""Where a run keeps the soft labels that it learned from, unless a file was named."""
_GO_ON = "Go on with: selfdistill distill --resume {}"
Given = Path | str | nn.Module | Store


@final
@dataclass(frozen=True)
class Distiller:
    """Distils a teacher into a student, without clean labels.

    Attributes:
        student: A specification for `networks.build`; for `fit` any network of your own, too.
        objective: One of `OBJECTIVES`.
        temperature: Of ``hinton``; by itself 4.
        weight: The teacher's share of ``hinton``; by itself 0.9.
        mixing: The teacher's weight ξ of ``born-again``, any number; by itself 1.
        generations: Students in a row, each taught by the one before.
        choose: How the epoch of a teaching run is chosen, see `choose`; by itself held-out where the run can serve it.
        views: Augmented views of each example that the teacher labels and the student sees, by turns, epoch after
            epoch; 0: the teacher labels the examples as they are.
        entries: Logits kept per row; by itself all, up to 1 GiB.
        settings: How the student trains; ``method`` and ``network`` are set by this.

    Example:
        >>> digits, tests = train.noisy_digits(0)
        >>> teacher = train.fit(digits, Settings(network="mlp:64", epochs=4).resolve(len(digits), "cpu")).model
        >>> fitted = Distiller("mlp:8", objective="refinery", settings=Settings(epochs=4)).fit(teacher, digits)
        >>> sum(p.numel() for p in fitted.model.parameters())
        610
    """

    student: str | nn.Module = "auto"
    objective: str = "hinton"
    temperature: float | None = None
    weight: float | None = None
    mixing: float | None = None
    generations: int = 1
    choose: str | None = None
    views: int = 0
    entries: int | None = None
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        """Refuse what makes no sense, before anything is read.

        Raises:
            SettingError: An unknown objective, a number out of range, or one that the objective does not take.
        """
        self._objective()
        for name, least in (("generations", 1), ("views", 0), ("entries", 1)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise SettingError(
                    f"{name} is {value!r}, but must be a whole number of at least {least}", f"Leave --{name} out."
                )

    def _objective(self) -> tuple[Callable[..., Any], Callable[..., Tensor], dict[str, float]]:
        return objective(self.objective, temperature=self.temperature, weight=self.weight, mixing=self.mixing)

    def resolved(self, data: LabelledData) -> Settings:
        """Fill in the student's settings from the data.

        Args:
            data: What it learns from.

        Returns:
            Settings of the last generation.

        Raises:
            SettingError: A value out of range, or a pair of networks.
        """
        network = self.student if isinstance(self.student, str) else "auto"
        settings = replace(self.settings, method=self.objective, network=network)
        if network.strip().startswith("2*"):
            raise SettingError(f"student {network!r} is a pair, but one network is taught", "Leave the 2* out.")
        return settings.resolve(len(data), train.resolve_device(settings.device))

    def fit(
        self,
        teacher: Given,
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
        store = self._store(find_teacher(teacher, data, way=self._way(teacher)), data, settings)
        for generation in range(1, self.generations + 1):
            model = copy.deepcopy(self.student) if isinstance(self.student, nn.Module) else None
            now, method = self._lesson(store, data, self._seeded(settings, generation))
            fitted = train.fit(data, now, model=model, evaluations=evaluations, tell=tell, method=method)
            if generation < self.generations:
                store = self._store(_graduate(fitted.model, data, f"generation {generation}"), data, settings)
        return fitted

    def teach(
        self,
        teacher: Given | None,
        data: LabelledData,
        out: Path,
        *,
        source: Mapping[str, Any] | None = None,
        store: Path | None = None,
        votes: Path | str | Tensor | None = None,
        votes_array: str | None = None,
        evaluations: Mapping[str, tuple[Tensor, Tensor]] | None = None,
        resume: bool = False,
        tell: Listener = lambda event: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> dict[str, Any]:
        """Teach, and fill a run directory.

        Args:
            teacher: See `find_teacher`; ``None`` only where a resumed run has its soft labels already.
            data: What the student learns from.
            out: The run directory; must not exist, or be empty, unless resumed.
            source: ``source``, ``read``, ``test`` and, of the built-in digits, ``seed``: where the data came from, for
                the record.
            store: Where the soft labels go, for other students; must not exist. By itself into the run directory.
            votes: What people said of each example, in the data's order: counts ``[n, K]``, or a file of them, see
                `noise.read_votes`; to measure what the soft labels know, never to teach.
            votes_array: Name of the array, where that file holds several.
            evaluations: Inputs and true labels by name, measured after each epoch.
            resume: Go on with the run in ``out``.
            tell: Listener of events.
            say: Takes sentences for the user.

        Returns:
            The run record: that of any run, with ``distillation``.

        Raises:
            DataError: Teacher and data do not fit, or votes and data.
            RunError: ``out`` holds another run, or the teacher cannot serve the choice.
            SettingError: A student that does not fit, or a number out of range.
            Interrupted: Ctrl-C; the run is saved.
        """  # noqa: DOC502
        if not isinstance(self.student, str):
            raise SettingError(
                f"the student is a {type(self.student).__name__}, but a run directory holds networks by their name",
                "Pass a specification such as 'mlp:256', or use Distiller.fit.",
            )
        described: dict[str, Any] = {
            "source": None,
            "read": {},
            "test": None,
            "seed": self.settings.seed,
            "taught": True,
        }
        described |= dict(source or {})
        settings, path = self.resolved(data), store or inside(out, STORE)
        if not resume:
            train.check_free(out)
            _check_new(store)
        elif path.exists():
            _check_own(out, path)
        people = _people(votes, votes_array, data)
        found = self._find(teacher, data, described, None if not (resume and path.exists()) else path)
        settings, _ = self._lesson(found, data, settings) if isinstance(found, Store) else (settings, None)
        views = None if isinstance(found, Store) else self._views(data, settings)
        settings = settings if views is None else replace(settings, augment=views.spec)
        record = self._record(teacher, found, None if isinstance(found, Store) else store)
        record["asked"] |= {"votes": str(votes) if isinstance(votes, Path | str) else None, "votes_array": votes_array}
        base = read_record(out)["distillation"] if resume else record
        with reading_record(out):
            taught = who_teaches(base)
        say(taught)
        job = _Job(
            self,
            found,
            data,
            settings,
            described,
            path,
            base,
            people,
            evaluations,
            tell,
            _GO_ON.format(quoted(out) + as_many()),
        )
        plan = Plan({"distillation": base}, job.prepare, job.room(), _escaped(job.go_on))
        return train.run(
            data, settings, out, source=described, evaluations=evaluations, resume=resume, tell=tell, plan=plan
        )

    def _way(self, teacher: object) -> str | None:
        """How to choose: as was said, or as the paper of the objective says, where there is a choice."""
        says = OBJECTIVES[self.objective].choose
        alone = isinstance(teacher, nn.Module | Store) or Path(str(teacher)).is_file()
        return self.choose or (None if alone else says)

    def _find(
        self, teacher: Given | None, data: LabelledData, source: Mapping[str, Any], there: Path | None
    ) -> Teacher | Store:
        if there is not None:
            found = load_store(there)
            found.check(data)
            return found
        if teacher is None:
            raise SettingError("no teacher was given", "Name a run, a checkpoint, a network or soft labels.")
        return find_teacher(teacher, data, way=self._way(teacher), source=source["source"], read=source["read"])

    def _views(self, data: LabelledData, settings: Settings) -> Views | None:
        shape = tuple(data.inputs.shape[1:])
        return views_of(settings.augment_for_network(len(data), shape), self.views, data, settings.seed)

    def _store(self, found: Teacher | Store, data: LabelledData, settings: Settings) -> Store:
        if isinstance(found, Store):
            return found
        runtime = TorchRuntime(settings.device)
        return soft_labels(found, data, runtime, views=self._views(data, settings), entries=self.entries)

    def _lesson(self, store: Store, data: LabelledData, settings: Settings) -> tuple[Settings, Method]:
        """Make the method that learns from soft labels, and the settings that say which views it sees."""
        reading, loss, _ = self._objective()
        summary = OBJECTIVES[self.objective].summary
        build = lambda context: Taught(context.labels, store.soft, reading)
        if self.views not in {0, store.views}:
            raise SettingError(f"views is {self.views}, but the soft labels have {store.views}", "Leave --views out.")
        if not store.views:
            return settings, Method(build, loss, summary)
        views = Views(store.about.augment, store.views, data, store.about.seed)
        return replace(settings, augment=views.spec), Method(build, loss, summary, objective=views.objective)

    def _seeded(self, settings: Settings, generation: int) -> Settings:
        """Give each generation a start of its own; the last has the seed that was asked for."""
        if generation == self.generations:
            return settings
        return replace(settings, seed=derive(settings.seed, "generation", generation) % 2**31)

    def _record(self, teacher: object, found: Teacher | Store, path: Path | None) -> dict[str, Any]:
        _, _, numbers = self._objective()
        asked = {f: getattr(self, f) for f in ("objective", "temperature", "weight", "mixing", "generations")}
        asked |= {"choose": self.choose, "views": self.views, "entries": self.entries}
        asked |= {"store": None if path is None else str(path)}
        asked |= {"teacher": str(teacher) if isinstance(teacher, str | Path) else None}
        described = found.about.teacher if isinstance(found, Store) else dict(found.described)
        choice = None if isinstance(found, Store) else found.choice
        return {
            "asked": asked,
            "objective": self.objective,
            "numbers": numbers,
            "generations": self.generations,
            "teacher": described,
        } | ({} if choice is None else choice.record())


@dataclass(frozen=True, eq=False)
class _Job:
    """One call of `Distiller.teach`: what happens once the run directory is ours."""

    distiller: Distiller
    found: Teacher | Store
    data: LabelledData
    settings: Settings
    source: Mapping[str, Any]
    path: Path
    record: Mapping[str, Any]
    votes: Tensor | None
    evaluations: Mapping[str, tuple[Tensor, Tensor]] | None
    tell: Listener
    go_on: str

    def room(self) -> int:
        """Bytes of soft labels, at most."""
        rows = max(self.distiller.views, 1) * len(self.data)
        return 0 if isinstance(self.found, Store) else 2 * rows * self.data.num_classes * self.distiller.generations

    def prepare(self, out: Path) -> tuple[Method, dict[str, Any]]:
        """Write or read the soft labels, train the generations before the last, and say what they hold."""
        path, earlier = self.path, []
        store = self._written(self.found, path)
        knowledge = self._measured(store)
        for generation in range(1, self.distiller.generations):
            folder = out / f"generation-{generation}"
            record = self._generation(store, folder, generation, str(read_record(out).get("id")))
            accuracies = {name: v for name, v in record["result"].items() if name.endswith("_accuracy")}
            earlier.append({"folder": folder.name, "seed": record["settings"]["seed"]} | accuracies)
            model = train.load_model(folder / "model.safetensors").network
            path = folder / STORE  # what this generation says
            store = self._written(_graduate(model, self.data, folder.name), path)
        _, method = self.distiller._lesson(store, self.data, self.settings)
        file = {"file": str(path)} if path.exists() else {}
        labels = file | store.soft.describe() | {"augment": store.about.augment, "teacher": dict(store.about.teacher)}
        found = {"soft_labels": labels, "dark_knowledge": knowledge, "earlier": earlier}
        ours = {STORE: digest(out / STORE)} if self.path == out / STORE and self.path.exists() else {}
        return method, {"distillation": dict(self.record) | found, "files": ours}

    def _generation(self, store: Store, folder: Path, generation: int, run: str) -> dict[str, Any]:
        settings, method = self.distiller._lesson(store, self.data, self.distiller._seeded(self.settings, generation))
        record = {"distillation": {"objective": self.record["objective"], "generation": generation, "run": run}}
        there = (folder / "run.json").exists()
        if there and read_record(folder).get("distillation", {}).get("run", run) != run:
            raise RunError(f"{folder} belongs to another run", "Put back what it was, or start a new run.")
        barrier()  # all processes look before one of them makes it
        return train.run(
            self.data,
            settings,
            folder,
            source=self.source,
            evaluations=self.evaluations,
            resume=there,
            tell=self.tell,
            plan=Plan(record, lambda out: (method, {}), 0, _escaped(self.go_on)),
        )

    def _written(self, found: Teacher | Store, path: Path) -> Store:
        """Have the soft labels in a file, made once; one process asks, all read."""
        if isinstance(found, Store):
            return found
        if rank() == 0 and not path.exists():
            distiller, runtime = self.distiller, TorchRuntime(self.settings.device)
            views = distiller._views(self.data, self.settings)
            source = {name: self.source[name] for name in ("source", "read", "test", "seed")}
            save_store(
                path, soft_labels(found, self.data, runtime, views=views, entries=distiller.entries, source=source)
            )
        barrier()
        return load_store(path)

    def _measured(self, store: Store) -> dict[str, Any]:
        soft = store.soft.probabilities(torch.arange(len(self.data)))
        return dark_knowledge(soft, self.data.labels, truth=self.data.truth, votes=self.votes)


def _people(votes: Path | str | Tensor | None, array: str | None, data: LabelledData) -> Tensor | None:
    """Read or check what people said of the data."""
    if votes is None and array is not None:
        raise SettingError(f"--votes-array {array} was said, but no votes", "Name their file with --votes.")
    if votes is None or isinstance(votes, Tensor):
        return None if votes is None else check_votes(votes, data.classes, rows=len(data))
    return read_votes(votes, classes=data.classes, array=array, ids=data.ids.tolist())


def _graduate(network: nn.Module, data: LabelledData, name: str) -> Teacher:
    """Let a student teach the next one."""
    return Teacher(network, data.inputs, {"name": name, "kind": "student"})


def _check_own(out: Path, store: Path) -> None:
    """Refuse soft labels in a run directory that this run did not write."""
    wanted = read_record(out).get("files", {}).get(STORE)
    if store == out / STORE and wanted is not None and digest(store) != wanted:
        raise RunError(
            f"{store} is damaged, or of another run: its digest differs", "Put back what it was, or start a new run."
        )


def _check_new(store: Path | None) -> None:
    if store is None:
        return
    if store.exists():
        raise SettingError(
            f"--store {store} exists already", "Choose another name, or give it as the teacher to learn from it."
        )
    if not store.absolute().parent.is_dir():
        raise SettingError(f"--store {store}: the folder {store.parent} does not exist", "Make it first.")


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
