"""Networks: plain modules that take a batch and return logits; `build` makes one from a word."""

from selfdistill.networks._build import build
from selfdistill.networks._he2016resnet import ResNet
from selfdistill.networks._small_networks import MLP, SmallCNN

__all__ = ["MLP", "ResNet", "SmallCNN", "build"]
