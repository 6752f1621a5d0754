"""Networks: plain modules that take a batch and return logits; `build` makes one from a word."""

from selfdistill.networks._build import build

__all__ = ["build"]
