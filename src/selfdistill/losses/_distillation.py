"""Losses of a student: with a temperature, standardised, decoupled, and to a mixture of any weight."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import logsigmoid, normalize

from selfdistill.losses._cross_entropy import KnownGradient, at_least_single, cross_entropy

_LEAST = 1e-3
"""Standard deviation, about, below which the logits of an example are stretched no further."""
MIXED_FLOOR = 1e-4
"""Probability below which an entry of less than nothing pushes a class no further."""


class TemperatureTarget(NamedTuple):
    """What `distillation` matches."""

    teacher: Tensor  # the teacher's logits, `[b, K]`, up to a constant per row
    given: Tensor  # given labels as distributions, `[b, K]`
    temperature: float  # T, above 0
    weight: float  # w, the teacher's share, in [0, 1]


def distillation(logits: Float[Tensor, "b k"], soft: TemperatureTarget) -> Float[Tensor, " b"]:
    """Cross-entropy to the teacher at a temperature, and to the given label without one."""
    # w\, T^2\, H(\mathrm{softmax}(v/T),\, \mathrm{softmax}(z/T)) + (1 - w)\, H(y,\, \mathrm{softmax}(z))
    # The gradient of the first term in z is `w\,T\,(\mathrm{softmax}(z/T) - \mathrm{softmax}(v/T))`; the factor
    # `T^2` keeps its size when T changes, and for large T it becomes `w (z - v)/K` of centred logits.
    # There are no second derivatives.
    # Hinton, Vinyals & Dean (2015), arXiv 1503.02531, section 2 and eq. 2 to 4.
    z, v = at_least_single(logits), at_least_single(soft.teacher)
    given, t, w = soft.given, soft.temperature, soft.weight
    with torch.no_grad():
        log_p, taught = (z / t).log_softmax(-1), (v / t).softmax(-1)
        plain = z.log_softmax(-1)
        slope = (w * t) * (log_p.exp() - taught) + (1 - w) * (plain.exp() - given)
        value = -((w * t * t) * taught * log_p + (1 - w) * given * plain).sum(-1)
    found: Tensor = KnownGradient.apply(z, value, slope)  # type: ignore[no-untyped-call]
    return found


def standardised_distillation(logits: Float[Tensor, "b k"], soft: TemperatureTarget) -> Float[Tensor, " b"]:
    """Distillation with a temperature between logits of mean 0 and standard deviation 1, of teacher and student."""
    # w\, T^2\, H(\mathrm{softmax}(\bar v/T),\, \mathrm{softmax}(\bar z/T))
    # + (1 - w)\, H(y,\, \mathrm{softmax}(z)), \qquad \bar z = (z - \mathrm{mean}(z)) / \mathrm{std}(z)
    # A student then need not reach the size of its teacher's logits. There are no second derivatives.
    # Sun, Ren, Li, Wang & Cao (2024), CVPR, arXiv 2403.01427, algorithms 1 and 2. The authors' code divides by the
    # standard deviation of a sample (K - 1), and weighs the two terms 9 and 1 instead of 0.9 and 0.1.
    z, v = at_least_single(logits), at_least_single(soft.teacher).detach()
    taught = distillation(_standardised(z), TemperatureTarget(_standardised(v), soft.given, soft.temperature, 1.0))
    plain = distillation(z, TemperatureTarget(v, soft.given, soft.temperature, 0.0))
    return soft.weight * taught + (1 - soft.weight) * plain


def _standardised(z: Tensor) -> Tensor:
    centred = z - z.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + _LEAST**2).sqrt()


class DecoupledTarget(NamedTuple):
    """What `decoupled_distillation` matches."""

    teacher: Tensor  # the teacher's logits v, `[b, K]`, up to a constant per row
    given: Tensor  # given labels as one-hot rows, `[b, K]`
    temperature: float  # T, above 0
    alpha: float  # weight of the given class against the rest
    beta: float  # weight of the others among themselves


def decoupled_distillation(logits: Float[Tensor, "b k"], target: DecoupledTarget) -> Float[Tensor, " b"]:
    """Cross-entropy to the given label, and the two parts that distillation consists of."""
    # H(y, \mathrm{softmax}(z)) + T^2 \big(\alpha\,\mathrm{KL}(b^v \,\|\, b^z)
    # + \beta\,\mathrm{KL}(\hat q^v \,\|\, \hat q^z)\big)
    # with `b = (q_y, 1 - q_y)` and `\hat q = q_{c \ne y} / (1 - q_y)` of the distributions `q =
    # \mathrm{softmax}(\cdot / T)` of teacher and student. With `\alpha = 1` and `\beta = 1 - q^v_y` their
    # sum is the usual divergence, in which a teacher that is sure of the given label hides what it knows of the others.
    # Zhao, Cui, Song, Qiu & Liang (2022), CVPR, arXiv 2203.08679, eq. 4 to 7. In the authors' code the two parts grow
    # from 0 to their weight over the first 20 epochs; here they do not.
    t, given = target.temperature, target.given
    z, v = at_least_single(logits), at_least_single(target.teacher).detach()
    mine, theirs = _parts(z / t, given), _parts(v / t, given)
    value: Tensor = cross_entropy(z, given.to(z.dtype))
    for weight, a, b in ((target.alpha, theirs[0], mine[0]), (target.beta, theirs[1], mine[1])):
        value = value + weight * t * t * (a.exp() * (a - b)).sum(-1)
    return value


def _parts(z: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities: of the given class and the rest ``[b, 2]``, of the others among themselves ``[b, K - 1]``."""
    y = given.argmax(-1, keepdim=True)
    places = torch.arange(z.shape[-1] - 1, device=z.device).expand(len(z), -1)
    own, others = z.gather(1, y), z.gather(1, places + (places >= y))
    ahead = own - others.logsumexp(-1, keepdim=True)
    return logsigmoid(torch.cat([ahead, -ahead], -1)), others.log_softmax(-1)


