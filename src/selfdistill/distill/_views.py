"""The augmented views that a teacher labelled, drawn again for the student: the same pixels for the same label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill._core.rng import torch_generator
from selfdistill.data import Batch, LabelledData, augment_for
from selfdistill.targets import Taught

__all__ = ["Views", "views_of"]


@final
class Views:
    """Augmented views of each example, from a seed; memory ``10 v n`` bytes, whatever the size of the images.

    Args:
        spec: As `data.augment_for` takes it.
        count: Views of each example.
        data: The examples, images.
        seed: Seed of the draws.

    Attributes:
        spec: What is changed, with nothing left to be chosen.

    Raises:
        SettingError: Nothing would be changed.
    """

    def __init__(self, spec: str, count: int, data: LabelledData, seed: int) -> None:
        shape = tuple(data.inputs.shape[1:])
        stats = data.preprocess.stats
        augment = augment_for(spec, shape, stats[0] if stats else ())
        if augment is None:
            raise SettingError(
                f"{count} views were asked for, but nothing is changed in them: augment is {spec!r}",
                "Say how with --augment, such as flip,crop:2, or leave --views out.",
            )
        parts = [f"crop:{augment.crop}" if augment.crop else "", "flip" if augment.flip else ""]
        parts.append(f"cutout:{augment.cutout}" if augment.cutout else "")
        self.augment, self.spec, self.seed = augment, ",".join(part for part in parts if part), seed
        self.drawn = torch.stack(
            [
                augment.draw(len(data), shape[1:], torch_generator(seed, "teacher's view", view)).short()
                for view in range(count)
            ]
        )

    def __len__(self) -> int:
        return len(self.drawn)

    def apply(self, inputs: Tensor, index: Tensor, view: int) -> Tensor:
        """Show examples as a view has them.

        Args:
            inputs: Their images, ``[b, c, h, w]``.
            index: Their positions in the data, int64 ``[b]``.
            view: Which view.

        Returns:
            New images.
        """
        return self.augment.apply(inputs, self.drawn[view][index.cpu()].long())

    def objective(
        self, forward: Callable[..., Tensor], batch: Batch, view: Any, target: Taught, loss: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Show the view that the teacher labelled for this epoch, and match it; see ``train.Method.objective``.

        Args:
            forward: The student.
            batch: Examples.
            view: Not used: views are the teacher's.
            target: Says which view this epoch has.
            loss: Logits and target to one value per example.

        Returns:
            Values ``[b]`` and logits ``[b, K]``.
        """
        logits = forward(self.apply(batch.inputs, batch.index, target.view))
        return loss(logits, target.read(batch.index, logits.detach())), logits


def views_of(spec: str, count: int, data: LabelledData, seed: int) -> Views | None:
    """Make the views that were asked for.

    Args:
        spec: As `data.augment_for` takes it.
        count: How many; 0: none, the teacher labels the examples as they are.
        data: The examples.
        seed: Seed of the draws.

    Returns:
        The views, or ``None``.

    Raises:
        SettingError: Fewer than 0, or an augmentation that changes nothing.
    """
    if count < 0:
        raise SettingError(f"views is {count}, but must be at least 0", "0 labels each example as it is.")
    return Views(spec, count, data, seed) if count else None
