"""The user's own network, copied or made, and tried on two examples before training."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import torch
from torch import nn

from selfdistill._core.errors import SettingError, one_line
from selfdistill._core.rng import derive
from selfdistill.data._labelled import LabelledData


def own_network(network: Any, data: LabelledData, seed: int) -> nn.Module:
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
            shape_of_two = tuple(made.cpu().eval()(two).shape)
        except Exception as error:  # the user's own code
            raise SettingError(
                f"the network cannot take inputs of shape {list(two.shape)} ({two.dtype}): {one_line(error)}",
                "It gets X exactly as given.",
            ) from error
    if shape_of_two != (2, k):
        raise SettingError(
            f"the network returns shape {shape_of_two} for 2 examples, but must return (2, {k})",
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


class _Lost:
    """Stands for a factory that could not be pickled with a trained estimator, which predicts without it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self) -> Any:
        raise SettingError(
            f"the network was {self._name}, which does not pickle, so this copy predicts but cannot be trained again",
            "Give it one with set_params(network=...): a function defined with def in a module pickles.",
        )

    def __repr__(self) -> str:
        return f"<{self._name}, not pickled>"


def picklable(network: Any) -> Any:
    """Give what stands for the network in the pickle of a trained estimator."""
    if not callable(network) or isinstance(network, nn.Module):
        return network
    try:
        pickle.dumps(network)
    except Exception:  # the user's own code
        return _Lost(getattr(network, "__qualname__", type(network).__name__))
    return network
