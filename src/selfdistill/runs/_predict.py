"""Labels and probabilities for new data, from a finished run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from torch import Tensor

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.files import atomic
from selfdistill._core.memory import translate_out_of_memory
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_finished
from selfdistill._core.wording import ending
from selfdistill.data._read import read_new
from selfdistill.runs._model_file import load_model
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime
from selfdistill.train._settings import resolve_device

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 65_536


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a run's classifier says about new examples."""

    ids: np.ndarray  # their names, strings `[n]`
    classes: tuple[str, ...]  # names of the classes, K of them
    probabilities: Tensor  # float32 `[n, K]`, rows sum to 1
    labels: Tensor | None = None  # their labels where the new data have them, int64 `[n]` (−1: missing); else `None`
    warnings: tuple[str, ...] = ()  # sentences for the user, such as on categories that training never saw

    @property
    def known(self) -> int:
        """Number of examples that came with a label."""
        return 0 if self.labels is None else int((self.labels >= 0).sum())

    @property
    def accuracy(self) -> float | None:
        """Share of predictions equal to the labels that came with the data; ``None`` where none came."""
        if self.labels is None or not self.known:
            return None
        labelled = self.labels >= 0
        return (self.probabilities.argmax(-1) == self.labels)[labelled].float().mean().item()

    def table(self, start: int = 0, stop: int | None = None) -> pd.DataFrame:
        """Lay rows out as columns ``id``, ``predicted_label``, ``confidence`` and ``p_<class>`` for each class."""
        import pandas as pd

        probabilities = self.probabilities[start:stop].numpy()
        best = probabilities.argmax(-1)
        named = {
            "id": self.ids[start:stop],
            "predicted_label": np.asarray(self.classes, dtype=object)[best],
            "confidence": probabilities.max(-1),
        }
        columns = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in self.classes])
        return pd.concat([pd.DataFrame(named), columns], axis=1)


def predict(
    run: Path,
    new: Path | str,
    read: ReadOptions | None = None,
    *,
    device: str = "auto",
    batch_size: int = 1024,
) -> Predictions:
    """Predict with the classifier of a run directory, on data with labels or without."""
    # The batch size changes the memory needed, not the result. Columns to ignore stay unread, such as the label's where
    # it names classes of its own. Encoding: that said; else UTF-8 where the bytes are; else the run's; else found.
    # An encoder that is a module of the user's must be named: a run does not run code by itself.
    if batch_size < 1:
        raise SettingError(f"batch_size is {batch_size}, but must be at least 1", Advice("Leave {--batch-size} out."))
    place = resolve_device(device)
    trained_on = read_finished(run).data.read or ReadOptions()
    model = load_model(run / "model.safetensors")
    options = replace(read or ReadOptions(), inputs=trained_on.inputs)
    examples = read_new(new, model.preprocess, model.classes, options, usual_encoding=trained_on.encoding)
    runtime = TorchRuntime(place)
    network = runtime.prepare(model.network)
    with translate_out_of_memory(Advice("Take a smaller {--batch-size}.")):
        probabilities = predict_probabilities(network, examples.inputs, runtime, batch_size)
    if not probabilities.isfinite().all():
        raise DataError(
            f"{run} gives probabilities for {new} that are no numbers", "Look for values far from those of training."
        )
    return Predictions(examples.ids, model.classes, probabilities, examples.labels, examples.warnings)


def write_predictions(found: Predictions, to: Path | IO[str], *, force: bool = False) -> None:
    """Write the table as CSV to a stream, or by its ending as CSV or Parquet to a file, never half."""
    if not isinstance(to, Path):
        _write_csv(found, to)
        return
    check_output(to, force=force)
    with atomic(to) as part:
        if to.suffix == ".parquet":
            found.table().to_parquet(part, index=False)
        else:
            with part.open("w", encoding="utf-8", newline="") as file:
                _write_csv(found, file)


def check_output(to: Path, *, force: bool = False) -> None:
    """Refuse, before the work, a file of another ending, in no folder, or there already without ``force``."""
    if to.suffix not in {".csv", ".parquet"}:
        hint = "Name a file that ends in .csv or .parquet."
        raise SettingError(f"out {ending(to)}", hint, param="out")
    if not to.parent.is_dir():
        raise SettingError(f"out {to}: the folder {to.parent} does not exist", "Make it first.", param="out")
    if to.is_dir() or (to.exists() and not force):
        if to.is_dir():
            raise SettingError(f"out {to} is a folder", "Choose another name.", param="out")
        hint = Advice("Choose another name", "overwrite it with {--force}.")
        raise SettingError(f"out {to} exists already", hint, param="out")


def _write_csv(found: Predictions, file: IO[str]) -> None:
    for start in range(0, len(found.ids), _BLOCK):
        part = found.table(start, start + _BLOCK)
        part.to_csv(file, index=False, header=start == 0, float_format="%.6g", lineterminator="\n")
