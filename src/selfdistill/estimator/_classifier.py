"""The scikit-learn door: one estimator that converts what it is given, calls `train.fit`, and shows what that left."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor, nn

from selfdistill._core.advice import Door, at
from selfdistill._core.errors import DataError, ReliabilityWarning, SelfdistillError
from selfdistill._core.events import Listener
from selfdistill._core.read_options import ReadOptions
from selfdistill.closed._given import check_given
from selfdistill.data._arrays import as_dense
from selfdistill.data._labelled import LabelledData
from selfdistill.data._source import from_arrays, from_frame
from selfdistill.estimator._checks import (
    distributions_of,
    encode_labels,
    labels_of,
    numbers_only,
    on_host,
    row_blocks,
    seed_of,
    with_columns,
    without_rows,
)
from selfdistill.estimator._northcutt2021cleanlab import CleanlabNames, issue_mask
from selfdistill.estimator._own_network import own_network, picklable
from selfdistill.estimator._progress import Progress, Shown, summary_of
from selfdistill.issues import find_issues
from selfdistill.issues._table import LabelTable
from selfdistill.runs._request import check_method
from selfdistill.train import Settings
from selfdistill.train._choice import choose_method
from selfdistill.train._closed import AUTO, check_closed
from selfdistill.train._fit import fit
from selfdistill.train._fitted import Fitted, trust_of
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime
from selfdistill.train._settings import resolve_device


class SelfDistillClassifier(CleanlabNames, Shown, ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classifier for labels that may be wrong; it refines them while it trains, once, and says which it doubts.

    It needs no noise rate, no clean examples and no cross-validation. ``X`` is an array ``[n, d]``, a SciPy sparse
    matrix, a DataFrame (numbers, categories, text, lists of numbers; missing values are imputed), or images
    ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]``; ``y`` holds integers or strings.

    Args:
        network: A specification such as ``"mlp:256,128"``, ``"cnn"``, ``"resnet18"`` (``"auto"`` chooses by the shape);
            or a torch module, which is copied; or a factory, called with ``(input_shape, num_classes)`` if it takes
            two arguments, else with none. Your own network gets ``X`` exactly as given (floats as float32, integers
            as int64, uint8 as it is; nothing is standardised) and returns logits ``[b, K]``.
        method: ``"auto"`` takes ``"kernel"``, self-distillation in closed form, for features and tables;
            ``"selfdistill"``, which trains a network, where a network or a setting of training is given and for more
            than 5,000 images; of fewer images whichever explains labels better that it has not seen.
            ``"cross-entropy"`` believes every label; `selfdistill methods` lists the others.
        epochs: Passes over the data; ``None``: enough for the size of the data.
        batch_size: Examples per step; ``None``: by the size of the data.
        lr: Peak learning rate of the one-cycle schedule.
        weight_decay: L2 penalty.
        momentum: Nesterov momentum.
        augment: ``"auto"`` (by the shape; none for your own network), ``"none"`` or for instance ``"flip,crop:2"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
        precision: ``"auto"`` (bf16 on CUDA, else fp32), ``"fp32"``, ``"bf16"``.
        compile: Pass the network through ``torch.compile``.
        accumulate: Parts in which each batch is computed before the step, for less memory.
        ema: Decay of a moving average of the weights, such as 0.999, which then predicts; ``None``: none.
        noise_rate: Share of wrong labels, for methods such as ``"co-teaching"``; ``None``: they estimate it.
        noise_matrix_file: File with ``T[clean, given]`` as .csv, .npy or .json, for methods that use it,
            such as ``"forward"``; ``None``: they estimate it.
        kernel: Of the closed form: ``"linear"``, ``"relu1"``, ``"relu3"``, ``"rbf"``, or ``"auto"``: the one of least
            leave-one-out error.
        landmarks: Of the closed form: rows that its kernel is made from; ``None``: all up to 1,000, else up to 1,500.
        rounds: Of the closed form: 1 to 3; ``None``: those that explain the given labels best.
        decimal: Decimal mark of numbers in texts, ``"."`` or ``","``, wherever they can be read so; ``None``: found.
        thousands: Mark between thousands, ``"."``, ``","``, ``" "`` or ``"'"``; ``None``: found.
        random_state: An integer makes the result repeatable and is the seed itself; a ``RandomState`` gives one; with
            ``None`` each fit draws its own. Global generators are neither read nor changed by ``None`` or an integer.
        verbose: Above 0, writes a line per epoch to stderr, with the time left.

    Attributes:
        classes_: Classes, sorted, of the type of ``y``.
        n_features_in_: Columns of ``X``; values per example where ``X`` has more than two axes.
        feature_names_in_: Column names, where ``X`` was a DataFrame with string names.
        pred_probs_: Refined label distributions of the training examples, float32 ``[n, K]``; rows sum to 1, columns
            follow ``classes_``. Cleanlab takes them as ``pred_probs``.
        refined_labels_: Refined label of each training example, ``[n]``.
        label_quality_: 0 to 1, low = bad, float64 ``[n]``.
        curves_: DataFrame of each epoch's metrics.
        module_: The trained network, or the kernel machine.
        method_: The method that was taken.
        trust_: Whether the findings can be trusted: an object with ``verdict`` (``"trust"``, ``"except"``,
            ``"refuse"``), ``classes`` (positions in ``classes_``) and ``sentences``; also a warning where it is not
            ``"trust"``.
        closed_: What the closed form found; ``None`` where a network was trained.
        preprocess_: How ``X`` becomes its inputs.
        label_table_: The table that `selfdistill.issues.find_issues` also makes.
        n_iter_: Epochs done; rounds, in closed form.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.integers(2, size=200)
        >>> X = rng.normal(size=(200, 2)) + 4 * truth[:, None]
        >>> y = np.where(rng.random(200) < 0.3, 1 - truth, truth)  # about 30 % of the labels are wrong
        >>> clf = SelfDistillClassifier(network="mlp:16", epochs=30, random_state=0).fit(X, y)
        >>> bool((clf.refined_labels_ == truth).mean() > 0.95 > (y == truth).mean())
        True
        >>> clf.pred_probs_.shape, clf.get_label_issues().columns[:2].tolist()
        ((200, 2), ['is_label_issue', 'label_quality'])
    """

    def __init__(
        self,
        network: str | nn.Module | Callable[..., nn.Module] = "auto",
        *,
        method: str = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        weight_decay: float = 5e-4,
        momentum: float = 0.9,
        augment: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,
        accumulate: int = 1,
        ema: float | None = None,
        noise_rate: float | None = None,
        noise_matrix_file: str | None = None,
        kernel: str = "auto",
        landmarks: int | None = None,
        rounds: int | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.network = network
        self.method = method
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.augment = augment
        self.device = device
        self.precision = precision
        self.compile = compile
        self.accumulate = accumulate
        self.ema = ema
        self.noise_rate = noise_rate
        self.noise_matrix_file = noise_matrix_file
        self.kernel = kernel
        self.landmarks = landmarks
        self.rounds = rounds
        self.decimal = decimal
        self.thousands = thousands
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """Say what inputs are taken: two and three axes, sparse matrices; no NaN in arrays."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        return tags

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        votes: Any = None,
        label_issues: Any = None,
        labels: Any = None,
    ) -> SelfDistillClassifier:
        """Train on labels that may be wrong.

        Args:
            X: See the class.
            y: Given labels ``[n]``; or their distributions, floats ``[n, K]`` with rows that sum to 1, such as shares
                of votes: an array, whose classes are 0 to K - 1, or a DataFrame with the classes as columns. Only the
                closed form takes them; the given label is the likeliest class.
            sample_weight: How many rows each row counts as, ``[n]``, 0 or more; one if left out. Rows of weight 0 are
                refined but teach nothing. A network multiplies each example's loss with its weight; only proportions
                count there.
            votes: Of how many votes each distribution in ``y`` is made, integers ``[n]``. Without it a distribution
                counts as one label, and several people's votes are refined worse.
            label_issues: Labels known to be wrong; these examples are left out of training, as in cleanlab. A DataFrame
                with a column ``is_label_issue``, such as `get_label_issues` returns; a bool mask ``[n]``; or the
                positions of the issues. The attributes still have one row for each example: those left out get what
                the network predicts for them.
            labels: Another name for ``y``, that of cleanlab.

        Returns:
            Itself.

        Raises:
            DataError: Fewer than two classes, or a label or value that cannot be used.
            SettingError: An argument out of range, or a network that does not fit.
        """  # noqa: DOC502 (raised by what is called)
        with _in_python(self):
            data = self._labelled(X, labels if y is None else y, sample_weight, votes)
            mask, passed = (None, None) if label_issues is None else issue_mask(label_issues, data.labels.numpy())
            part = data if mask is None else without_rows(data, mask)
            fitted = self._trained(part)
        door = Door(self.get_params(deep=False))
        for sentence in (*data.warnings, *fitted.warnings):
            warnings.warn(at(sentence, door), UserWarning, stacklevel=2)
        self.module_, self.method_, self.closed_ = fitted.model, fitted.settings.method, fitted.closed
        table = fitted.table()
        self.trust_ = trust_of(part, fitted, table)
        if self.trust_.verdict != "trust":
            why = " ".join(at(sentence, door) for sentence in self.trust_.sentences)
            warnings.warn(why, ReliabilityWarning, stacklevel=2)
        if mask is not None:
            table = self._with_left_out(table, data, mask)
        self._show(table, passed)
        self._rows = X.index if isinstance(X, pd.DataFrame) else None
        self.curves_ = pd.DataFrame(fitted.curves).rename_axis(index="epoch")
        self.n_iter_ = len(fitted.curves) if fitted.closed is None else fitted.closed.choice.best.round
        return self

    def _show(self, table: LabelTable, passed: pd.DataFrame | None) -> None:
        """Set the attributes that hold findings."""
        self._table = self.label_table_ = table
        self._given_issues, self._classes, self._saved_space = passed, self.classes_, False
        self.pred_probs_ = table.distribution
        self.refined_labels_ = self.classes_[table.refined]
        self.label_quality_ = table.quality.astype(np.float64)

    def summary(self) -> str:
        """Say in a few lines how many labels look wrong, which are given for which, and whether to trust it.

        Returns:
            Lines of text.
        """
        check_is_fitted(self)
        return summary_of(self.label_table_, self.classes_.tolist(), self.method_, self.trust_)

    def _trained(self, data: LabelledData) -> Fitted:
        """Resolve the settings and train."""
        seed = seed_of(self.random_state)
        own = None if isinstance(self.network, str) else own_network(self.network, data, seed)
        names = ("method", "epochs", "batch_size", "lr", "weight_decay", "momentum", "precision", "compile")
        wanted = Settings(
            network="auto" if own is not None else str(self.network),
            augment="none" if own is not None and self.augment == "auto" else self.augment,
            seed=seed,
            noise_rate=self.noise_rate,
            noise_matrix=self.noise_matrix_file,
            **{name: getattr(self, name) for name in (*names, "accumulate", "ema", "kernel", "landmarks", "rounds")},
        )
        check_method(wanted, chosen=self.method != AUTO)
        check_closed(wanted)
        tell: Listener = Progress() if self.verbose else lambda event: None
        device = resolve_device(self.device)
        chosen = "selfdistill" if own is not None and self.method == AUTO else None
        method = chosen or choose_method(wanted, data, device, tell)[0]
        settings = replace(wanted, method=method).resolve(len(data), device)
        return fit(data, settings, model=own, tell=tell)

    def _with_left_out(self, kept: LabelTable, data: LabelledData, mask: np.ndarray) -> LabelTable:
        """Join the findings on what was trained on with the network's predictions of what was left out."""
        soft = np.empty((len(mask), data.num_classes), np.float32)
        soft[~mask] = kept.distribution
        if mask.any():
            soft[mask] = self._probabilities(data.inputs[torch.from_numpy(mask)])
        given = data.labels.numpy()
        first, forgotten = (np.full(len(mask), -1, np.int32) for _ in range(2))
        first[~mask], forgotten[~mask] = kept.first_learned, kept.forgotten
        quality = soft[np.arange(len(mask)), given]
        quality[~mask] = kept.quality
        table = find_issues(given, soft, first_learned=first, forgotten=forgotten)
        return replace(table, is_issue=mask, quality=quality)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Args:
            X: Examples of the form of training.

        Returns:
            float32 ``[n, K]``, columns follow ``classes_``.
        """
        with _in_python(self):
            return np.concatenate([self._probabilities(self._inputs(part)) for part in row_blocks(X)])

    def _probabilities(self, inputs: Tensor) -> np.ndarray:
        if not len(inputs):
            return np.zeros((0, len(self.classes_)), np.float32)
        device = resolve_device(self.device)
        runtime = TorchRuntime(device, Settings(precision=self.precision).resolve(1, device).precision)
        return predict_probabilities(self.module_.to(runtime.device), inputs, runtime).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Predict classes.

        Args:
            X: Examples of the form of training.

        Returns:
            Values of ``classes_``, ``[n]``.
        """
        chosen = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[chosen])

    def __getstate__(self) -> dict[str, Any]:
        """Give a state whose network lies on the CPU, so that it loads on any machine; see also `picklable`."""
        state = dict(super().__getstate__())
        if any(p.device.type != "cpu" for p in getattr(self, "module_", nn.Module()).parameters()):
            state["module_"] = copy.deepcopy(self.module_).cpu()
        if "module_" in state:
            state["network"] = picklable(self.network)
        return state

    def _labelled(self, X: Any, y: Any, sample_weight: Any, votes: Any = None) -> LabelledData:
        """Check all, set what scikit-learn expects, and bring them into the one form."""
        X = with_columns(on_host(X))
        table = isinstance(X, pd.DataFrame) and isinstance(self.network, str)
        y = labels_of(y)
        shares, counts = distributions_of(y), None
        if shares is not None:
            given = check_given(shares[0], len(shares[1]), votes=votes)
            y, counts = given.codes, given.votes
        elif votes is not None:
            raise DataError("there are votes, but y holds one label for each row", "Give shares of votes as y.")
        if table:
            validate_data(self, X, y, skip_check_array=True)
            y = column_or_1d(y, warn=True)
            assert_all_finite(y, input_name="y")
            check_consistent_length(X, y)
        else:
            with numbers_only():
                X, y = validate_data(self, X, y, allow_nd=True, ensure_min_samples=2, accept_sparse="csr")
            self.n_features_in_ = int(np.prod(X.shape[1:]))
        check_classification_targets(y)
        self.classes_, codes = encode_labels(y) if shares is None else (shares[1], y)
        names = np.array([str(c) for c in self.classes_], dtype=object)
        if table:
            options = ReadOptions(decimal=self.decimal, thousands=self.thousands)
            data = from_frame(self._named(X), names[codes], options=options)
        else:
            data = from_arrays(X, names[codes], form=None if isinstance(self.network, str) else "user")
        self.preprocess_ = data.preprocess
        return replace(
            data,
            labels=torch.from_numpy(codes),
            classes=tuple(names),
            distributions=None if shares is None else torch.from_numpy(np.array(shares[0])),
            votes=None if counts is None else torch.from_numpy(counts),
            weights=None if sample_weight is None else torch.from_numpy(_check_sample_weight(sample_weight, X)),
        )

    def _named(self, X: pd.DataFrame) -> pd.DataFrame:
        return X.set_axis(getattr(self, "feature_names_in_", [f"x{i}" for i in range(X.shape[1])]), axis=1)

    def _inputs(self, X: Any) -> Tensor:
        """Check new examples, of which there may be none, against those of training and make network inputs of them."""
        check_is_fitted(self)
        X = with_columns(on_host(X))
        if self.preprocess_.kind == "table":
            if isinstance(X, pd.DataFrame):
                validate_data(self, X, reset=False, skip_check_array=True)
            else:
                X = pd.DataFrame(validate_data(self, X, reset=False, dtype=None, ensure_min_samples=0))
            return self.preprocess_.apply(self._named(X))
        if len(self.preprocess_.input_shape) == 1:
            X = validate_data(self, X, reset=False, accept_sparse="csr", ensure_min_samples=0)
            return self.preprocess_.apply(as_dense(X) if issparse(X) and self.preprocess_.kind != "sparse" else X)
        X = check_array(X, allow_nd=True, estimator=self, input_name="X", ensure_min_samples=0)
        return self.preprocess_.apply(X)


@contextmanager
def _in_python(estimator: BaseEstimator) -> Generator[None]:
    """Let errors advise arguments of the estimator, and no options of the command line."""
    try:
        yield
    except SelfdistillError as error:
        hint = at(error.hint, Door(estimator.get_params(deep=False)))
        raise type(error)(error.problem, hint, param=error.param) from error.__cause__
