"""What is known of all examples of a run: from its table, then, in closed form, from each decision as well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit, logit

from selfdistill._core.advice import Advice
from selfdistill._core.run_record import RunRecord
from selfdistill.closed._prepare import Prepared
from selfdistill.closed._settler import Settler
from selfdistill.issues import find_issues
from selfdistill.review._groups import cluster
from selfdistill.runs._decision_files import decided_array, decided_before
from selfdistill.runs._label_table import read_findings, soft_blocks
from selfdistill.runs._model_file import load_model
from selfdistill.runs._subject import read_again
from selfdistill.train._closed import CLOSED, prepare_closed

SHOWN = 9  # classes of a card: as many as there are digits
_STEP = 8192
_DIRECTIONS = 50  # in which clusters are sought
_CLUSTERED = 20_000  # examples that are grouped
_NEAR = 1e-4  # probabilities nearer to 0 or 1 are not believed
_MOST = 10_000  # examples of a network's run, up to which the closed form is made on their inputs
_FORWARD = 5000  # of them where each goes through a network
_BATCH = 256
_FEW = 20_000  # examples up to which links are fitted again after each decision: under a second
_QUICK = 20  # decisions on more of them that are learned with the links as they are


@dataclass(frozen=True, eq=False)
class Saved:
    """What does not change."""

    ids: list[str]  # names of the examples
    classes: tuple[str, ...]  # names of the classes
    given: np.ndarray  # given labels, codes ``[n]``
    flagged: np.ndarray  # which the run called wrong, bool ``[n]``


@dataclass(frozen=True, eq=False)
class LabelScores:
    """What is known of the labels at a time."""

    quality: np.ndarray  # what orders the examples, low first, ``[n]``
    wrong: np.ndarray  # probability that the given label is wrong, in which its own decision has no part, ``[n]``
    likely: np.ndarray  # codes of the likeliest classes, falling, int32 ``[n, m]``
    shares: np.ndarray  # their probabilities, float32 ``[n, m]``
    # codes of the labels to propose, int64 ``[n]``: the likeliest; where that is the given one, which is doubted all
    # the same, the next; as the column ``suggested_label`` of a run
    suggested: np.ndarray
    learned: int | None = None  # version of the journal that was learned from; ``None``: the run's own scores


def read_saved(run: Path, record: RunRecord) -> tuple[Saved, LabelScores]:
    """Read the table of a run."""
    table = read_findings(run)
    places = {name: k for k, name in enumerate(table.classes)}
    given = np.array([places[name] for name in table.given], np.int64)
    saved = Saved([str(one) for one in table.ids], table.classes, given, table.is_issue)
    closed_form = record.settings.method == CLOSED  # elsewhere the quality is no probability
    wrong = 1 - (table.quality if closed_form else table.p_given).astype(np.float64)
    likely, shares = _likeliest(soft_blocks(run, table.classes))
    return saved, LabelScores(table.quality, wrong, likely, shares, _suggested(likely, given, table.is_issue))


def _suggested(likely: np.ndarray, given: np.ndarray, doubted: np.ndarray) -> np.ndarray:
    same = doubted & (likely[:, 0] == given)
    return np.where(same, likely[:, 1], likely[:, 0]).astype(np.int64)


def _likeliest(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    likely, shares = [], []
    for soft in blocks:
        m = min(SHOWN, soft.shape[1])
        some = np.argpartition(-soft, m - 1, axis=1)[:, :m] if m < soft.shape[1] else np.argsort(-soft, axis=1)
        values = np.take_along_axis(soft, some, 1)
        order = np.argsort(-values, axis=1, kind="stable")
        likely.append(np.take_along_axis(some, order, 1).astype(np.int32))
        shares.append(np.take_along_axis(values, order, 1))
    return np.concatenate(likely), np.concatenate(shares)


def of_network(record: RunRecord) -> bool:
    """Say whether a run trained a network on data that can be read again."""
    return record.settings.method != CLOSED and record.data.read is not None


def why_fixed(record: RunRecord) -> str:
    """Say why the order cannot learn from decisions; "" where it can."""
    if record.data.read is None:
        return "The order is that of the run, whose data were in memory and cannot be read again."
    if of_network(record) and record.data.examples > _MOST:
        return Advice(
            "The order is that of the run: with more than {most:,} examples only runs of the closed form ({--method} "
            "kernel) learn from decisions.",
            most=_MOST,
        )
    return ""


def _odds(p: np.ndarray) -> np.ndarray:
    return np.asarray(logit(np.clip(p.astype(np.float64), _NEAR, 1 - _NEAR)))


class Learner:
    """Keeps what the closed form factorised, and refines all labels after each decision."""

    # After a network's run the closed form is made on the inputs. Log-odds of both add up to the order; probabilities
    # are means of both.

    def __init__(self, run: Path, record: RunRecord, first: LabelScores) -> None:
        data = read_again(run, record, mapped=True)
        data = replace(data, distributions=data.shares)
        if (before := decided_before(run, record)) is not None:
            data = replace(data, settled=torch.from_numpy(decided_array(before, data.classes, len(data))))
        self._made: Prepared = prepare_closed(data, record.settings)
        self._settler, self._decided = Settler(self._made), np.full(0, -1)
        self.quick = 0  # decisions since all was computed anew
        self._run: tuple[LabelScores, np.ndarray] | None = None
        if of_network(record):
            self._run = first, np.concatenate(list(soft_blocks(run, data.classes)))

    def learn(self, decided: np.ndarray, version: int, *, anew: bool = False) -> LabelScores:
        """Refine all labels with the decided ones held, codes ``[n]``, -1 where they are open."""
        # Links and the noise matrix are fitted again after each decision on up to 20,000 examples, after 20 decisions
        # on more, and where ``anew`` says so.
        self.quick += int((decided != self._decided).sum()) if len(self._decided) else _QUICK
        self._decided, anew = decided, anew or len(decided) <= _FEW or self.quick >= _QUICK
        self.quick = 0 if anew else self.quick
        soft, quality = self._settler.settle(decided, links=anew)
        given = self._made.given.codes
        wrong = 1 - quality
        if self._run is not None:
            first, network = self._run
            soft = np.where(decided[:, None] >= 0, soft, (soft + network) / 2)
            quality, wrong = expit(_odds(quality) + _odds(first.quality)), (wrong + first.wrong) / 2
        likely, shares = _likeliest(soft[start : start + _STEP] for start in range(0, len(soft), _STEP))
        doubted = find_issues(given, soft, quality=quality).is_issue
        return LabelScores(quality, wrong, likely, shares, _suggested(likely, given, doubted), version)

    def clusters(self, rows: np.ndarray) -> np.ndarray:
        """Group examples by their leading directions in the kernel: of very many rows the first 20,000."""
        return cluster(self._made.spectrum.at(torch.from_numpy(rows[:_CLUSTERED]))[:, :_DIRECTIONS].numpy())


class LastLayer:
    """Groups examples by what the last layer of a run's network sees of them."""

    def __init__(self, run: Path, record: RunRecord) -> None:
        self._rows = read_again(run, record, mapped=True).rows
        self._network = load_model(run / "model.safetensors").network

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Give what the last layer sees of some rows, as unit vectors, float32 ``[m, d]``."""
        seen: list[torch.Tensor] = []
        last = [module for module in self._network.modules() if isinstance(module, torch.nn.Linear)][-1]
        handle = last.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        with torch.inference_mode():
            for some in torch.split(torch.from_numpy(rows), _BATCH):
                self._network(torch.as_tensor(self._rows[some]))
        handle.remove()
        return torch.nn.functional.normalize(torch.cat(seen)).numpy()

    def clusters(self, rows: np.ndarray) -> np.ndarray:
        """Group by the leading principal directions of these vectors: of very many rows the first 5,000."""
        from sklearn.decomposition import PCA

        features = self.features(rows[:_FORWARD])
        return cluster(PCA(min(_DIRECTIONS, *features.shape), random_state=0).fit_transform(features))
