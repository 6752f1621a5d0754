"""The run directory: fit, load, resume, predict, refine, the verdict, and what was learned first."""

from selfdistill._core.air_options import AirOptions
from selfdistill.runs._air import measure, write_closed, write_study
from selfdistill.runs._demo import noisy_digits
from selfdistill.runs._directory import check_free, next_run_folder, run
from selfdistill.runs._epoch_snapshots import EPOCHS, epoch_snapshots, load_snapshot
from selfdistill.runs._label_table import SavedLabelTable, label_table, read_label_table, refined_labels
from selfdistill.runs._model_file import Model, load_model, save_model
from selfdistill.runs._noisy_copy import NoisyCopy, noisy_copy
from selfdistill.runs._plan import Plan
from selfdistill.runs._predict import Predictions, check_output, predict, write_predictions
from selfdistill.runs._refine import EXPORTS, Refined, refine
from selfdistill.runs._request import FitRequest, announce_run, name_of, read_sources, start, threads_of
from selfdistill.runs._run import Run, fit, load
from selfdistill.runs._subject import Subject, of_data, of_run
from selfdistill.runs._verdict import comparison, verdict

__all__ = [
    "EPOCHS",
    "EXPORTS",
    "AirOptions",
    "FitRequest",
    "Model",
    "NoisyCopy",
    "Plan",
    "Predictions",
    "Refined",
    "Run",
    "SavedLabelTable",
    "Subject",
    "announce_run",
    "check_free",
    "check_output",
    "comparison",
    "epoch_snapshots",
    "fit",
    "label_table",
    "load",
    "load_model",
    "load_snapshot",
    "measure",
    "name_of",
    "next_run_folder",
    "noisy_copy",
    "noisy_digits",
    "of_data",
    "of_run",
    "predict",
    "read_label_table",
    "read_sources",
    "refine",
    "refined_labels",
    "run",
    "save_model",
    "start",
    "threads_of",
    "verdict",
    "write_closed",
    "write_predictions",
    "write_study",
]
