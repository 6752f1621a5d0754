"""What users of cleanlab's ``CleanLearning`` find under the same names, in the same forms (arXiv 1911.00068)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from sklearn.exceptions import NotFittedError

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.wording import listed
from selfdistill.data._labels import value_key
from selfdistill.estimator._checks import encode_labels, labels_of, on_host
from selfdistill.issues import find_issues
from selfdistill.issues._blocks import as_soft
from selfdistill.issues._table import LabelTable, issue_frame

_ROWS = "Pass one row or value for each example, in the order of fit."


class CleanlabNames:
    """Findings under cleanlab's names. Matrices have cleanlab's orientation, ``[given, true]``; ours is the transpose.

    Before `fit` each is ``None``, as in ``CleanLearning``. Unlike there, each call finds anew: nothing is left over
    from the one before.
    """

    _table: LabelTable | None = None
    _classes: np.ndarray | None = None
    _given_issues: pd.DataFrame | None = None
    _saved_space: bool = False
    _rows: pd.Index | None = None

    if TYPE_CHECKING:

        def fit(self, X: Any, y: Any = None, *, label_issues: Any = None, labels: Any = None) -> Self:
            """Train."""

    @property
    def noise_matrix(self) -> np.ndarray | None:
        """Probability of each given label by true class, ``[given, true]``, columns sum to 1."""
        return None if self._table is None else self._table.noise.noise_matrix.T

    @property
    def inverse_noise_matrix(self) -> np.ndarray | None:
        """Probability of each true class by given label, ``[true, given]``, columns sum to 1."""
        return None if self._table is None else self._table.noise.inverse.T

    @property
    def confident_joint(self) -> np.ndarray | None:
        """Estimated counts, int64 ``[given, true]``; rows sum to the numbers of given labels."""
        return None if self._table is None else self._table.noise.confident_joint().T

    @property
    def joint(self) -> np.ndarray | None:
        """Estimated probability of each pair, ``[given, true]``; cleanlab's ``dataset`` functions take it."""
        return None if self._table is None else self._table.noise.joint.T

    @property
    def py(self) -> np.ndarray | None:
        """Estimated share of each true class, ``[K]``."""
        return None if self._table is None else self._table.noise.clean_share

    @property
    def ps(self) -> np.ndarray | None:
        """Share of each given label, ``[K]``."""
        return None if self._table is None else self._table.noise.given_share

    @property
    def num_classes(self) -> int | None:
        """K."""
        return None if self._classes is None else len(self._classes)

    @property
    def label_issues_df(self) -> pd.DataFrame | None:
        """What `get_label_issues` returns."""
        return None if self._table is None else self._frame()

    @property
    def label_issues_mask(self) -> np.ndarray | None:
        """Which labels are called wrong, bool ``[n]``."""
        return None if self._table is None else self._table.is_issue

    @property
    def sample_weight(self) -> pd.Series | None:
        """The column ``sample_weight`` of `get_label_issues`."""
        frame = self.label_issues_df
        return None if frame is None else frame["sample_weight"]

    def get_label_issues(self) -> pd.DataFrame | None:
        """Give the findings on each training example, in the columns of cleanlab, and more to their right.

        Returns:
            One row per example, in the order of ``fit``, with the index of ``X`` where that was a DataFrame. Cleanlab's
            columns: ``is_label_issue`` (bool), ``label_quality`` (float64, low = bad), ``given_label`` and
            ``predicted_label`` (positions in ``classes_``, int16 or int32 by their number; the second is the argmax of
            ``pred_probs_``), ``sample_weight`` (float64: 0 for an issue, else 1 / ``noise_matrix[k][k]`` of its given
            label k, for training on what is kept). Ours: ``refined_label`` (a position: the predicted label where an
            issue is flagged, else the given one), ``refined_confidence`` (of the predicted label), ``refined_entropy``
            (nats), ``first_learned_epoch`` (from 0; −1: never), ``times_forgotten``, ``given_class`` and
            ``refined_class`` (values of ``classes_``; the second is that of ``predicted_label``). Where ``fit`` was
            given ``label_issues``, the columns passed stand as they were. After `save_space`, ``None`` with a warning.

        Raises:
            NotFittedError: Neither `fit` nor `find_label_issues` was called.
        """
        if self._table is None and not self._saved_space:
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' or 'find_label_issues' first."
            )
        if self._table is None:
            warnings.warn(
                "The label issues were removed by save_space(). Call find_label_issues() or fit() again.",
                UserWarning,
                stacklevel=2,
            )
            return None
        return self._frame()

    def find_label_issues(
        self, X: Any = None, labels: Any = None, *, pred_probs: Any = None, save_space: bool = False, y: Any = None
    ) -> pd.DataFrame:
        """Find label issues by one training, or, with ``pred_probs``, without any.

        Args:
            X: Examples, see the class; not needed with ``pred_probs``.
            labels: Given labels ``[n]``.
            pred_probs: Soft labels of any origin, ``[n, K]``, columns in the order of the sorted classes; those of a
                DataFrame may be named after the classes, in any order.
            save_space: Return the findings and keep none.
            y: Another name for ``labels``.

        Returns:
            See `get_label_issues`.

        Raises:
            SettingError: Neither ``X`` nor ``pred_probs``, or no labels.
            DataError: Labels and probabilities that do not fit together.
        """  # noqa: DOC502 (raised by what is called)
        labels = y if labels is None else labels
        if labels is None or (X is None and pred_probs is None):
            missing = "labels" if labels is None else "X and pred_probs"
            raise SettingError(f"{missing} are missing", "Call find_label_issues(X, labels), or pass pred_probs.")
        if pred_probs is None:
            self.fit(X, labels)
        else:
            given, probs = labels_of(labels), on_host(pred_probs)
            soft = as_soft(_aligned(probs, given) if isinstance(probs, pd.DataFrame) else probs)
            self._classes, codes = _codes(given, soft.shape[1])
            self._table, self._given_issues, self._rows = find_issues(codes, soft), None, None
        frame = self._frame()
        if save_space:
            self.save_space()
        return frame

    def save_space(self) -> None:
        """Give up the findings, which grow with the data; what predicts is kept."""
        self._saved_space = True
        self._table = self._given_issues = None
        for name in ("label_table_", "pred_probs_", "refined_labels_", "label_quality_"):
            vars(self).pop(name, None)

    def _frame(self) -> pd.DataFrame:
        table, classes = self._table, self._classes
        assert table is not None
        assert classes is not None
        frame = issue_frame(table, classes)
        if self._rows is not None:
            frame.index = self._rows
        if self._given_issues is None:
            return frame
        passed = self._given_issues.drop(columns="sample_weight", errors="ignore")
        return frame.assign(**{str(name): passed[name].to_numpy() for name in passed.columns})


