"""Soft labels of a teacher: in one file for many students, or from predictions made elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from selfdistill._core.errors import DataError, SettingError, one_line
from selfdistill._core.files import atomic, json_text
from selfdistill._core.record import content_digest, opened_paths, relative_paths
from selfdistill.data._labelled import LabelledData
from selfdistill.targets._teacher import SoftLogits

_FORMAT = "selfdistill-soft-labels-3"
_WITH_VIEWS = "selfdistill-soft-labels-2"
_WITHOUT_DIGEST = "selfdistill-soft-labels-1"
_WIDE = 1e-3  # by which rows of probabilities may miss 1
_PATHS = ("source.source", "source.test", "source.read.labels", "teacher.name")


@dataclass(frozen=True)
class About:
    """Whose soft labels these are, of which data."""

    teacher: dict[str, Any]  # what taught: ``name``, ``kind``, and of a run its ``epoch``, ``network`` and ``method``
    classes: tuple[str, ...]  # names, in the order of the logits
    fingerprint: str  # of the data
    examples: int  # how many
    source: dict[str, Any] = field(default_factory=dict)  # where the data came from, as in a run record; or empty


@final
@dataclass(frozen=True, eq=False)
class Store:
    """Soft labels with what they are of."""

    soft: SoftLogits  # the teacher's logits
    about: About  # whose, of what

    def check(self, data: LabelledData) -> None:
        """Refuse data of other classes or examples than these soft labels'."""
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
    names = ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")
    return f"{len(classes)} classes ({names})"


def save_store(path: Path, store: Store) -> None:
    """Write soft labels to a file, whole or not at all."""
    if path.exists():
        raise DataError(f"{path} exists already", "Choose another file for the soft labels.")
    described = relative_paths({"format": _FORMAT, "entries": store.soft.k} | asdict(store.about), path.parent, _PATHS)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in store.soft.named_buffers()}
    description = described | {"sha256": _digest(described, tensors)}
    with atomic(path) as part:
        save_file(tensors, part, {"description": json_text(description)})


