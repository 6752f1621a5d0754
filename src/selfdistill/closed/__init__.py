"""Self-distillation in closed form on features: one factorisation, exact leave-one-out, no epochs and no seed."""

from selfdistill.closed._refine import refine_labels

__all__ = [
    "refine_labels",
]
