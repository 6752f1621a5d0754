"""The loop and what surrounds it: settings, methods, runtime, checkpoints, run directories."""

from selfdistill._core.settings import ResolvedSettings, Settings
from selfdistill.train._checkpoint import checkpoint_steps, load_checkpoint
from selfdistill.train._closed import AUTO, CLOSED, check_closed, choose_method
from selfdistill.train._demo import noisy_digits
from selfdistill.train._findings_file import Findings, label_table, read_findings, refined_labels
from selfdistill.train._fit import fit, network_spec
from selfdistill.train._fitted import Fitted
from selfdistill.train._invocation import FitRequest, announce_run, name_of, read_sources, start, threads_of
from selfdistill.train._kept_epochs import EPOCHS, kept_epochs, load_epoch
from selfdistill.train._loop import Position, predict_probabilities, train
from selfdistill.train._methods import METHODS, WITHOUT_EPOCHS, method, method_of
from selfdistill.train._model_file import Model, load_model, save_model
from selfdistill.train._noisy_copy import NoisyCopy, noisy_copy
from selfdistill.train._plan import Plan
from selfdistill.train._predict import Predictions, check_output, predict, write_predictions
from selfdistill.train._refine import EXPORTS, Refined, refine
from selfdistill.train._run import check_free, next_run_folder, run
from selfdistill.train._runtime import Runtime, TorchRuntime, process_group
from selfdistill.train._second_opinion import trust_of
from selfdistill.train._settings import choose_augment, choose_network, resolve_device
from selfdistill.train._verdict import comparison, verdict

__all__ = [
    "AUTO",
    "CLOSED",
    "EPOCHS",
    "EXPORTS",
    "METHODS",
    "WITHOUT_EPOCHS",
    "Findings",
    "FitRequest",
    "Fitted",
    "Model",
    "NoisyCopy",
    "Plan",
    "Position",
    "Predictions",
    "Refined",
    "ResolvedSettings",
    "Runtime",
    "Settings",
    "TorchRuntime",
    "announce_run",
    "check_closed",
    "check_free",
    "check_output",
    "checkpoint_steps",
    "choose_augment",
    "choose_method",
    "choose_network",
    "comparison",
    "fit",
    "kept_epochs",
    "label_table",
    "load_checkpoint",
    "load_epoch",
    "load_model",
    "method",
    "method_of",
    "name_of",
    "network_spec",
    "next_run_folder",
    "noisy_copy",
    "noisy_digits",
    "predict",
    "predict_probabilities",
    "process_group",
    "read_findings",
    "read_sources",
    "refine",
    "refined_labels",
    "resolve_device",
    "run",
    "save_model",
    "start",
    "threads_of",
    "train",
    "trust_of",
    "verdict",
    "write_predictions",
]
