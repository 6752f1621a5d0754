"""Pretrained networks as functions from photos or texts to features, and the store that keeps features."""

from selfdistill.encoders._encoder import load_encoder

__all__ = ["load_encoder"]
