"""How a run trains: what was asked for, and what the data made of it. Two types; loads no torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from selfdistill._core.advice import Advice
from selfdistill._core.errors import SettingError
from selfdistill._core.options import Option, check_options, number_or_word

MOST_EPOCHS = 1_000_000
"""Most epochs of a run."""
VISIT_STEPS = 18  # an epoch of fewer steps teaches too little to count as one visit of the default's schedule
_LARGEST = 128  # examples of a step, where nobody says how many
_STEPS = 3000  # enough for one-cycle training of a small network
_SMALL = 5000  # below, memorisation takes a few epochs only: a smaller step, a short warm-up; docs/decisions/0005
WEIGHT_DECAY, _MOMENTUM = 5e-4, 0.9
_TRAINING, _MACHINE = "Training", "Machine"
_KNOWN, _CLOSED = "Noise, if known", "Closed form"
_CHOSEN = "Leave it out to have it chosen."


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings:
    """Settings of a run with everything filled in, as `Settings.resolve` makes them and a run record keeps them."""

    # Attributes: those of `Settings`. Those that may still be ``None`` are not used by the run: a noise rate or matrix
    # that nobody gave, examples that are not held out, epochs that are not kept, and choices of the closed form.

    method: str
    network: str
    epochs: int
    batch_size: int
    lr: float
    lr_warmup: float = 0.3
    weight_decay: float = WEIGHT_DECAY
    momentum: float
    device: str
    precision: str = "fp32"
    augment: str = "auto"
    seed: int
    compile: bool = False
    accumulate: int = 1
    ema: float | None = None
    noise_rate: float | None = None
    noise_matrix: str | None = None
    held_out: float | None = None
    keep_epochs: int | str | None = None
    kernel: str = "auto"
    landmarks: int | None = None
    rounds: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return asdict(self)


@dataclass(frozen=True)
class Settings:
    """What is asked of a run. ``None``: not asked; `resolve` fills it in from the data.

    Attributes:
        method: Name of a method, see `selfdistill methods`; left out, `fit` chooses, and `resolve` takes "selfdistill".
        network: A network specification, see `selfdistill.networks.build`.
        epochs: Passes over the data; by default enough for about 3,000 steps, from 12 to 30, more where an epoch has
            fewer than 18 steps.
        batch_size: Examples per step, over all processes; by default about a twentieth of the data, from 16 to 128.
        lr: Peak learning rate of the one-cycle schedule; by default 0.1, or 0.03 below 5,000 examples, or 0.01 where a
            pretrained network is fine-tuned.
        lr_warmup: Share of the steps in which the learning rate rises; by default 0.3, or 0.05 below 5,000 examples,
            where more epochs than usual do not lengthen the rise; no other rise was measured for more examples.
        weight_decay: L2 penalty of SGD; by default 5e-4.
        momentum: Nesterov momentum of SGD; by default 0.9.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        precision: ``"auto"`` (bf16 on CUDA, else fp32), ``"fp32"`` or ``"bf16"`` (autocast).
        augment: ``"auto"``, ``"none"`` or for instance ``"flip,crop:2,cutout:8"``; for images.
        seed: Seed of everything that is drawn; by default 0.
        compile: Pass the network through ``torch.compile``.
        accumulate: Parts in which each process computes a batch before the step, for less memory; a part has at least
            two examples. The same step as of the whole batch, up to rounding, but batch normalisation sees a part at a
            time. By default 1.
        ema: Decay of an exponential moving average of the weights over steps, such as 0.999. The average is what is
            measured after each epoch, kept and used to predict; steps and targets are those of the trained weights.
            After t steps the decay is at most (1 + t) / (10 + t). By default there is none.
        noise_rate: Share of wrong labels, for methods that use it.
        noise_matrix: File with the matrix ``T[clean, given]``, as .csv, .npy or .json.
        held_out: Share of each class's examples that is kept from training; its agreement with the given labels is
            measured after each epoch. For methods of plain training. Default: the method's own value, mostly none.
        keep_epochs: Epochs whose weights are kept in the run directory: ``"all"``, or how many, evenly spread, the last
            among them; by default none.
        kernel: Of the closed form: ``"linear"``, ``"relu1"``, ``"relu3"``, ``"rbf"`` or ``"auto"``.
        landmarks: Of the closed form: rows that its kernel is built from; by default all up to 1,000, else up to 1,500.
        rounds: Of the closed form: 1 to 3; by default those that explain the given labels best.

    Example:
        >>> Settings(epochs=0).resolve(1000, "cpu")
        Traceback (most recent call last):
        selfdistill._core.errors.SettingError: epochs is 0, but must be at least 1. Leave it out to have it chosen.
    """

    method: Annotated[
        str | None,
        Option(
            "NAME",
            "How to train; `selfdistill methods` lists them. Default: auto, which takes kernel, the closed form, for "
            "features and tables; for up to 5,000 images the better of kernel and selfdistill, which trains a network; "
            "selfdistill for more images or with an option of training.",
            _TRAINING,
        ),
    ] = None
    network: Annotated[
        str | None,
        Option(
            "SPEC",
            "linear, mlp, mlp:256,128, cnn, cnn:32,64, resnet18, resnet20; hf:FOLDER or hf:NAME fine-tunes a vision "
            "model of transformers. Default: cnn for images from 16 x 16 pixels, else mlp; below 5,000 examples "
            "mlp:128 for tables, linear for texts alone.",
            _TRAINING,
        ),
    ] = None
    epochs: Annotated[
        int | None,
        Option(
            "N",
            "Passes over the data. Default: about 3,000 steps, 12 to 30 epochs, more for tiny data.",
            _TRAINING,
            low=1,
            high=MOST_EPOCHS,
            hint=_CHOSEN,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Option(
            "N",
            "Examples per step. Default: a twentieth of the data, 16 to 128.",
            _TRAINING,
            low=2,
            high=2**31,
            hint=_CHOSEN,
        ),
    ] = None
    lr: Annotated[
        float | None,
        Option(
            "X",
            "Peak learning rate (one cycle). Default: 0.1; 0.03 below 5,000 examples; 0.01 for hf:.",
            _TRAINING,
            above=0,
        ),
    ] = None
    lr_warmup: Annotated[float | None, Option("SHARE", "", above=0, below=1)] = None
    weight_decay: Annotated[float | None, Option("X", "", low=0)] = None
    momentum: Annotated[float | None, Option("X", "", low=0, below=1)] = None
    device: Annotated[
        str | None,
        Option("NAME", "auto, cpu, cuda, cuda:1, mps. Default: auto, which takes cuda if available.", _MACHINE),
    ] = None
    precision: Annotated[
        str | None,
        Option(
            "NAME",
            "fp32 or bf16 (autocast). Default: bf16 on cuda, else fp32.",
            _MACHINE,
            choices=("auto", "fp32", "bf16"),
        ),
    ] = None
    augment: Annotated[
        str | None,
        Option(
            "SPEC",
            "none, or a list such as flip,crop:2,cutout:8. Default: shifts and mirroring for colour images from 16 x "
            "16 pixels, unless the network is an mlp.",
            _TRAINING,
        ),
    ] = None
    seed: Annotated[
        int | None,
        Option("N", "Seed of everything drawn. Default: 0.", _TRAINING, low=0, high=2**63 - 1, hint=_CHOSEN),
    ] = None
    compile: Annotated[
        bool | None, Option("", "Pass the network through torch.compile: for GPUs; no gain on a CPU.", _MACHINE)
    ] = None
    accumulate: Annotated[
        int | None,
        Option(
            "N",
            "Compute each batch in N parts before the step (gradient accumulation), for less memory. Default: 1.",
            _MACHINE,
            low=1,
            high=2**31,
        ),
    ] = None
    ema: Annotated[
        float | None,
        Option(
            "DECAY",
            "Use an exponential moving average of the weights over steps, with a decay such as 0.999, for accuracies "
            "and predictions. Default: none.",
            _TRAINING,
            above=0,
            below=1,
            hint="Pass 0.999, or leave it out.",
        ),
    ] = None
    noise_rate: Annotated[
        float | None,
        Option(
            "SHARE",
            "Share of wrong labels, such as 0.4, for --method co-teaching. Default: estimated by an extra training.",
            _KNOWN,
            low=0,
            below=1,
            hint="Pass 0.4 for 40 %, or leave it out.",
        ),
    ] = None
    noise_matrix: Annotated[
        str | None,
        Option(
            "FILE",
            r"Matrix T\[clean, given] as .csv, .npy or .json, for --method forward or backward. Default: estimated "
            "by an extra training.",
            _KNOWN,
        ),
    ] = None
    held_out: Annotated[
        float | None,
        Option(
            "SHARE",
            "Share of each class kept from training; how far it agrees with the given labels is measured after each "
            "epoch. For methods of plain training.",
            _TRAINING,
            above=0,
            below=1,
            hint="Pass 0.1 for a tenth, or leave it out.",
        ),
    ] = None
    keep_epochs: Annotated[
        int | str | None,
        Option(
            "all|N",
            "Keep the weights of all epochs, or of N evenly spread, in RUN/epochs; `selfdistill distill` chooses from "
            "them. Default: none.",
            _TRAINING,
            parse=number_or_word,
        ),
    ] = None
    kernel: Annotated[
        str | None,
        Option(
            "NAME",
            "linear, relu1, relu3 or rbf. Default: the one with the least leave-one-out error.",
            _CLOSED,
            choices=("auto", "linear", "relu1", "relu3", "rbf"),
        ),
    ] = None
    landmarks: Annotated[
        int | None,
        Option(
            "N",
            "Rows that the kernel is built from; more are more exact, and time grows with the square. Default: all up "
            "to 1,000, then 1,000, and 1,500 from 10,000 rows on.",
            _CLOSED,
            low=2,
            high=20_000,
        ),
    ] = None
    rounds: Annotated[
        int | None,
        Option(
            "1|2|3",
            "Rounds of self-distillation; 1 is ridge regression of the given labels. Default: those that explain the "
            "given labels best.",
            _CLOSED,
            low=1,
            high=3,
        ),
    ] = None

    def resolve(self, examples: int, device: str) -> ResolvedSettings:
        """Check all, and fill in what was left open."""
        check_options(self)
        _check_keep_epochs(self.keep_epochs)
        batch = self.batch_size or 2 ** round(math.log2(min(max(examples / 20, 16), _LARGEST)))
        _check_parts(self.accumulate or 1, self.batch_size or _LARGEST)
        steps = math.ceil(examples / batch)
        usual = round(min(max(math.ceil(_STEPS / steps), 12), 30) * max(1, VISIT_STEPS / steps))
        asked = {name: value for name, value in vars(self).items() if value not in {None, ""}}
        small, precision = examples < _SMALL, asked.get("precision", "auto")
        default = ResolvedSettings(
            method="selfdistill",
            network="auto",
            epochs=usual,
            batch_size=batch,
            lr=_peak(small, self.network or ""),
            lr_warmup=_rise(small, (self.epochs or usual) / usual),
            momentum=_MOMENTUM,
            device=device,
            seed=0,
        )
        if precision == "auto":
            precision = "bf16" if device.startswith("cuda") else "fp32"
        found = replace(default, **asked | {"device": device, "precision": precision})
        if found.method == "kernel":  # it has no epochs and no batches
            return replace(found, batch_size=examples, epochs=1, precision="fp32", device="cpu", lr=1.0, lr_warmup=0.5)
        return found

    def asks(self, name: str) -> bool:
        """Say whether an option is asked for: set, and to another value than what is done anyway.

        Args:
            name: Of the option.

        Returns:
            True for those.

        Example:
            >>> Settings(network="auto", epochs=3).asks("network"), Settings(network="auto", epochs=3).asks("epochs")
            (False, True)
        """
        value = getattr(self, name)
        return value is not None and value is not False and value != "auto" and (name, value) != ("accumulate", 1)


def _peak(small: bool, network: str) -> float:
    """Usual peak learning rate; a pretrained network would forget what it knows at more, see decision 46."""
    return 0.01 if network.strip().startswith("hf:") else 0.03 if small else 0.1


def _rise(small: bool, lengths: float) -> float:
    """Share of the steps in which the learning rate rises, in a run of so many times the usual epochs; decision 22."""
    return 0.05 / max(1.0, lengths) if small else 0.3


def _check_parts(parts: int, batch: int) -> None:
    if parts > (most := max(1, batch // 2)):
        raise SettingError(
            f"accumulate is {parts:,}, but a batch of {batch:,} has at most {most:,} parts of two or more examples",
            Advice("Take a smaller {--accumulate}", "a larger {--batch-size}."),
            param="accumulate",
        )


def _check_keep_epochs(keep: object) -> None:
    number = isinstance(keep, int) and not isinstance(keep, bool) and 0 < keep <= MOST_EPOCHS
    if not (keep is None or keep == "all" or number):
        raise SettingError(
            f"keep_epochs is {keep!r}, but must be 'all' or a whole number above 0, at most {MOST_EPOCHS:,}",
            "Pass 'all', or 5 for five epochs evenly spread, or leave it out.",
            param="keep_epochs",
        )
