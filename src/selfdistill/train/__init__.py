"""The loop and what surrounds it: methods, runtime, checkpoints; from data and settings to a fitted model."""

from selfdistill._core.settings import ResolvedSettings, Settings
from selfdistill.train._checkpoint import checkpoint_steps, load_checkpoint
from selfdistill.train._closed import AUTO, CLOSED, check_closed, choose_method
from selfdistill.train._fit import fit, network_spec
from selfdistill.train._fitted import Fitted
from selfdistill.train._loop import Position, Trainer, predict_probabilities
from selfdistill.train._methods import METHODS, WITHOUT_EPOCHS, method, method_of
from selfdistill.train._runtime import Runtime, TorchRuntime, process_group
from selfdistill.train._second_opinion import trust_of
from selfdistill.train._settings import choose_augment, choose_network, resolve_device

__all__ = [
    "AUTO",
    "CLOSED",
    "METHODS",
    "WITHOUT_EPOCHS",
    "Fitted",
    "Position",
    "ResolvedSettings",
    "Runtime",
    "Settings",
    "TorchRuntime",
    "Trainer",
    "check_closed",
    "checkpoint_steps",
    "choose_augment",
    "choose_method",
    "choose_network",
    "fit",
    "load_checkpoint",
    "method",
    "method_of",
    "network_spec",
    "predict_probabilities",
    "process_group",
    "resolve_device",
    "trust_of",
]