def load_store(path: Path) -> Store:
    """Read soft labels. The file is mapped: pages come into memory as they are read, once for all processes."""
    if not path.is_file():
        raise DataError(f"{path} does not exist", "Name the file that holds the soft labels.")
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})["description"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        _check_digest(described, tensors)
        return _assemble(opened_paths(described, path.parent, _PATHS), tensors)
    except Exception as error:  # whatever the libraries make of a stranger's bytes
        raise DataError(
            f"{path} ({path.stat().st_size:,} bytes) is damaged, cut short or holds no soft labels: {one_line(error)}",
            "Write it again.",
        ) from error


def _digest(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the description and the numbers of a file, in the order of their names."""
    state = hashlib.sha256(content_digest(described).encode())
    for name, tensor in sorted(tensors.items()):
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _check_digest(described: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Compare; soft labels of the first format have no digest."""
    wanted = described.pop("sha256", None)
    if described["format"] != _WITHOUT_DIGEST and _digest(described, tensors) != wanted:
        raise ValueError("its digest differs")


def _of_one_view(described: dict[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    """Take the only view of a file of the first two formats, which could hold several."""
    if described["format"] not in {_WITHOUT_DIGEST, _WITH_VIEWS}:
        return tensors
    if described["augment"] != "none":
        raise ValueError("it holds augmented views, which only versions before 0.2 read")
    described["format"] = _FORMAT
    return {name: tensor[0] for name, tensor in tensors.items()}


def _assemble(described: dict[str, Any], tensors: dict[str, Any]) -> Store:
    tensors = _of_one_view(described, tensors)
    if described["format"] != _FORMAT:
        raise ValueError(f"format {described['format']!r} instead of {_FORMAT!r}")
    classes, examples = tuple(map(str, described["classes"])), int(described["examples"])
    with torch.device("meta"):  # nothing is allocated for what the description merely claims
        expected = SoftLogits(examples, len(classes), k=described["entries"])
    for name, buffer in expected.named_buffers():
        tensor = tensors[name]
        if tensor.shape != buffer.shape or tensor.dtype != buffer.dtype:
            raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, but says {tuple(buffer.shape)}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite")
        setattr(expected, name, tensor)
    if bool((expected.kept >= len(classes)).any()):
        raise ValueError("it names unknown classes")
    named = {name: described[name] for name in ("teacher", "fingerprint", "source")}
    return Store(expected, About(classes=classes, examples=examples, **named))


@final
class FunctionNetwork(nn.Module):
    """A function of inputs as a network: from ``[b, ...]`` to logits ``[b, K]``, an array or a tensor."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function, self.name = function, getattr(function, "__name__", type(function).__name__)

    def forward(self, inputs: Tensor) -> Any:
        """Call the function."""
        return self.function(inputs)


def logits_of(found: Any, name: str) -> Tensor:
    """Take the logits out of what a network gave: a tensor, an array, or under ``logits`` as in a ``ModelOutput``."""
    held = found.get("logits") if isinstance(found, Mapping) else getattr(found, "logits", None)
    held = found if held is None else held
    if isinstance(held, np.ndarray):
        return torch.from_numpy(held)
    if isinstance(held, Tensor):
        return held
    raise DataError(
        f"{name} gives a {type(held).__name__}, which holds no logits",
        "Give a function that takes them out, such as lambda inputs: network(inputs)[0].",
    )


def of_numbers(given: Any, data: LabelledData, name: str) -> Store:
    """Take logits or probabilities ``[n, K]`` in the order of the data as soft labels; ``name`` says who teaches."""
    if hasattr(given, "columns") and set(map(str, given.columns)) == set(data.classes):
        given = given[sorted(given.columns, key=lambda column: data.classes.index(str(column)))]
    if isinstance(given, Tensor):
        given = given.detach().cpu().double().numpy()
    try:
        logits = torch.from_numpy(np.array(given, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"the predictions of {name} are not an array of numbers", "Give logits [n, K].") from error
    n, k = len(data), data.num_classes
    if logits.shape != (n, k):
        raise DataError(
            f"the predictions of {name} have shape {list(logits.shape)}, but there are {n:,} examples of {k} classes",
            f"Give logits [{n}, {k}], in the order of the data.",
        )
    if bool((logits.isnan() | logits.isposinf()).any()) or not bool(logits.amax(-1).isfinite().all()):
        problem = f"the predictions of {name} hold numbers that are not finite"
        raise DataError(problem, "Look for NaN and infinite ones.")
    if bool((logits >= 0).all()) and bool(((logits.sum(-1) - 1).abs() < _WIDE).all()):
        logits = logits.log()
    soft = SoftLogits(n, k)
    soft.write(slice(0, n), logits)
    return Store(soft, About({"name": name, "kind": "soft labels"}, data.classes, data.fingerprint, n))


def of_classifier(given: Any, data: LabelledData) -> Store:
    """Ask a classifier with ``predict_proba`` about the examples as they were before they were standardised."""
    name = type(given).__name__
    raw = data.preprocess.raw(data.inputs)
    if raw is None:
        raise SettingError(
            f"{name} cannot be used: the data have their own preprocessing",
            "Give its predictions instead: predict_proba(X).",
        )
    classes = [str(one) for one in getattr(given, "classes_", ())]
    if sorted(classes) != sorted(data.classes):
        raise DataError(
            f"{name} knows the classes {', '.join(classes[:6]) or 'none'}, but the data have "
            f"{', '.join(data.classes[:6])}",
            "Fit it on data with these classes.",
        )
    try:
        probabilities = given.predict_proba(raw.reshape(len(data), -1))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{name} cannot take these examples: {error}".splitlines()[0],
            "Give its predictions instead: predict_proba(X).",
        ) from error
    return of_numbers(np.asarray(probabilities)[:, [classes.index(one) for one in data.classes]], data, name)
