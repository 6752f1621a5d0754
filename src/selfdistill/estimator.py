"""The scikit-learn door: one estimator that converts what it is given, calls `train.fit`, and shows what that left."""

from __future__ import annotations

import copy
import inspect
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from selfdistill._core.errors import DataError, SelfdistillError, SettingError, one_line
from selfdistill._core.events import EpochDone, Event
from selfdistill._core.rng import derive
from selfdistill._core.wording import fit_advice
from selfdistill.data import LabelledData, from_arrays, from_frame
from selfdistill.issues import label_table
from selfdistill.train import Fitted, Settings, TorchRuntime, fit, predict_probabilities, resolve_device

__all__ = ["SelfDistillClassifier"]

_INT16_CLASSES = np.iinfo(np.int16).max


class SelfDistillClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classifier for labels that may be wrong; it refines them while it trains, once, and says which it doubts.

    It needs no noise rate, no clean examples and no cross-validation. ``X`` is an array ``[n, d]``, a DataFrame
    (numbers, categories and text; missing values are imputed), or images ``[n, h, w]``, ``[n, h, w, c]`` or
    ``[n, c, h, w]``; ``y`` holds integers or strings.

    Args:
        network: A specification such as ``"mlp:256,128"``, ``"cnn"``, ``"resnet18"`` (``"auto"`` chooses by the shape);
            or a torch module, which is copied; or a factory, called with ``(input_shape, num_classes)`` if it takes
            two arguments, else with none. Your own network gets ``X`` exactly as given (floats as float32, integers
            as int64, uint8 as it is; nothing is standardised) and returns logits ``[b, K]``.
        method: How to train; ``"cross-entropy"`` believes every label. See `selfdistill.train.METHODS`.
        epochs: Passes over the data; ``None``: enough for the size of the data.
        batch_size: Examples per step; ``None``: by the size of the data.
        lr: Peak learning rate of the one-cycle schedule.
        weight_decay: L2 penalty.
        momentum: Nesterov momentum.
        augment: ``"auto"`` (by the shape; none for your own network), ``"none"`` or for instance ``"flip,crop:2"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
        precision: ``"auto"`` (bf16 on CUDA, else fp32), ``"fp32"``, ``"bf16"``.
        compile: Pass the network through ``torch.compile``.
        random_state: An integer makes the result repeatable and is the seed itself; a ``RandomState`` gives one; with
            ``None`` each fit draws its own. Global generators are neither read nor changed by ``None`` or an integer.
        verbose: Above 0, writes one line per epoch to stderr.

    Attributes:
        classes_: Classes, sorted, of the type of ``y``.
        n_features_in_: Columns of ``X``; values per example where ``X`` has more than two axes.
        feature_names_in_: Column names, where ``X`` was a DataFrame with string names.
        pred_probs_: Refined label distributions of the training examples, float32 ``[n, K]``; rows sum to 1, columns
            follow ``classes_``. Cleanlab takes them as ``pred_probs``.
        refined_labels_: Refined label of each training example, ``[n]``.
        label_quality_: 0 to 1, low = bad, float64 ``[n]``.
        curves_: DataFrame of each epoch's metrics.
        module_: The trained network.
        preprocess_: How ``X`` becomes its inputs.
        label_table_: The findings as `selfdistill.issues.LabelTable`.
        n_iter_: Epochs done.

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
        method: str = "selfdistill",
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        weight_decay: float = 5e-4,
        momentum: float = 0.9,
        augment: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,
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
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """Say what inputs are taken: two and three axes; no NaN in arrays."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def fit(self, X: Any, y: Any) -> SelfDistillClassifier:
        """Train on labels that may be wrong.

        Args:
            X: See the class.
            y: Given labels ``[n]``.

        Returns:
            Itself.

        Raises:
            DataError: Fewer than two classes, or a label or value that cannot be used.
            SettingError: An argument out of range, or a network that does not fit.
        """  # noqa: DOC502 (raised by what is called)
        with _in_python(self):
            data, fitted = self._trained(X, y)
        for sentence in (*data.warnings, *fitted.warnings):
            warnings.warn(fit_advice(sentence, self.get_params(deep=False), dashes=False), UserWarning, stacklevel=2)
        self.label_table_ = label_table(fitted.targets.refined(), fitted.dynamics)
        self.pred_probs_ = self.label_table_.distribution
        self.refined_labels_ = self.classes_[self.label_table_.refined]
        self.label_quality_ = self.label_table_.quality.astype(np.float64)
        self.curves_ = pd.DataFrame(fitted.curves).rename_axis(index="epoch")
        self.module_ = fitted.model
        self.n_iter_ = len(fitted.curves)
        return self

    def _trained(self, X: Any, y: Any) -> tuple[LabelledData, Fitted]:
        """Check, read and train."""
        data = self._labelled(X, y)
        seed = _seed(self.random_state)
        own = None if isinstance(self.network, str) else _own_network(self.network, data, seed)
        names = ("method", "epochs", "batch_size", "lr", "weight_decay", "momentum", "precision", "compile")
        settings = Settings(
            network="auto" if own is not None else str(self.network),
            augment="none" if own is not None and self.augment == "auto" else self.augment,
            seed=seed,
            **{name: getattr(self, name) for name in names},
        ).resolve(len(data), resolve_device(self.device))
        return data, fit(data, settings, model=own, tell=_tell if self.verbose else lambda event: None)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Args:
            X: Examples of the form of training.

        Returns:
            float32 ``[n, K]``, columns follow ``classes_``.
        """
        with _in_python(self):
            inputs = self._inputs(X)
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

    def get_label_issues(self) -> pd.DataFrame:
        """Give the findings on each training example, in the columns of cleanlab, and more to their right.

        Returns:
            One row per example, in the order of ``fit``: ``is_label_issue`` (bool), ``label_quality`` (float64, low =
            bad), ``given_label`` and ``predicted_label`` (positions in ``classes_``, int16 or int32 by their number;
            the second is the refined label), ``refined_confidence``, ``first_learned_epoch`` (from 0; −1: never),
            ``times_forgotten``, ``given_class`` and ``refined_class`` (values of ``classes_``).
        """
        check_is_fitted(self)
        table = self.label_table_
        small = np.int16 if len(self.classes_) < _INT16_CLASSES else np.int32
        return pd.DataFrame(
            {
                "is_label_issue": table.is_issue,
                "label_quality": self.label_quality_,
                "given_label": table.given.astype(small),
                "predicted_label": table.refined.astype(small),
                "refined_confidence": table.confidence,
                "first_learned_epoch": table.first_learned,
                "times_forgotten": table.forgotten,
                "given_class": self.classes_[table.given],
                "refined_class": self.refined_labels_,
            }
        )

    def __getstate__(self) -> dict[str, Any]:
        """Give a state whose network lies on the CPU, so that it loads on any machine."""
        state = dict(super().__getstate__())
        if any(p.device.type != "cpu" for p in getattr(self, "module_", nn.Module()).parameters()):
            state["module_"] = copy.deepcopy(self.module_).cpu()
        return state

    def _labelled(self, X: Any, y: Any) -> LabelledData:
        """Check both, set what scikit-learn expects, and bring them into the one form."""
        X = _with_columns(_on_host(X))
        table = isinstance(X, pd.DataFrame) and isinstance(self.network, str)
        y = _without_missing(_on_host(y))
        if table:
            validate_data(self, X, y, skip_check_array=True)
            y = column_or_1d(y, warn=True)
            assert_all_finite(y, input_name="y")
            check_consistent_length(X, y)
        else:
            X, y = validate_data(self, X, y, allow_nd=True, ensure_min_samples=2)
            self.n_features_in_ = int(np.prod(X.shape[1:]))
        check_classification_targets(y)
        self.classes_, codes = _encode(y)
        names = np.array([str(c) for c in self.classes_], dtype=object)
        if table:
            data = from_frame(self._named(X), names[codes])
        else:
            data = from_arrays(X, names[codes], form=None if isinstance(self.network, str) else "user")
        self.preprocess_ = data.preprocess
        return replace(data, labels=torch.from_numpy(codes), classes=tuple(names))

    def _named(self, X: pd.DataFrame) -> pd.DataFrame:
        return X.set_axis(getattr(self, "feature_names_in_", [f"x{i}" for i in range(X.shape[1])]), axis=1)

    def _inputs(self, X: Any) -> Tensor:
        """Check new examples against those of training and make network inputs of them."""
        check_is_fitted(self)
        X = _with_columns(_on_host(X))
        if self.preprocess_.kind == "table":
            if isinstance(X, pd.DataFrame):
                validate_data(self, X, reset=False, skip_check_array=True)
            else:
                X = pd.DataFrame(validate_data(self, X, reset=False, dtype=None))
            return self.preprocess_.apply(self._named(X))
        if len(self.preprocess_.input_shape) == 1:
            return self.preprocess_.apply(validate_data(self, X, reset=False))
        return self.preprocess_.apply(check_array(X, allow_nd=True, estimator=self, input_name="X"))


