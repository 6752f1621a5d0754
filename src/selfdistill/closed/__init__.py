"""Self-distillation in closed form on features: one factorisation, exact leave-one-out, no epochs and no seed."""

from selfdistill.closed._refine import ClosedForm, refine_labels

__all__ = [
    "ClosedForm",
    "refine_labels",
]
