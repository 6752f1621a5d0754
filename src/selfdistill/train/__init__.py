"""The loop and what surrounds it: settings, methods, runtime, checkpoints, run directories."""

from selfdistill.train._fit import Fitted, fit
from selfdistill.train._loop import Position, predict_probabilities, train
from selfdistill.train._methods import METHODS, Method, method
from selfdistill.train._model_file import Model, load_model, save_model
from selfdistill.train._run import next_run_folder, run, stored_invocation
from selfdistill.train._runtime import Runtime, TorchRuntime, process_group
from selfdistill.train._settings import Settings, resolve_device

__all__ = [
    "METHODS",
    "Fitted",
    "Method",
    "Model",
    "Position",
    "Runtime",
    "Settings",
    "TorchRuntime",
    "fit",
    "load_model",
    "method",
    "next_run_folder",
    "predict_probabilities",
    "process_group",
    "resolve_device",
    "run",
    "save_model",
    "stored_invocation",
    "train",
]
