"""The settings of a run: what was asked for, and what the data made of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from typing import Any

import torch

from selfdistill import networks
from selfdistill._core.errors import ResourceError, SettingError
from selfdistill.train._kept_epochs import MOST_EPOCHS, check_keep_epochs

__all__ = ["Settings", "resolve_device"]

_STEPS = 3000  # enough for one-cycle training of a small network
_SMALL = 5000  # below, memorisation takes a few epochs only: a smaller step, a short warm-up; docs/decisions/0005
VISIT_STEPS = 18  # an epoch of fewer steps teaches too little to count as one visit of the default's schedule


@dataclass(frozen=True)
class Settings:
    """Settings of a run. ``None`` and ``"auto"`` are filled in from the data by `resolve`.

    Attributes:
        method: Name of a method, see `methods`.
        network: A network specification, see `selfdistill.networks.build`.
        epochs: Passes over the data; by itself enough for about 3,000 steps, from 12 to 30, more where an epoch has
            fewer than 18 steps.
        batch_size: Examples per step, over all processes; by itself about a twentieth of the data, from 16 to 128.
        lr: Peak learning rate of the one-cycle schedule; by itself 0.1, or 0.03 below 5,000 examples.
        lr_warmup: Share of the steps in which the learning rate rises; by itself 0.3, or 0.05 below 5,000 examples,
            where more epochs than usual do not lengthen the rise; no other rise was measured for more examples.
        weight_decay: L2 penalty of SGD.
        momentum: Nesterov momentum of SGD.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        precision: ``"auto"`` (bf16 on CUDA, else fp32), ``"fp32"`` or ``"bf16"`` (autocast).
        augment: ``"auto"``, ``"none"`` or for instance ``"flip,crop:2,cutout:8"``; for images. By itself only
            for convolutional networks.
        seed: Seed of everything that is drawn.
        compile: Pass the network through ``torch.compile``.
        noise_rate: Share of wrong labels, for methods that want to know it; by itself they estimate it.
        noise_matrix: File with the matrix ``T[clean, given]``, see `selfdistill.noise.read_matrix`, for methods that
            want to know it; by itself they estimate it.
        held_out: Share of each class's examples that is kept from training; its agreement with the given labels is
            measured after each epoch. For methods of plain training. Default: the method's own value, mostly none.
        keep_epochs: Epochs whose weights are kept in the run directory: ``"all"``, or how many, evenly spread, the last
            among them; ``None``: none.
        kernel: Of the closed form: one of `selfdistill.networks.KERNELS`, or ``"auto"``.
        landmarks: Of the closed form: rows that its kernel is made from; by itself all up to 1,000, else up to 1,500.
        rounds: Of the closed form: 1 to 3; by itself those that explain the given labels best.

    Example:
        >>> Settings(epochs=0).resolve(1000, "cpu")
        Traceback (most recent call last):
        selfdistill._core.errors.SettingError: epochs is 0, but must be at least 1. Leave it out to have it chosen.
    """

    method: str = "selfdistill"
    network: str = "auto"
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    lr_warmup: float | None = None
    weight_decay: float = 5e-4
    momentum: float = 0.9
    device: str = "auto"
    precision: str = "auto"
    augment: str = "auto"
    seed: int = 0
    compile: bool = False
    noise_rate: float | None = None
    noise_matrix: str | None = None
    held_out: float | None = None
    keep_epochs: int | str | None = None
    kernel: str = "auto"
    landmarks: int | None = None
    rounds: int | None = None

    def resolve(self, examples: int, device: str) -> Settings:
        """Fill in what was left open, and check all.

        Args:
            examples: Number of training examples.
            device: The device that ``"auto"`` means, see `resolve_device`.

        Returns:
            Settings without ``None``; ``augment`` and ``network`` are left to the rooms that know them.

        Raises:
            SettingError: A value out of range.
        """  # noqa: DOC502 (raised by what is called)
        self._check()
        if self.method == "kernel":  # it has no epochs and no batches
            return replace(self, batch_size=examples, epochs=1, precision="fp32", device="cpu", lr=1.0, lr_warmup=0.5)
        batch = self.batch_size or 2 ** round(math.log2(min(max(examples / 20, 16), 128)))
        steps = math.ceil(examples / batch)
        usual = round(min(max(math.ceil(_STEPS / steps), 12), 30) * max(1, VISIT_STEPS / steps))
        epochs, small = self.epochs or usual, examples < _SMALL
        auto = "bf16" if device.startswith("cuda") else "fp32"
        precision = auto if self.precision == "auto" else self.precision
        return replace(
            self,
            batch_size=batch,
            epochs=epochs,
            precision=precision,
            device=device,
            lr=(0.03 if small else 0.1) if self.lr is None else self.lr,
            lr_warmup=_rise(small, epochs / usual) if self.lr_warmup is None else self.lr_warmup,
        )

    def _check(self) -> None:
        for name, least, most in (("epochs", 1, MOST_EPOCHS), ("batch_size", 2, 2**31), ("seed", 0, 2**63 - 1)):
            value = getattr(self, name)
            _check_type(name, value, Integral, "a whole number")
            if value is not None and value < least:
                raise SettingError(
                    f"{name} is {value}, but must be at least {least}", "Leave it out to have it chosen."
                )
            if value is not None and value > most:
                raise SettingError(
                    f"{name} is {value}, but must be at most {most:,}", "Leave it out to have it chosen."
                )
        for name in ("lr", "lr_warmup", "weight_decay", "momentum"):
            value = getattr(self, name)
            _check_type(name, value, Real, "a number")
            if value is None:
                continue
            if not math.isfinite(value) or value < 0 or (name == "lr" and value == 0):
                raise SettingError(f"{name} is {value}, but must be finite and above 0", "Leave it out.")
        if self.lr_warmup is not None and not 0 < self.lr_warmup < 1:
            raise SettingError(f"lr_warmup is {self.lr_warmup}, but must be in (0, 1)", "Leave it out.")
        _check_type("noise_rate", self.noise_rate, Real, "a number")
        if self.noise_rate is not None and not 0 <= self.noise_rate < 1:
            raise SettingError(
                f"noise_rate is {self.noise_rate}, but must be in [0, 1)", "Pass 0.4 for 40 %, or leave it out."
            )
        _check_type("held_out", self.held_out, Real, "a number")
        if self.held_out is not None and not 0 < self.held_out < 1:
            raise SettingError(
                f"held_out is {self.held_out}, but must be in (0, 1)", "Pass 0.1 for a tenth, or leave it out."
            )
        check_keep_epochs(self.keep_epochs)
        _check_closed(self.kernel, self.landmarks, self.rounds)
        if self.momentum >= 1:
            raise SettingError(f"momentum is {self.momentum}, but must be below 1", "Leave it out.")
        if self.precision not in {"auto", "fp32", "bf16"}:
            raise SettingError(f"precision is {self.precision!r}", "Choose auto, fp32 or bf16.")

    def network_for(self, examples: int, shape: tuple[int, ...], words: bool = False) -> str:
        """Choose the network that ``"auto"`` means: a narrow one for small tables, none hidden for words.

        Args:
            examples: Number of training examples.
            shape: Shape of one input.
            words: The inputs are words and nothing else (decision 18).

        Returns:
            A specification for `selfdistill.networks.build`, of one network also for methods that train a pair.
        """
        narrow = self.network == "auto" and len(shape) == 1 and examples < _SMALL
        if narrow and words:
            return "linear"
        return "mlp:128" if narrow else networks.resolve(self.network, shape).removeprefix("2*")

    def augment_for_network(self, examples: int, shape: tuple[int, ...]) -> str:
        """Choose the augmentation that ``"auto"`` means: none for a fully connected network, which shifts only harm.

        Args:
            examples: Number of training examples.
            shape: Shape of one input.

        Returns:
            A specification for `selfdistill.data.augment_for`.
        """
        flat = self.augment == "auto" and self.network_for(examples, shape).startswith(("mlp", "linear"))
        return "none" if flat else self.augment

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return asdict(self)


def _rise(small: bool, lengths: float) -> float:
    """Share of the steps in which the learning rate rises, in a run of so many times the usual epochs; decision 22."""
    return 0.05 / max(1.0, lengths) if small else 0.3


def _check_closed(kernel: str, landmarks: int | None, rounds: int | None) -> None:
    if kernel != "auto" and kernel not in networks.KERNELS:
        raise SettingError(f"kernel is {kernel!r}", f"Choose auto, {', '.join(networks.KERNELS)}.")
    for name, value, low, high in (("landmarks", landmarks, 2, 20_000), ("rounds", rounds, 1, 3)):
        _check_type(name, value, Integral, "a whole number")
        if value is not None and not low <= value <= high:
            raise SettingError(f"{name} is {value}, but must be from {low} to {high:,}", f"Leave --{name} out.")


def _check_type(name: str, value: object, kind: type, words: str) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
        raise SettingError(
            f"{name} is {value!r}, a {type(value).__name__}, but must be {words}", f"Pass {words}, or leave {name} out."
        )


def resolve_device(device: str) -> str:
    """Find the device that a name means, and check that it is there.

    Args:
        device: ``"auto"`` takes CUDA where there is one, else the CPU.

    Returns:
        A device name for torch.

    Raises:
        SettingError: Not a device name.
        ResourceError: A device that is not there.

    Example:
        >>> resolve_device("cpu")
        'cpu'
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise SettingError(f"device is {device!r}, which is no device", "Choose auto, cpu, cuda or mps.") from error
    cuda_missing = found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count()
    mps_missing = found.type == "mps" and not torch.backends.mps.is_available()
    if found.type not in {"cpu", "cuda", "mps"} or cuda_missing or mps_missing:
        raise ResourceError(f"device {device!r} is not available", "Choose --device auto or cpu.")
    return device
