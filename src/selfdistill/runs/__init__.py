"""Runs from Python: fit, load, predict, refine, report, and what was learned first."""

from selfdistill.runs._air import AirOptions, measure, write_closed, write_study
from selfdistill.runs._run import Run, fit, load
from selfdistill.runs._subject import Subject, of_data, of_run

__all__ = [
    "AirOptions",
    "Run",
    "Subject",
    "fit",
    "load",
    "measure",
    "of_data",
    "of_run",
    "write_closed",
    "write_study",
]
