"""A vision model of `transformers` as a network of ours: pixels as stored in, logits out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from selfdistill._core.advice import Advice
from selfdistill._core.errors import SettingError, one_line
from selfdistill._core.rng import derive
from selfdistill.encoders import _fine_tuning
from selfdistill.networks._small_networks import Standardise

HF = "hf:"
"""In front of a specification: a model of `transformers`, from a folder or by its name on the hub."""


@final
class Pretrained(nn.Module):
    """A model of `transformers` behind the standardisation that its image processor asks for."""

    def __init__(self, model: nn.Module, mean: tuple[float, ...] = (0.0,) * 3, std: tuple[float, ...] = (1.0,) * 3):
        super().__init__()
        self.standardise, self.model = Standardise(mean, std, channels_last=False), model

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits ``[b, K]`` of images ``[b, 3, h, w]``, or of grey ones ``[b, 1, h, w]``."""
        logits: Tensor = self.model(pixel_values=self.standardise(inputs)).logits
        return logits

    @property
    def config(self) -> dict[str, Any]:
        """The model's configuration, as `rebuilt` takes it."""
        return _fine_tuning.config_of(self.model)


def fine_tuned(spec: str, input_shape: tuple[int, ...], classes: int, seed: int) -> Pretrained:
    """Load what `transformers` has on this machine under a name, with a new head; see `build`."""
    rest = spec.removeprefix(HF)
    if len(input_shape) != 3:
        raise SettingError(
            f"network {spec!r} needs images, but each example is a vector of {input_shape[0]} numbers",
            Advice("Give its features: {--encoder} {spec}, without {--network}.", spec=spec),
            param="network",
        )
    sight = _fine_tuning.sight_of(rest)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initialise"))
        made = Pretrained(_fine_tuning.pretrained(rest, classes), sight.mean, sight.std)
    if input_shape[1:] != (sight.side, sight.side):
        _check_takes(made, spec, input_shape, sight.side)
    return made.train()


def _check_takes(network: Pretrained, spec: str, input_shape: tuple[int, ...], side: int) -> None:
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *input_shape))
    except (RuntimeError, ValueError) as error:
        raise SettingError(
            f"network {spec!r} takes no images of {input_shape[1]} x {input_shape[2]} pixels: {one_line(error, 100)}",
            Advice("Resize them with {--image-size} {side}.", side=side),
            param="network",
        ) from error


def rebuilt(config: Mapping[str, Any], classes: int, weights: Mapping[str, Tensor]) -> Pretrained:
    """Build a trained network again from its configuration and weights; nothing is allocated that does not fit them."""
    with torch.device("meta"):
        shapes = Pretrained(_fine_tuning.of_config(config, classes)).state_dict()
    wanted, found = ({name: one.shape for name, one in some.items()} for some in (shapes, weights))
    if wanted != found:
        raise ValueError("its weights are not those of its configuration")
    return Pretrained(_fine_tuning.of_config(config, classes))