def mixed_cross_entropy(logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Cross-entropy to a target that may have entries below 0 and above 1."""
    # -\sum_c t_c \log\begin{cases} p_c & t_c \ge 0 \\ \max(p_c, 10^{-4}) & t_c < 0 \end{cases},
    # \qquad t = (1 - \xi)\, y + \xi\, q
    # For ξ in [0, 1] it is the cross-entropy to the mixture. Above 1 it moves away from the given label, wherever the
    # teacher gives it less than (ξ − 1)/ξ; below 0 away from the teacher. The cross-entropy alone has then no least
    # value: the class would be pushed down for ever. Here it is pushed to a probability of 1e-4 and no further, so the
    # loss lies at least at 9.22 times the sum of the entries below 0; until then its gradient in the logits is p − t.
    # Furlanello, Lipton, Tschannen, Itti & Anandkumar (2018), arXiv 1805.04770; Das & Sanghavi (2023), arXiv
    # 2301.13304, where weights above 1 are found best at high label noise. The floor is ours.
    log_p = at_least_single(logits).log_softmax(-1)
    away = log_p.clamp(min=math.log(MIXED_FLOOR))
    return -(target.clamp(min=0) * log_p + target.clamp(max=0) * away).sum(-1)


def hint(
    student: Float[Tensor, "b *d"],  # noqa: UP037, F821 (jaxtyping's string)
    teacher: Float[Tensor, "b *d"],  # noqa: UP037, F821
) -> Float[Tensor, " b"]:
    """Half the squared distance between two layers' outputs."""
    # \tfrac{1}{2} \lVert u_h - r(v_g) \rVert^2
    # Romero, Ballas, Kahou, Chassang, Gatta & Bengio (2015), ICLR, arXiv 1412.6550, eq. 3. There the student's lower
    # half is trained by this first and then the whole by distillation; as a term beside it, it is trained at once.
    apart = at_least_single(student) - at_least_single(teacher)
    return 0.5 * apart.square().flatten(1).sum(-1)


def attention_transfer(student: Float[Tensor, "b c h w"], teacher: Float[Tensor, "b d h w"]) -> Float[Tensor, " b"]:
    """Half the distance between two layers' maps of activity."""
    # \tfrac{1}{2} \left\lVert \frac{Q_S}{\lVert Q_S \rVert_2} - \frac{Q_T}{\lVert Q_T \rVert_2} \right\rVert_2,
    # \qquad Q = \mathrm{vec}\Big(\sum_c A_c^2\Big)
    # The number of channels may differ, the size of the image not.
    # Zagoruyko & Komodakis (2017), ICLR, arXiv 1612.03928, eq. 2 with p = 2; its β is the weight of the term. The
    # authors' code takes the mean of the squares instead of the norm.
    apart: Tensor = vector_norm(_map(student) - _map(teacher), dim=-1)
    return 0.5 * apart


def _map(layer: Tensor) -> Tensor:
    return normalize(at_least_single(layer).square().sum(1).flatten(1), dim=-1)