@contextmanager
def _in_python(estimator: BaseEstimator) -> Generator[None]:
    """Let errors advise arguments of the estimator, and no options of the command line."""
    try:
        yield
    except SelfdistillError as error:
        way_out = fit_advice(error.way_out, estimator.get_params(deep=False), dashes=False)
        raise type(error)(error.problem, way_out) from error.__cause__


def _on_host(values: Any) -> Any:
    """Bring tensors to NumPy and tables of other libraries to pandas."""
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    return values.to_pandas() if hasattr(values, "to_pandas") else values


def _with_columns(X: Any) -> Any:
    """Refuse a Series and bare texts, of which nothing says what they are columns of."""
    texts = isinstance(X, list | np.ndarray) and np.ndim(X) == 1 and len(X) > 0 and isinstance(X[0], str)
    if isinstance(X, pd.Series) or texts:
        way_out = "X.to_frame()" if isinstance(X, pd.Series) else 'pd.DataFrame({"text": X})'
        raise DataError(
            f"X is a {type(X).__name__} of {len(X):,} values, but must have rows and columns",
            f"Pass a table: {way_out}; text is one of the kinds of columns it may have.",
        )
    return X


def _without_missing(y: Any) -> Any:
    """Refuse ``None`` and the like among labels of any type, which sorting would trip over."""
    if isinstance(y, list | np.ndarray | pd.Series | pd.Categorical):
        missing = np.asarray(pd.isna(np.asarray(y, dtype=object)))
        if missing.ndim == 1 and missing.any():
            rows = np.flatnonzero(missing)
            raise DataError(
                f"Input y contains NaN: {len(rows):,} of {len(y):,} labels are missing, the first in row {rows[0]}",
                "Fill them in, or leave these rows out.",
            )
    return y


