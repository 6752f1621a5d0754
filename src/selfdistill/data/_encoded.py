"""Features of a pretrained network in the place of pixels, or beside the words of a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, SettingError, one_line
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import listed
from selfdistill.data._arrays import TEXT_WEIGHT, ArrayPreprocess
from selfdistill.data._preprocess import Preprocess
from selfdistill.encoders._encoder import Encoder, load_encoder
from selfdistill.encoders._store import FeatureStore, default_folder, key_of

NO_ENCODER = "none"
_SHARE = 0.5  # length of a text's features beside the length of its words


def is_encoded(options: ReadOptions) -> bool:
    """Say whether an encoder is asked for."""
    return options.encoder not in {None, NO_ENCODER}


def encoder_for(kind: str, options: ReadOptions, made: tuple[str, str] | None) -> Encoder:
    """Load the encoder that the user names, or that of training, which runs no code and fetches nothing by itself."""
    name, fingerprint = made or (str(options.encoder), None)
    if made is not None and is_encoded(options):
        name = str(options.encoder)
    elif made is not None and name.startswith("torch:"):
        raise SettingError(
            f"training had the encoder {name!r}, which runs code of yours",
            Advice("Name it here too: {--encoder} {name}.", name=name),
        )
    encoder = load_encoder(name, fetch=made is None or is_encoded(options))
    if encoder.kind != kind:
        raise SettingError(
            f"encoder {name!r} takes {encoder.kind}, but the data are {kind}", Advice("Choose another {--encoder}.")
        )
    if fingerprint is not None and encoder.fingerprint != fingerprint:
        raise DataError(
            f"training had an encoder with the fingerprint {fingerprint[:8]}, but {name!r} has "
            f"{encoder.fingerprint[:8]} here",
            "Install the weights of training, or train again.",
        )
    return encoder


def store_for(encoder: Encoder, options: ReadOptions) -> FeatureStore:
    """Open the store of a run; new examples, which nobody keeps, get one in memory."""
    if not is_encoded(options):
        return FeatureStore(None, encoder)
    folder = default_folder(encoder) if options.features is None else Path(options.features)
    return FeatureStore(folder, encoder)


@final
class EncodedPreprocess(Preprocess, kind="encoded"):
    """Photos as features ``[n, d]``, each column standardised as in training."""

    def __init__(self, encoder: tuple[str, str], scales: ArrayPreprocess) -> None:
        self.encoder, self._scales = encoder, scales  # name and fingerprint; what standardises the features

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._scales.input_shape

    def apply(self, raw: Any) -> Tensor:
        return self._scales.apply(raw)

    def raw(self, inputs: Tensor) -> np.ndarray:
        return self._scales.raw(inputs)

    def facts(self) -> str:
        return f"photos as {self.input_shape[0]:,} features (encoder {self.encoder[0]})"

    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        name, fingerprint = self.encoder
        spec = {"kind": self.kind, "encoder": name, "fingerprint": fingerprint}
        return spec | self._paths(), self._scales.to_state()[1]

    @classmethod
    def _rebuild(cls, spec: dict[str, Any], tensors: dict[str, Tensor]) -> EncodedPreprocess:
        encoder = str(spec["encoder"]), str(spec["fingerprint"])
        return cls(encoder, ArrayPreprocess._rebuild({}, tensors))


@final
class Embedded:
    """Features of one text column: less their mean over training, half as long as the column's words together."""

    # A text without characters is 0, as among the words. Why half: docs/decisions/0036-texts-through-a-network.md.

    def __init__(self, encoder: tuple[str, str], mean: np.ndarray, factor: float) -> None:
        self.encoder, self.mean, self.factor = encoder, mean, factor
        self._store: FeatureStore | None = None  # of training, so that what was encoded is not encoded again

    @property
    def width(self) -> int:
        """Number of outputs."""
        return len(self.mean)

    @classmethod
    def fit(cls, cells: Sequence[str], name: str, options: ReadOptions) -> tuple[Embedded, list[str]]:
        """Encode the texts of training; give also what to say of them."""
        encoder = encoder_for("texts", options, None)
        store = store_for(encoder, options)
        features = _encoded(cells, store)
        filled = np.array([bool(cell.strip()) for cell in cells])
        mean = features[filled].mean(0, dtype=np.float64) if filled.any() else np.zeros(encoder.dimension)
        spread = float(np.sqrt(np.square(features[filled] - mean).sum(1).mean())) if filled.any() else 0.0
        made = cls((encoder.name, encoder.fingerprint), mean, _SHARE * TEXT_WEIGHT / spread if spread else 0.0)
        made._store = store
        messages = []
        if empty := np.flatnonzero(~filled).tolist():
            messages.append(f"column {name!r} has {len(empty):,} empty texts, in rows {listed(empty)} (from 0).")
        if cut := encoder.cut(cells):
            messages.append(
                f"column {name!r} has {cut:,} texts that are longer than the encoder reads: it sees their beginning."
            )
        return made, messages

    def apply(self, cells: Sequence[str]) -> np.ndarray:
        """Turn texts into features, float32 ``[n, d]``."""
        store = self._store or FeatureStore(None, encoder_for("texts", ReadOptions(), self.encoder))
        out = (_encoded(cells, store) - self.mean) * self.factor
        out[[not cell.strip() for cell in cells]] = 0.0
        return np.asarray(out, np.float32)

    def to_state(self) -> tuple[dict[str, str], Tensor]:
        """Give what `of_state` takes."""
        name, fingerprint = self.encoder
        return {"encoder": name, "fingerprint": fingerprint}, torch.from_numpy(np.append(self.mean, self.factor))

    @classmethod
    def of_state(cls, spec: dict[str, Any], numbers: np.ndarray) -> Embedded:
        """Rebuild what `to_state` gave."""
        if numbers.ndim != 1 or len(numbers) < 2 or not np.isfinite(numbers).all():
            raise ValueError("a mean of features that is none")
        return cls((str(spec["encoder"]), str(spec["fingerprint"])), numbers[:-1], float(numbers[-1]))


def _encoded(cells: Sequence[str], store: FeatureStore) -> np.ndarray:
    keys = [key_of(cell.encode("utf-8", "surrogatepass")) for cell in cells]
    names = [cell[:40] for cell in cells]
    bad = store.fill(names, keys, lambda place: store.encoder.prepare(cells[place]))
    for place, error in bad.items():
        raise DataError(
            f"the text {names[place]!r} cannot be encoded: {one_line(error)}", Advice("Choose another {--encoder}.")
        ) from error
    return store.gather(keys)
