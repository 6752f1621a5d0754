"""Soft labels of a teacher in one file, written once and read by many students: data only, no pickles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from selfdistill._core.errors import DataError, one_line
from selfdistill._core.files import atomic, json_text
from selfdistill._core.record import content_digest
from selfdistill._core.record_paths import kept, usable
from selfdistill.data import LabelledData
from selfdistill.targets import SoftLogits

__all__ = ["About", "Store", "load_store", "save_store"]

_FORMAT = "selfdistill-soft-labels-2"
_WITHOUT_DIGEST = "selfdistill-soft-labels-1"
_PATHS = ("source.source", "source.test", "source.read.labels", "teacher.name")


@dataclass(frozen=True)
class About:
    """Whose soft labels these are, of which data.

    Attributes:
        teacher: What taught: ``name``, ``kind``, and of a run its ``epoch``, ``network`` and ``method``.
        classes: Names, in the order of the logits.
        fingerprint: Of the data, see `data.LabelledData`.
        examples: How many.
        source: Where the data came from, as a run record has it; empty where not known.
        augment: What was done to each view, as `data.augment_for` takes it; "none": the examples as they are.
        seed: Seed of the views.
    """

    teacher: dict[str, Any]
    classes: tuple[str, ...]
    fingerprint: str
    examples: int
    source: dict[str, Any] = field(default_factory=dict)
    augment: str = "none"
    seed: int = 0


@final
@dataclass(frozen=True, eq=False)
class Store:
    """Soft labels with what they are of.

    Attributes:
        soft: The teacher's logits.
        about: Whose, of what.
    """

    soft: SoftLogits
    about: About

    @property
    def views(self) -> int:
        """Augmented views; 0: the examples as they are."""
        return 0 if self.about.augment == "none" else self.soft.shape[0]

    def check(self, data: LabelledData) -> None:
        """Refuse data that these are not the soft labels of.

        Args:
            data: The student's.

        Raises:
            DataError: Other classes or other examples.
        """
        name, about = self.about.teacher["name"], self.about
        if about.classes != data.classes:
            raise DataError(
                f"the soft labels of {name} have {_names(about.classes)}, but the data {_names(data.classes)}",
                "Give the data that the soft labels were made of.",
            )
        if about.fingerprint != data.fingerprint:
            raise DataError(
                f"the soft labels of {name} are of {about.examples:,} examples with fingerprint "
                f"{about.fingerprint[:12]}, but the data are {len(data):,} examples with {data.fingerprint[:12]}",
                "Give the data that they were made of, or the teacher itself, which can label others.",
            )


def _names(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")
    return f"{len(classes)} classes ({shown})"


def save_store(path: Path, store: Store) -> None:
    """Write soft labels to a file, atomically: it is there whole or not at all.

    Args:
        path: The file; usually it ends in ``.safetensors``.
        store: What to write.

    Raises:
        DataError: The file exists.
    """
    if path.exists():
        raise DataError(f"{path} exists already", "Choose another file for the soft labels.")
    described = kept({"format": _FORMAT, "entries": store.soft.k} | asdict(store.about), path.parent, _PATHS)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in store.soft.named_buffers()}
    description = described | {"sha256": _digest(described, tensors)}
    with atomic(path) as part:
        save_file(tensors, part, {"description": json_text(description)})


def load_store(path: Path) -> Store:
    """Read soft labels. The file is mapped: pages come into memory as they are read, once for all processes.

    Args:
        path: A file that `save_store` wrote.

    Returns:
        The store.

    Raises:
        DataError: Missing, cut short, damaged, or something else.

    Example:
        >>> load_store(Path("none.safetensors"))
        Traceback (most recent call last):
        selfdistill._core.errors.DataError: none.safetensors does not exist. Name the file that holds the soft labels.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", "Name the file that holds the soft labels.")
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})["description"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        _check_digest(described, tensors)
        return _assemble(usable(described, path.parent, _PATHS), tensors)
    except Exception as error:  # whatever the libraries make of a stranger's bytes
        raise DataError(
            f"{path} ({path.stat().st_size:,} bytes) is damaged, cut short or holds no soft labels: {one_line(error)}",
            "Write it again.",
        ) from error


def _digest(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what a file says and of its numbers, in the order of their names."""
    found = hashlib.sha256(content_digest(described).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _check_digest(described: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Compare; soft labels of the first format have no digest."""
    if described["format"] == _WITHOUT_DIGEST:
        described["format"] = _FORMAT
        return
    wanted = described.pop("sha256")
    if _digest(described, tensors) != wanted:
        raise ValueError("its digest differs")


def _assemble(described: dict[str, Any], tensors: dict[str, Any]) -> Store:
    if described["format"] != _FORMAT:
        raise ValueError(f"format {described['format']!r} instead of {_FORMAT!r}")
    classes, examples = tuple(map(str, described["classes"])), int(described["examples"])
    views = len(tensors["value"])
    with torch.device("meta"):  # nothing is allocated for what the description merely claims
        expected = SoftLogits(views, examples, len(classes), k=described["entries"])
    for name, buffer in expected.named_buffers():
        found = tensors[name]
        if found.shape != buffer.shape or found.dtype != buffer.dtype:
            raise ValueError(f"{name} is {found.dtype} {tuple(found.shape)}, but says {tuple(buffer.shape)}")
        if found.is_floating_point() and not found.isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite")
        setattr(expected, name, found)
    if bool((expected.kept >= len(classes)).any()):
        raise ValueError("it names classes that are not there")
    named = {name: described[name] for name in ("teacher", "fingerprint", "source", "augment", "seed")}
    return Store(expected, About(classes=classes, examples=examples, **named))