def _encode(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        classes, codes = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise DataError(f"the labels cannot be sorted: {error}", "Use labels of one type.") from error
    if len(classes) < 2:
        raise DataError(f"the labels hold only the class {classes[0]!r}, but training needs at least 2 classes")
    return classes, codes.astype(np.int64)


def _seed(random_state: Any) -> int:
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    generator = check_random_state(random_state)
    return int(random_state) if isinstance(random_state, Integral) else int(generator.randint(2**31 - 1))


def _own_network(network: Any, data: LabelledData, seed: int) -> nn.Module:
    """Copy or make the user's network, and see that it takes the inputs and gives logits."""
    shape, k = tuple(data.inputs.shape[1:]), data.num_classes
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(derive(seed, "own network"))
        made = copy.deepcopy(network) if isinstance(network, nn.Module) else _call(network, shape, k)
        if not isinstance(made, nn.Module):
            raise SettingError(
                f"network is {network!r}, which gives a {type(made).__name__}",
                "Pass a specification such as 'mlp', a torch module, or a function that returns one.",
            )
        two = data.inputs[:2]
        try:
            found = tuple(made.cpu().eval()(two).shape)
        except Exception as error:  # the user's own code
            raise SettingError(
                f"the network cannot take inputs of shape {list(two.shape)} ({two.dtype}): {one_line(error)}",
                "It gets X exactly as given.",
            ) from error
    if found != (2, k):
        raise SettingError(
            f"the network returns shape {found} for 2 examples, but must return (2, {k})",
            "Let its last layer give one logit per class.",
        )
    return made


def _call(factory: Any, shape: tuple[int, ...], k: int) -> Any:
    if not callable(factory):
        return factory
    parameters = inspect.signature(factory).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty]
    if len(needed) not in {0, 2}:
        raise SettingError(
            f"the network factory takes {len(needed)} arguments, but must take 2 or none",
            "Let it take (input_shape, num_classes).",
        )
    try:
        return factory(shape, k) if needed else factory()
    except Exception as error:  # the user's own code
        given = f"with input_shape {shape} and {k} classes" if needed else "without arguments"
        raise SettingError(
            f"the network factory, called {given}, raised {type(error).__name__}: {one_line(error)}",
            "Correct it, or pass a torch module.",
        ) from error


def _tell(event: Event) -> None:
    if isinstance(event, EpochDone):
        metrics = event.metrics
        sys.stderr.write(
            f"epoch {event.epoch + 1}: loss {metrics['loss']:.4f}, agreement {metrics['agreement']:.1%}, "
            f"refined {metrics['refined_share']:.1%}\n"
        )
