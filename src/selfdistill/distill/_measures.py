"""What a teacher's soft labels hold beyond their likeliest class, and the summary of a distillation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from selfdistill._core.distillation_record import Distillation, Knowledge
from selfdistill._core.errors import DataError
from selfdistill._core.labels import pair_counts
from selfdistill._core.run_record import RunRecord

_ROWS = 12


def entropy_beyond_top(soft: Tensor) -> Tensor:
    """Entropy of each soft label ``[n, K]`` that is about which other class it is, in nats, ``[n]``."""
    # H(q) = h(q_max) + (1 - q_max) H(rest / (1 - q_max)), h the entropy of a coin: the second term.
    q = soft.double()
    others = q.scatter(1, q.argmax(-1, keepdim=True), 0.0)
    mass = others.sum(-1)
    beyond: Tensor = torch.special.xlogy(mass, mass) - torch.special.xlogy(others, others).sum(-1)
    return beyond


def class_similarity(soft: Tensor, classes: Tensor, reference: Tensor) -> float | None:
    """Correlate the off-diagonal entries of the soft labels' class means with a confusion matrix.

    Args:
        soft: ``[n, K]``.
        classes: Class of each example, int64 ``[n]``.
        reference: Which classes are taken for one another, ``[K, K]``, rows are the true class; counts or shares.

    Returns:
        Pearson's correlation over the K (K − 1) entries of classes that have examples; ``None`` where one side is
        constant or fewer than two classes have examples.

    Raises:
        DataError: A reference of another shape.

    Example:
        >>> soft = torch.tensor([[0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9]])
        >>> confusion = torch.tensor([[4.0, 1, 0], [1, 9, 0], [0, 1, 9]])
        >>> round(class_similarity(soft, torch.tensor([0, 1, 2]), confusion), 4)
        1.0
    """
    k = soft.shape[1]
    if reference.shape != (k, k):
        raise DataError(f"the confusion has shape {tuple(reference.shape)}, but there are {k} classes", "Give [K, K].")
    means = torch.zeros(k, k, dtype=torch.float64).index_add_(0, classes, soft.double())
    counts = torch.bincount(classes, minlength=k).double()
    rows = reference.double().sum(1)
    there = (counts > 0) & (rows > 0)
    if int(there.sum()) < 2:
        return None
    off = ~torch.eye(k, dtype=torch.bool)[there]
    pair = torch.stack(
        [(means[there] / counts[there, None])[off], (reference.double()[there] / rows[there, None])[off]]
    )
    if bool((pair.std(1) < 1e-12).any()):
        return None
    return float(torch.corrcoef(pair)[0, 1])


def information_given_top(soft: Tensor, truth: Tensor) -> dict[str, float]:
    """Estimate what soft labels ``[n, K]`` tell about the truth beyond their likeliest class, in nats."""
    # The soft label is reduced to S: its second class, and whether its confidence lies above the median of its
    # likeliest class A. The plug-in estimate of I(Y; S | A) from counts is, but for its bias, a lower bound on the
    # information in the whole soft label. The bias under independence is, to first order (Miller 1955),
    # sum_a (r_a - 1)(s_a - 1) / 2n with r_a, s_a the numbers of values of Y and S seen where A = a.
    k, n = soft.shape[1], len(soft)
    top = soft.topk(min(2, k), dim=-1)
    likeliest, second, confidence = top.indices[:, 0], top.indices[:, -1], top.values[:, 0]
    plug_in, bias = 0.0, 0.0
    for a in torch.unique(likeliest).tolist():
        rows = likeliest == a
        sure = confidence[rows] > confidence[rows].median()
        table = torch.zeros(k, 2 * k, dtype=torch.float64)
        ones = torch.ones(int(rows.sum()), dtype=torch.float64)
        table.index_put_((truth[rows], 2 * second[rows] + sure), ones, accumulate=True)
        table = table[table.sum(1) > 0][:, table.sum(0) > 0]
        joint = table / table.sum()
        product = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        plug_in += len(ones) / n * float(torch.special.xlogy(joint, joint / product).sum())
        bias += (table.shape[0] - 1) * (table.shape[1] - 1) / (2 * n)
    return {"plug_in": plug_in, "bias": bias, "corrected": max(plug_in - bias, 0.0)}


def dark_knowledge(soft: Tensor, given: Tensor, *, truth: Tensor | None = None) -> dict[str, Any]:
    """Measure what soft labels hold beyond their likeliest class.

    Args:
        soft: Distributions, ``[n, K]``.
        given: Given labels, int64 ``[n]``.
        truth: True labels, int64 ``[n]``, −1 where not known: to measure, never to teach.

    Returns:
        ``entropy`` and ``beyond_top`` (means, nats), ``top`` (mean of the largest probability), ``agreement`` with the
        given labels; where the truth is known ``accuracy``, ``information``, see `information_given_top`, and
        ``similarity``, see `class_similarity`: classes that soft labels find alike against those whose true examples
        are given one another's labels.

    Example:
        >>> dark_knowledge(torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([0]))["agreement"]
        1.0
    """
    q = soft.double()
    measures: dict[str, Any] = {
        "entropy": float(-torch.special.xlogy(q, q).sum(-1).mean()),
        "beyond_top": float(entropy_beyond_top(soft).mean()),
        "top": float(q.amax(-1).mean()),
        "agreement": float((q.argmax(-1) == given).double().mean()),
    }
    if truth is None or not bool((truth >= 0).any()):
        return measures
    known = truth >= 0
    rows, true = soft[known], truth[known]
    return measures | {
        "accuracy": float((rows.argmax(-1) == true).double().mean()),
        "information": information_given_top(rows, true),
        "similarity": class_similarity(rows, true, pair_counts(true, given[known], soft.shape[1])),
    }


def sentences(found: Knowledge) -> list[str]:
    """Say what `dark_knowledge` measured, in lines for a reader."""
    lines = [
        f"  Its soft labels put {100 * found.top:.1f} % on the likeliest class on average, the given label for "
        f"{100 * found.agreement:.1f} % of the examples",
        f"  Entropy {found.entropy:.3f} nats, of which {found.beyond_top:.3f} tell which other class",
    ]
    if found.accuracy is not None:
        lines.append(f"  Right for {100 * found.accuracy:.1f} % of the examples whose truth is known")
    if found.similarity is not None:
        lines.append(f"  Similarity of classes as the labels confuse them: correlation {found.similarity:.2f}")
    if found.information is not None:
        lines.append(
            f"  Information on the truth beyond the likeliest class: {found.information.corrected:.3f} nats "
            f"(plug-in {found.information.plug_in:.3f}, bias about {found.information.bias:.3f})"
        )
    return lines


def who_teaches(found: Distillation) -> str:
    """Name the teacher, its epoch, and how that was chosen."""
    if found.teacher is None:
        raise ValueError("distillation.teacher is missing")
    epoch = f" after epoch {found.teacher.epoch}" if found.teacher.epoch is not None else ""
    count = len(found.candidates)
    chosen = f", chosen by {found.choose} from {count} epochs" if count > 1 else ""
    return f"{found.teacher.name}{epoch}{chosen}"


def summary(record: RunRecord) -> list[str]:
    """Say what a student's run record holds about its teacher; lines that begin a part do not start with a space."""
    found = record.distillation
    if found is None or found.soft_labels is None or found.dark_knowledge is None:
        raise ValueError("distillation.soft_labels is missing")
    labels = found.soft_labels
    lines = [f"Teacher: {who_teaches(found)}", *_table(found), *sentences(found.dark_knowledge)]
    where = f" in {labels.file}" if labels.file is not None else ""
    lines.append(f"  Kept as {labels.kind}, {labels.bytes:,} bytes{where}")
    for one in found.earlier:
        tested = f": test accuracy {100 * one.test_accuracy.last:.1f} %" if one.test_accuracy is not None else ""
        lines.append(f"  {one.folder}{tested}")
    numbers = ", ".join(f"{name} {value:g}" for name, value in found.numbers.items())
    generations = f", generation {found.generations}" if found.generations > 1 else ""
    return [
        *lines,
        "",
        f"Student: {record.settings.network}, {found.objective}" + (f" ({numbers})" if numbers else "") + generations,
    ]