def issue_mask(label_issues: Any, given: np.ndarray) -> tuple[np.ndarray, pd.DataFrame | None]:
    """Read the three forms in which cleanlab takes label issues."""
    # A DataFrame with a bool column ``is_label_issue`` (and perhaps ``given_label``, which must then agree), a bool
    # mask ``[n]``, or whole numbers, the positions of the issues. The DataFrame is given back beside the mask.
    n = len(given)
    if isinstance(label_issues, pd.DataFrame):
        return _frame_mask(label_issues, given), label_issues.reset_index(drop=True)
    array = np.asarray(label_issues)
    if array.dtype == bool:
        if array.shape != (n,):
            raise DataError(f"label_issues is a mask of shape {array.shape}, but the number of labels is {n:,}", _ROWS)
        return array.copy(), None
    if array.ndim != 1 or (array.dtype.kind not in "iu" and len(array)):
        raise DataError(
            f"label_issues is a {type(label_issues).__name__} of type {array.dtype}",
            "Pass a DataFrame with a column is_label_issue, a bool mask, or positions of the issues as whole numbers.",
        )
    outside = array[(array < 0) | (array >= n)] if len(array) else array
    if len(outside):
        raise DataError(f"label_issues names row {outside[0]}, but the number of labels is {n:,}", "Count rows from 0.")
    if len(np.unique(array)) != len(array):
        raise DataError("label_issues names a row twice", "Pass each position once, or a bool mask.")
    mask = np.zeros(n, dtype=bool)
    mask[array.astype(np.int64)] = True
    return mask, None


def _frame_mask(frame: pd.DataFrame, given: np.ndarray) -> np.ndarray:
    if "is_label_issue" not in frame.columns:
        raise DataError(
            f"label_issues has no column 'is_label_issue' (it has {', '.join(map(str, frame.columns))})",
            "Pass what get_label_issues() returned, or a bool mask.",
        )
    if len(frame) != len(given):
        raise DataError(f"label_issues has {len(frame):,} rows, but the number of labels is {len(given):,}", _ROWS)
    if frame["is_label_issue"].dtype != bool:
        raise DataError(f"label_issues['is_label_issue'] is of type {frame['is_label_issue'].dtype}", "Make it bool.")
    if "given_label" in frame.columns:
        differ = np.flatnonzero(frame["given_label"].to_numpy() != given)
        if len(differ):
            row = differ[0]
            raise DataError(
                f"label_issues['given_label'] is {frame['given_label'].iloc[row]} in row {row}, but the label there is "
                f"number {given[row]} of the classes ({len(differ):,} rows differ)",
                "Pass issues of these labels, in the same order.",
            )
    return np.array(frame["is_label_issue"], dtype=bool)


def _aligned(probs: pd.DataFrame, given: Any) -> np.ndarray:
    """Sort columns as the classes are that they are named after; columns numbered from 0 by their number."""
    # Columns of other names are taken as they are only where labels are their positions, and the names are sorted.
    names, classes = probs.columns.tolist(), np.unique(np.asarray(given))
    array, k = probs.to_numpy(dtype=np.float64), len(names)
    if sorted(map(str, names)) == sorted(map(str, range(k))):
        return np.asarray(array[:, np.argsort([int(name) for name in names])])
    place = {value_key(str(name)): at for at, name in enumerate(names)}
    wanted = [value_key(str(one)) for one in classes.tolist()]
    if len(set(wanted)) == k and set(wanted) == set(place):
        return np.asarray(array[:, [place[one] for one in wanted]])
    positions = classes.dtype.kind in "iu" and classes.min(initial=0) >= 0 and classes.max(initial=0) < k
    if positions and list(map(str, names)) == sorted(map(str, names)):
        return np.asarray(array)
    raise DataError(
        f"the columns of pred_probs are named {listed(names)}, but the classes are {listed(classes.tolist())}",
        "Name them as the classes, or pass pred_probs.to_numpy(), with columns in the order of the sorted classes.",
    )


def _codes(labels: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes and positions where columns are known: whole numbers below K may lack a class."""
    array = np.asarray(labels)
    if array.dtype.kind in "iu" and len(array) and array.min() >= 0 and array.max() < k:
        return np.arange(k), array.astype(np.int64)
    classes, codes = encode_labels(array)
    if len(classes) != k:
        raise DataError(
            f"the labels hold {len(classes)} classes, but pred_probs has {k} columns",
            "Pass one column for each class, in sorted order, or labels as positions of the columns.",
        )
    return classes, codes
