"""Tangent kernel ``[n, m]`` of an infinitely wide two-layer ReLU network that trains its first layer alone.

f(x) = sum_r a_r relu(w_r x) / sqrt(m), a_r = 1 or -1, so K(x, x') = x x' (pi - angle) / (2 pi); without a factor 2 in
the scaling the diagonal is half the squared norm. Du, Zhai, Poczos & Singh (2018), arXiv 1810.02054; Arora, Du, Hu, Li
& Wang (2019), arXiv 1901.08584.
"""

import math

from selfdistill.theory._relu_kernel import _by_blocks


def first_layer_kernel(inputs, other=None):
    return _by_blocks(inputs, other, lambda angle: angle.cos() * (math.pi - angle) / (2 * math.pi))
