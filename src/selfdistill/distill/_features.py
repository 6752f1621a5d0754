"""Layers of a student that follow layers of its teacher, beside what it learns from soft labels."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill._core.rng import drawing_from, torch_generator
from selfdistill.losses._distillation import attention_transfer, hint
from selfdistill.rivals import Method

_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"hint": hint, "attention": attention_transfer}


@dataclass(frozen=True)
class FeaturePair:
    """A layer of the student that follows one of the teacher.

    Attributes:
        student: Its name, as ``named_modules`` has it.
        teacher: The teacher's.
        loss: "hint" (FitNets), "attention" (attention transfer), or a function of what both layers give to one value
            per example.
        weight: What the loss counts beside the objective.

    Raises:
        SettingError: No such loss.
    """

    student: str
    teacher: str
    loss: str | Callable[[Tensor, Tensor], Tensor] = "hint"
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no loss."""
        if not callable(self.loss) and self.loss not in _LOSSES:
            raise SettingError(
                f"the loss of a layer is {self.loss!r:.60}", f"Choose one of {', '.join(_LOSSES)}, or pass a function."
            )


@final
class FeatureStudent(nn.Module):
    """A student whose forward pass in training also asks the teacher, for its layers; costs a pass of the teacher."""

    # Where a hint has another shape than the student's layer, a regressor is trained with the student: a linear layer,
    # or of images a convolution without padding whose kernel takes the one size to the other (FitNets, section 2.2).
    extra: Tensor  # weighted losses of the layers in the last forward pass in training, [b]

    def __init__(
        self, student: nn.Module, teacher: nn.Module, pairs: Sequence[FeaturePair], inputs: Tensor, seed: int
    ) -> None:
        super().__init__()
        self.student, self.pairs = student, pairs
        self._unregistered = (teacher,)  # no part of the student: not trained, not saved
        self._seen: dict[tuple[int, str], Tensor] = {}
        device = next((p.device for p in teacher.parameters()), inputs.device)
        was = student.training
        with self.listening(), torch.no_grad():
            student.to(device).eval()(inputs.to(device))
            teacher(inputs.to(device))
        student.train(was)
        with drawing_from(torch_generator(seed, "regressors")):
            self.regressors = nn.ModuleList(
                _regressor(pair, self._seen[i, "student"].shape, self._seen[i, "teacher"].shape)
                for i, pair in enumerate(pairs)
            )

    @contextmanager
    def listening(self) -> Generator[None]:
        """Note what the layers give, while the context lasts."""
        hooks = []
        try:
            for i, pair in enumerate(self.pairs):
                for who, network in (("student", self.student), ("teacher", self._unregistered[0])):
                    layer = _layer(network, getattr(pair, who), who)
                    hooks.append(layer.register_forward_hook(self._noting(i, who)))
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _noting(self, i: int, who: str) -> Callable[..., None]:
        def note(module: nn.Module, given: Any, found: Any) -> None:
            if not isinstance(found, Tensor):
                raise SettingError(
                    f"layer {getattr(self.pairs[i], who)!r} of the {who} gives a {type(found).__name__}",
                    "Name one that gives a tensor.",
                )
            self._seen[i, who] = found.clone()  # what comes next may write over it

        return note

    def forward(self, inputs: Tensor) -> Tensor:
        """Give the student's logits ``[b, K]``; in training, note in ``extra`` how far its layers are."""
        logits: Tensor = self.student(inputs)
        if self.training:
            with torch.no_grad():
                self._unregistered[0](inputs)
            apart = []
            for i, pair in enumerate(self.pairs):
                loss = pair.loss if callable(pair.loss) else _LOSSES[pair.loss]
                mine, theirs = self.regressors[i](self._seen[i, "student"]), self._seen[i, "teacher"].detach()
                apart.append(pair.weight * loss(mine, theirs))
            self.extra = torch.stack(apart).sum(0)
        return logits

    def followed(self, method: Method) -> Method:
        """Let a method of training count the layers, too."""

        def objective(*parts: Any) -> tuple[Tensor, Tensor]:
            values, logits = method.objective(*parts)
            return values + self.extra, logits

        return replace(method, objective=objective)


def _layer(network: nn.Module, name: str, who: str) -> nn.Module:
    layers: dict[str, nn.Module] = dict(network.named_modules())
    if name not in layers:
        near = difflib.get_close_matches(name, layers, n=1) or list(layers)[1:5]
        raise SettingError(f"the {who} has no layer {name!r}", f"It has {', '.join(map(repr, near))}.")
    return layers[name]


def _regressor(pair: FeaturePair, student: torch.Size, teacher: torch.Size) -> nn.Module:
    """Bring a layer of the student to the shape of the teacher's, where the loss wants that."""
    images = len(student) == len(teacher) == 4
    what = f"layers {pair.student!r} and {pair.teacher!r} give {list(student[1:])} and {list(teacher[1:])}"
    if pair.loss == "attention" and not (images and student[2:] == teacher[2:]):
        raise SettingError(f"{what}, whose maps cannot be compared", "Name layers [c, h, w] of images of one size.")
    if pair.loss != "hint" or student == teacher:
        return nn.Identity()
    if images and student[2] >= teacher[2] and student[3] >= teacher[3]:
        kernel = (student[2] - teacher[2] + 1, student[3] - teacher[3] + 1)
        return nn.Conv2d(student[1], teacher[1], kernel)
    if len(student) == len(teacher) == 2:
        return nn.Linear(student[1], teacher[1])
    raise SettingError(
        f"{what}, of which the first cannot become the second",
        "Name two vectors, or images of which the student's are not smaller.",
    )
