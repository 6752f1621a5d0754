"""Robust targets in Hugging Face's Trainer; needs the extra ``transformers``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from safetensors.torch import load_file, save

from selfdistill._core.errors import DataError, RunError, SettingError
from selfdistill._core.files import atomic
from selfdistill._core.shards import whole
from selfdistill.data._with_index import with_index
from selfdistill.train._robust_targets import RobustTargets

try:
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint
except ImportError as missing:
    raise ImportError(
        f"selfdistill.integrations.transformers needs transformers ({missing}): pip install 'selfdistill[transformers]'"
    ) from missing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SelfDistillMixin", "SelfDistillTrainer"]

_FILE = "robust_targets.safetensors"


class SelfDistillMixin:
    """Makes any ``Trainer`` of a classifier robust to wrong labels: ``class MyTrainer(SelfDistillMixin, Trainer)``.

    It numbers the training set, takes its loss from `RobustTargets`, logs ``agreement``, ``changed_share`` and
    ``refined_share`` after each epoch and ``label_issues`` after the last, and keeps its state in each checkpoint, so
    that ``train(resume_from_checkpoint=...)`` goes on bit for bit. Evaluation and prediction stay as they are.

    Args:
        *args: Those of ``Trainer``.
        robust: A method's name, or `RobustTargets` of your own, which is needed where the training set is a stream;
            that must then hold each example's number as ``index``.
        **kwargs: Those of ``Trainer``.

    Raises:
        SettingError: A loss of your own, or label smoothing, which this would not obey.
        DataError: A training set without labels.
    """

    loss_is_scaled_for_ga: ClassVar[bool] = False
    robust: RobustTargets
    if TYPE_CHECKING:
        args: Any
        model: Any
        train_dataset: Any
        _signature_columns: Any

        def log(self, logs: dict[str, float]) -> None:
            """Log."""

    def __init__(self, *args: Any, robust: str | RobustTargets = "selfdistill", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wanted = robust
        own = getattr(self, "compute_loss_func", None) is not None
        if own or getattr(self, "label_smoother", None) is not None:
            raise SettingError(
                f"{'compute_loss_func' if own else 'label_smoothing_factor'} is set, but the loss comes from the "
                "targets",
                "Leave it out.",
            )
        if self.train_dataset is not None and hasattr(self.train_dataset, "__len__"):
            self._labels = labels_of(self.train_dataset)
            self.train_dataset = with_index(self.train_dataset)
        self.add_callback(_EpochEnds(self))  # type: ignore[attr-defined]  # Trainer's

    def _new_targets(self) -> RobustTargets:
        """Make the targets of a training that begins."""
        if isinstance(self._wanted, RobustTargets):
            return self._wanted
        if not hasattr(self, "_labels"):
            raise SettingError(
                "the training set has no length, so its labels are not known",
                "Pass robust=RobustTargets(labels, num_classes), and let the data hold each example's 'index'.",
            )
        args, classes = self.args, self.model.config.num_labels
        batch = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
        steps = math.ceil(len(self._labels) / batch)
        epochs = math.ceil(args.max_steps / steps if args.max_steps > 0 else args.num_train_epochs)
        return RobustTargets(self._labels, classes, self._wanted, epochs=max(1, epochs), steps=steps, seed=args.seed)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train, see ``Trainer.train``; new targets, or those of the checkpoint.

        Args:
            resume_from_checkpoint: A checkpoint's folder, or True for the last one.
            *args: Those of ``Trainer.train``.
            **kwargs: Those of ``Trainer.train``.

        Returns:
            What ``Trainer.train`` returns.

        Raises:
            RunError: The checkpoint holds no targets, or those of other labels.
        """
        self.robust = self._new_targets()
        if resume_from_checkpoint is True:
            resume_from_checkpoint = get_last_checkpoint(self.args.output_dir)
        if resume_from_checkpoint:
            file = Path(resume_from_checkpoint) / _FILE
            if not file.is_file():
                raise RunError(f"{file} is missing", "Resume from a checkpoint that this trainer wrote.")
            self.robust.load_state_dict(load_file(file))
        return super().train(resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]  # Trainer's

    def _set_signature_columns_if_needed(self) -> None:
        """Keep the index, which Trainer takes for an unused column."""
        super()._set_signature_columns_if_needed()  # type: ignore[misc]  # Trainer's
        if "index" not in self._signature_columns:
            self._signature_columns.append("index")

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the method's loss in training, the model's in evaluation."""
        inputs = dict(inputs)
        index = inputs.pop("index", None)
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        if index is None:
            raise DataError(
                f"a batch of training has no index, only {', '.join(inputs)}",
                "Let the data collator pass on the key 'index'.",
            )
        labels = inputs.pop("labels", None)
        outputs = model(**inputs)
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
        loss = self.robust.loss(index, logits, labels)
        return (loss, outputs) if return_outputs else loss

    def label_issues(self) -> pd.DataFrame:
        """Give the findings on the training set, see `RobustTargets.label_issues`."""
        names = getattr(self.model.config, "id2label", None) or {}
        k = self.robust.num_classes
        return self.robust.label_issues([names.get(i, i) for i in range(k)] if len(names) == k else None)


class _EpochEnds(TrainerCallback):  # type: ignore[misc]  # untyped where transformers is absent
    """Ends the targets' epochs with Trainer's, before it saves."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        robust = self.trainer.robust
        logs = robust.end_epoch()
        if control.should_training_stop or state.global_step >= state.max_steps:
            logs["label_issues"] = float(robust._count_issues())
        self.trainer.log(logs)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        robust = self.trainer.robust
        robust.gather()
        saved = whole(robust.state_dict())
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if args.should_save and folder.is_dir():
            with atomic(folder / _FILE) as file:
                file.write_bytes(save({name: part.contiguous() for name, part in saved.items()}))


class SelfDistillTrainer(SelfDistillMixin, Trainer):  # type: ignore[misc]  # untyped where transformers is absent
    """Hugging Face's ``Trainer``, robust to wrong labels; see `SelfDistillMixin`."""


def labels_of(dataset: Any) -> Any:
    """Read the labels of a training set: its column, or item by item."""
    names = ("labels", "label", "label_ids")
    columns = getattr(dataset, "column_names", None)
    if columns is not None:
        name = next((name for name in names if name in columns), None)
        found = None if name is None else list(dataset[name])
    else:
        items = (dataset[i] for i in range(len(dataset)))
        found = [next((item[name] for name in names if name in item), None) for item in items]
    if found is None or any(label is None for label in found):
        raise DataError(
            "the training set has no labels", f"Name the column {' or '.join(names[:2])}: dataset.rename_column."
        )
    return [int(label) for label in found]
