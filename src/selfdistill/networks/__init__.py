"""Networks: plain modules that take a batch and return logits.

`build` makes one from a word; `resolve` chooses one for the data. The classes are usable on their own.
"""

from selfdistill.networks._build import NAMES, build, resolve
from selfdistill.networks._gastaldi2017shake import ShakeShake, shake
from selfdistill.networks._he2016resnet import ResNet
from selfdistill.networks._kernel_machine import KERNELS, KernelMachine, kernel_rows, unit_rows
from selfdistill.networks._mlp import MLP
from selfdistill.networks._pair import Pair
from selfdistill.networks._size import Size, describe
from selfdistill.networks._small_cnn import SmallCNN
from selfdistill.networks._standardise import Standardise
from selfdistill.networks._trees import Trees
from selfdistill.networks._zagoruyko2016wide import WideResNet

__all__ = [
    "KERNELS",
    "MLP",
    "NAMES",
    "KernelMachine",
    "Pair",
    "ResNet",
    "ShakeShake",
    "Size",
    "SmallCNN",
    "Standardise",
    "Trees",
    "WideResNet",
    "build",
    "describe",
    "kernel_rows",
    "resolve",
    "shake",
    "unit_rows",
]
