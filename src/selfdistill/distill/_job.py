"""What happens once a student's run directory is ours: soft labels, the generations before the last, what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from selfdistill._core.dist import barrier, rank
from selfdistill._core.errors import RunError
from selfdistill._core.events import Listener
from selfdistill._core.files import digest
from selfdistill._core.record import read_record
from selfdistill._core.run_record import RunRecord
from selfdistill._core.settings import ResolvedSettings
from selfdistill.data._labelled import LabelledData
from selfdistill.distill._measures import dark_knowledge
from selfdistill.distill._soft_labels import Store, load_store, save_store
from selfdistill.distill._teacher import AnyTeacher, Teacher, soft_labels
from selfdistill.rivals import Method
from selfdistill.runs._directory import Plan
from selfdistill.runs._directory import run as runs_run
from selfdistill.runs._model_file import load_model
from selfdistill.train._runtime import TorchRuntime

if TYPE_CHECKING:
    from selfdistill.distill._distiller import Distiller

STORE = "soft_labels.safetensors"  # where a run keeps the soft labels that it learned from, unless a file was named


@dataclass(frozen=True, eq=False)
class Job:
    """One call of `Distiller.teach`: what happens once the run directory is ours."""

    distiller: Distiller
    found: AnyTeacher
    data: LabelledData
    settings: ResolvedSettings
    source: Mapping[str, Any]
    path: Path
    record: Mapping[str, Any]
    evaluations: Mapping[str, tuple[Tensor, Tensor]] | None
    tell: Listener
    go_on: str

    def room(self) -> int:
        """Bytes of soft labels, at most."""
        rows = len(self.data) * self.distiller.generations
        return 0 if isinstance(self.found, Store) else 2 * rows * self.data.num_classes

    def prepare(self, out: Path) -> tuple[Method, dict[str, Any]]:
        """Write or read the soft labels, train the generations before the last, and measure what they hold."""
        path, earlier = self.path, []
        store = self._written(self.found, path)
        soft = store.soft.probabilities(torch.arange(len(self.data)))
        knowledge = dark_knowledge(soft, self.data.labels, truth=self.data.truth)
        for generation in range(1, self.distiller.generations):
            folder = out / f"generation-{generation}"
            record = self._generation(store, folder, generation, read_record(out).id)
            result = {} if record.result is None else record.result.accuracies
            accuracies = {f"{name}_accuracy": found.model_dump() for name, found in result.items()}
            earlier.append({"folder": folder.name, "seed": record.settings.seed} | accuracies)
            model = load_model(folder / "model.safetensors").network
            path = folder / STORE  # the labels of this generation
            store = self._written(graduate(model, self.data, folder.name), path)
        method = self.distiller._lesson(store)
        file = {"file": str(path)} if path.exists() else {}
        labels = file | store.soft.describe() | {"teacher": dict(store.about.teacher)}
        found = {"soft_labels": labels, "dark_knowledge": knowledge, "earlier": earlier}
        ours = {STORE: digest(out / STORE)} if self.path == out / STORE and self.path.exists() else {}
        return method, {"distillation": dict(self.record) | found, "files": ours}

    def _generation(self, store: Store, folder: Path, generation: int, run: str) -> RunRecord:
        settings, method = self.distiller._seeded(self.settings, generation), self.distiller._lesson(store)
        record = {"distillation": {"objective": self.record["objective"], "generation": generation, "run": run}}
        there = (folder / "run.json").exists()
        theirs = read_record(folder).distillation if there else None
        if theirs is not None and (theirs.run or run) != run:
            raise RunError(f"{folder} belongs to another run", "Put back what it was, or start a new run.")
        barrier()  # all processes look before one of them makes it
        return runs_run(
            self.data,
            settings,
            folder,
            source=self.source,
            evaluations=self.evaluations,
            resume=there,
            tell=self.tell,
            plan=Plan(record, lambda out: (method, {}), 0, escaped(self.go_on)),
        )

    def _written(self, found: AnyTeacher, path: Path) -> Store:
        """Have the soft labels in a file, made once; one process asks, all read."""
        if isinstance(found, Store):
            return found
        if rank() == 0 and not path.exists():
            distiller, runtime = self.distiller, TorchRuntime(self.settings.device)
            source = {name: self.source[name] for name in ("source", "read", "test", "seed")}
            save_store(path, soft_labels(found, self.data, runtime, entries=distiller.entries, source=source))
        barrier()
        return load_store(path)


def graduate(network: nn.Module, data: LabelledData, name: str) -> Teacher:
    """Let a student teach the next one; ``name`` is its generation's."""
    return Teacher(network, data.inputs, {"name": name, "kind": "student"})


def escaped(text: str) -> str:
    """Double braces, so that ``str.format`` leaves them as they are."""
    return text.replace("{", "{{").replace("}", "}}")