def _table(found: Distillation) -> list[str]:
    """Candidates with what was measured of them; of many, those that some way chooses."""
    rows = [one.model_dump() for one in found.candidates]
    if len(rows) < 2:
        return []
    listed = rows if len(rows) <= _ROWS else [row for row in rows if row["chosen_by"]]
    names = [name for name in ("held_out_accuracy", "changed_share", "agreement", "test_accuracy") if name in rows[0]]
    heads = {"held_out_accuracy": "held out", "changed_share": "changed", "test_accuracy": "test (an oracle)"}
    titles = [heads.get(name, name) for name in names]
    lines = ["  epoch" + "".join(f"  {title:>9}" for title in titles) + "  chosen by"]
    for row in listed:
        cells = "".join(
            f"  {100 * row[name]:>{max(9, len(t)) - 2}.1f} %" for name, t in zip(names, titles, strict=True)
        )
        lines.append(f"  {row['epoch']:>5}{cells}  {', '.join(row['chosen_by'])}".rstrip())
    if len(listed) < len(rows):
        lines.append(f"  ... of {len(rows)} epochs, all in run.json")
    without = [f"{way} ({answer['not']})" for way, answer in found.choices.items() if "not" in answer]
    return [*lines, *([f"  No answer: {'; '.join(without)}"] if without else [])]
