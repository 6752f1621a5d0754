"""Label noise: transition matrices ``T[clean, given]``, and one seeded draw.

T = symmetric(10, 0.4, include_clean=False)
noisy = draw(labels, T, seed=0)
noisy.labels, noisy.realised_rate
"""

from selfdistill.noise._draw import draw, instance_dependent
from selfdistill.noise._transition import class_dependent, pair, symmetric

__all__ = [
    "class_dependent",
    "draw",
    "instance_dependent",
    "pair",
    "symmetric",
]
