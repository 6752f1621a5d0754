"""Self-distillation in closed form on features: one factorisation, exact leave-one-out, no epochs and no seed."""

from selfdistill.closed._fold import Fold
from selfdistill.closed._given import Given, check_given
from selfdistill.closed._landmarks import Landmarks, choose_landmarks
from selfdistill.closed._noise_link import Form, NoiseLink, fit_link
from selfdistill.closed._refine import ClosedForm, refine_labels
from selfdistill.closed._rounds import Candidate, Choice, choose_rounds, ridge_of_least_error
from selfdistill.closed._spectrum import Spectrum

__all__ = [
    "Candidate",
    "Choice",
    "ClosedForm",
    "Fold",
    "Form",
    "Given",
    "Landmarks",
    "NoiseLink",
    "Spectrum",
    "check_given",
    "choose_landmarks",
    "choose_rounds",
    "fit_link",
    "refine_labels",
    "ridge_of_least_error",
]
