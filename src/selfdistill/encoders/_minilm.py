"""The packaged encoder of texts: all-MiniLM-L6-v2, its tokens averaged, to length 1."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from torch.nn.functional import normalize

from selfdistill.encoders._encoder import check_hash, fingerprint_of, packaged_folder

_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_TOKENS = 256


@final
class MiniLM:
    """384 numbers of a text's first 256 tokens, English above all; weights Apache-2.0."""

    kind, name, dimension, side = "texts", "texts", 384, 0

    def __init__(self, archive: zipfile.ZipFile) -> None:
        from safetensors.torch import load as tensors_of
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel

        weights = archive.read("model.safetensors")
        check_hash("all-MiniLM-L6-v2", hashlib.sha256(weights).hexdigest(), _SHA256, "texts")
        words = archive.read("tokenizer.json")
        self._network = BertModel(
            BertConfig.from_dict(json.loads(archive.read("config.json"))), add_pooling_layer=False
        )
        unused = ("pooler.", "embeddings.position_ids")
        found = {name: tensor for name, tensor in tensors_of(weights).items() if not name.startswith(unused)}
        self._network.load_state_dict(found)
        self._network.requires_grad_(False).train(False)
        self._tokens = Tokenizer.from_str(words.decode())
        self._tokens.enable_padding()
        self._tokens.enable_truncation(_TOKENS)
        self.fingerprint = fingerprint_of([_SHA256, words, f"{_TOKENS} tokens, mean, length 1"])

    def prepare(self, example: str) -> str:
        """Leave the text as it is."""
        return example

    def encode(self, prepared: Sequence[str]) -> np.ndarray:
        """Compute features."""
        read = self._tokens.encode_batch(list(prepared))
        tokens = torch.tensor([one.ids for one in read])
        mask = torch.tensor([one.attention_mask for one in read])
        with torch.inference_mode():
            hidden = self._network(input_ids=tokens, attention_mask=mask).last_hidden_state
            kept = mask[..., None].float()
            found: np.ndarray = normalize((hidden * kept).sum(1) / kept.sum(1)).numpy()
        return found

    def cut(self, examples: Sequence[Any]) -> int:
        """Count the texts of more than 256 tokens."""
        return sum(bool(one.overflowing) for one in self._tokens.encode_batch(list(examples)))


def load() -> MiniLM:
    """Load the packaged weights."""
    with zipfile.ZipFile(packaged_folder("texts") / "model.zip") as archive:
        return MiniLM(archive)
