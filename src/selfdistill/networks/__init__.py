"""Networks: plain modules that take a batch and return logits.

`build` makes one from a word; `resolve` chooses one for the data. The classes are usable on their own.
"""

from selfdistill.networks._build import NAMES, Size, build, describe, resolve
from selfdistill.networks._he2016resnet import ResNet
from selfdistill.networks._kernel_machine import KERNELS, KernelMachine, Trees, kernel_rows, unit_rows
from selfdistill.networks._small_networks import MLP, Pair, SmallCNN, Standardise

__all__ = [
    "KERNELS",
    "MLP",
    "NAMES",
    "KernelMachine",
    "Pair",
    "ResNet",
    "Size",
    "SmallCNN",
    "Standardise",
    "Trees",
    "build",
    "describe",
    "kernel_rows",
    "resolve",
    "unit_rows",
]
