"""Label noise: transition matrices ``T[clean, given]``, one seeded draw, and label files of people.

T = symmetric(10, 0.4, include_clean=False)
noisy = draw(labels, T, seed=0)
noisy.labels, noisy.realised_rate
"""

from selfdistill.noise._draw import Noise, Summary, draw, instance_dependent, summary
from selfdistill.noise._files import read_labels, read_matrix
from selfdistill.noise._transition import cifar10_asymmetric, class_dependent, pair, symmetric, to_cleanlab

__all__ = [
    "Noise",
    "Summary",
    "cifar10_asymmetric",
    "class_dependent",
    "draw",
    "instance_dependent",
    "pair",
    "read_labels",
    "read_matrix",
    "summary",
    "symmetric",
    "to_cleanlab",
]
