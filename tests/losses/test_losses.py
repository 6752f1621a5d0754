"""Every loss joins one table and inherits these tests; each has a slow twin that loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.losses import cross_entropy, generalized_cross_entropy
from selfdistill.losses._anchored import elr_term
from selfdistill.rivals.huang2020sat import weighted_cross_entropy
from selfdistill.rivals.li2020dividemix import squared_error
from selfdistill.rivals.liu2020elr import early_learning_regularized
from selfdistill.rivals.liu2022sop import shifted_cross_entropy
from selfdistill.rivals.patrini2017correction import backward_corrected, forward_corrected
from selfdistill.rivals.reed2015bootstrap import bootstrap_hard, bootstrap_soft
from selfdistill.rivals.tanaka2018joint import joint_optimization
from selfdistill.rivals.wang2019sce import symmetric_cross_entropy
from selfdistill.rivals.zhang2018gce import truncated_cross_entropy


def softmax(z):
    e = [math.exp(x - max(z)) for x in z]
    return [x / sum(e) for x in e]


def twin_cross_entropy(z, t):
    return -sum(tc * math.log(pc) for tc, pc in zip(t, softmax(z), strict=True) if tc)


def twin_kl(z, t):
    return sum(tc * (math.log(tc) - math.log(pc)) for tc, pc in zip(t, softmax(z), strict=True) if tc)


def twin_gce(z, t, q=0.7):
    return sum(tc * (1 - pc**q) / q for tc, pc in zip(t, softmax(z), strict=True))


def twin_sce(z, t):
    rce = sum(pc * (4.0 if tc == 0 else min(-math.log(tc), 4.0)) for tc, pc in zip(t, softmax(z), strict=True))
    return 0.1 * twin_cross_entropy(z, t) + rce


def twin_elr(z, t):
    inner = sum(min(max(pc, 1e-4), 1 - 1e-4) * tc for tc, pc in zip(t, softmax(z), strict=True))
    return math.log(1 - min(inner, 1 - 1e-4))


def twin_bootstrap_soft(z, t):
    return -sum((0.95 * tc + 0.05 * pc) * math.log(pc) for tc, pc in zip(t, softmax(z), strict=True))


def twin_bootstrap_hard(z, t):
    p = softmax(z)
    own = [float(c == p.index(max(p))) for c in range(len(p))]
    return -sum((0.8 * tc + 0.2 * oc) * math.log(pc) for tc, oc, pc in zip(t, own, p, strict=True))


def twin_forward(z, likelihood):
    return -math.log(sum(pc * lc for lc, pc in zip(likelihood, softmax(z), strict=True)))


def backward_of_signed(z, t):
    """Weights as an inverse has them: of both signs."""
    return backward_corrected(z, 3 * t - 1)


def twin_backward(z, t):
    return -sum((3 * tc - 1) * math.log(max(pc, 1e-7)) for tc, pc in zip(t, softmax(z), strict=True))


def truncated_where_first(z, t):
    return truncated_cross_entropy(z, t, t[:, 0] > 0.3)


def twin_truncated(z, t):
    return twin_gce(z, t) if t[0] > 0.3 else (1 - 0.5**0.7) / 0.7


def twin_elr_loss(z, t):
    """The memory stands in for the label too: any two distributions do."""
    return twin_cross_entropy(z, t) + 3.0 * twin_elr(z, t)


def twin_weighted(z, t):
    return max(t) * twin_cross_entropy(z, t)


def shift_of(t):
    """A noise with the signs of SOP: up at the label, down elsewhere."""
    return [0.7 * tc if tc == max(t) else -0.9 * tc for tc in t]


def twin_shifted(z, t):
    raised = [max(pc + sc, 1e-4) for pc, sc in zip(softmax(z), shift_of(t), strict=True)]
    return -sum(tc * math.log(max(rc / sum(raised), 1e-4)) for tc, rc in zip(t, raised, strict=True))


def twin_joint(z, t):
    """A batch of one, and t is the prior too."""
    p = softmax(z)
    return twin_kl(z, t) + 1.2 * twin_kl(z, t) - 0.8 * sum(pc * math.log(pc) for pc in p)


def shifted(z, t):
    return shifted_cross_entropy(z, (t, torch.tensor([shift_of(row) for row in t.tolist()], dtype=t.dtype)))


def joint(z, t):
    """Example by example: over a batch the loss is not one of each example, see test_tanaka2018joint.py."""
    return torch.cat([joint_optimization(z[i : i + 1], (t[i : i + 1], t[i])) for i in range(len(z))])


def twin_squared(z, t):
    return sum((pc - tc) ** 2 for tc, pc in zip(t, softmax(z), strict=True)) / len(z)


LOSSES = {
    "cross_entropy": (cross_entropy, twin_cross_entropy),
    "gce": (generalized_cross_entropy, twin_gce),
    "sce": (symmetric_cross_entropy, twin_sce),
    "elr": (elr_term, twin_elr),
    "bootstrap_soft": (bootstrap_soft, twin_bootstrap_soft),
    "bootstrap_hard": (bootstrap_hard, twin_bootstrap_hard),
    "forward": (forward_corrected, twin_forward),
    "backward": (backward_of_signed, twin_backward),
    "truncated": (truncated_where_first, twin_truncated),
    "elr_loss": (lambda z, t: early_learning_regularized(z, (t, t)), twin_elr_loss),
    "sat": (lambda z, t: weighted_cross_entropy(z, (t, t.amax(-1))), twin_weighted),
    "sop": (shifted, twin_shifted),
    "joint": (joint, twin_joint),
    "squared": (squared_error, twin_squared),
}
pytestmark = pytest.mark.parametrize("name", LOSSES)


@given(st.integers(0, 10_000), st.integers(2, 7), st.floats(0.1, 8))
@settings(max_examples=30)
def test_equals_its_naive_twin(name, seed, k, scale):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, scale, (3, k))
    t = rng.dirichlet(np.full(k, 0.5), 3)
    t[0] = np.eye(k)[0]
    loss, twin = LOSSES[name]
    got = loss(torch.tensor(z), torch.tensor(t))
    assert got.shape == (3,)
    np.testing.assert_allclose(got, [twin(a, b) for a, b in zip(z, t, strict=True)], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_value_and_gradient_at_logits_of_ten_thousand(name, dtype):
    z = torch.tensor([[1e4, 0.0, -1e4], [-1e4, 1e4, 0.0]], dtype=dtype, requires_grad=True)
    t = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    value = LOSSES[name][0](z, t)
    value.sum().backward()
    assert value.isfinite().all()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_gradient_equals_finite_differences(name):
    torch.manual_seed(0)
    z = torch.randn(2, 4, dtype=torch.float64)
    t = torch.randn(2, 4, dtype=torch.float64).softmax(-1)
    f = LOSSES[name][0]
    assert torch.autograd.gradcheck(lambda x: f(x, t), z.requires_grad_())


def test_wrong_shapes_are_refused_by_the_shape_checker(name):
    with pytest.raises(Exception, match=r"jaxtyping|type"):
        LOSSES[name][0](torch.zeros(2, 3), torch.zeros(2, 4))
