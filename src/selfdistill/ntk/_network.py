"""A network as kernels call it: in full precision, on copies of inputs that it changes, and without a trace."""

from __future__ import annotations

import copy
import inspect
import random
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from selfdistill._core.errors import DataError, SelfdistillError, SettingError, one_line
from selfdistill.ntk._inputs import Arguments, Inputs, all_finite, count_of, each_tensor
from selfdistill.ntk._peak import PeakBytes

_COUPLED = 1e-3  # relative difference of an example's outputs alone and beside others: rounding gives about 1e-6
_SEEDS = 24  # runs of a network in evaluation mode that draws random numbers, to see whether they matter
_HALVES = {torch.float16, torch.bfloat16}


@final
class Network:
    """Calls a network, and knows what it does beside computing its outputs."""

    def __init__(self, model: nn.Module, parameters: dict[str, nn.Parameter]) -> None:
        self.model = model
        self.complex = {name for name, p in parameters.items() if p.is_complex()}
        self.given = parameters
        # detached; complex ones as pairs of real numbers, [..., 2]
        self.parameters = {name: self.value(name) for name in parameters}
        self.device = next(iter(parameters.values())).device  # where the network is
        self.changes_inputs = False  # in place
        self.leaves_traces = True  # draws random numbers or changes its buffers; assumed until inspect() has run
        self.placed = self.apart = False  # see PeakBytes
        self.epsilon = 0.0  # largest machine epsilon of what it computes with
        self.shape: tuple[int, ...] = ()  # of one example's outputs

    def value(self, name: str) -> Tensor:
        """Give a parameter's present value, without a graph."""
        value = self.given[name].detach()
        return torch.view_as_real(value) if name in self.complex else value

    @contextmanager
    def quiet(self) -> Generator[None]:
        """Keep autocast off, and put back what the network changes."""
        # Kernels are nearly of rank one, and bfloat16 outputs would lose all but the first eigenvalue.
        hook = self.model.register_forward_pre_hook(_on_copies, with_kwargs=True) if self.changes_inputs else None
        before = self.traces()
        try:
            with torch.autocast(self.device.type, enabled=False), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "None of the inputs have requires_grad")  # a reentrant checkpoint's
                yield
        finally:
            if hook is not None:
                hook.remove()
            if before is not None:
                before.restore()

    def traces(self) -> Traces | None:
        """Remember generators and buffers, where the network changes them."""
        return Traces(self.model, self.device) if self.leaves_traces else None

    def rows(self, args: Arguments, values: dict[str, Tensor] | None = None, *, alone: bool = True) -> Tensor:
        """Give the outputs, one row for each example."""
        if values is None:
            return _as_rows(self.model(*args.listed, **args.named), count_of(args))
        chosen = {name: torch.view_as_complex(v) if name in self.complex else v for name, v in values.items()}
        everything = self.model.named_parameters() if alone else ()
        rest = {name: p.detach() for name, p in everything if name not in chosen}
        out = functional_call(self.model, {**rest, **chosen}, args.listed, args.named)
        return _as_rows(out, count_of(args))

    def inspect(self, args: Arguments) -> Tensor:
        """Run the network once, and see whether it changes its inputs or buffers or draws random numbers."""
        given = args.mapped(torch.clone)
        before, versions = Traces(self.model, self.device), [v._version for v in each_tensor(given)]
        with torch.no_grad(), self.quiet(), translate_errors():
            with PeakBytes(examples=1) as counter:
                out = self.model(*given.listed, **given.named)
                rows = _as_rows(out, count_of(args))
            self.shape = tuple(out.shape[1:])
            self.placed, self.apart, self.epsilon = counter.placed, counter.apart, counter.epsilon
            drew = before.drew()
            self.leaves_traces = drew or before.changed()
        same = all(torch.equal(a, b) for a, b in zip(each_tensor(given), each_tensor(args), strict=True))
        self.changes_inputs = not same or versions != [v._version for v in each_tensor(given)]
        refuse_infinite(rows)
        if drew:
            self._refuse_random(args, rows)
        return rows

    def _refuse_random(self, args: Arguments, rows: Tensor) -> None:
        training = matters = any(module.training for module in self.model.modules())
        with torch.no_grad(), self.quiet():
            for seed in range(0 if training else _SEEDS):
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002 (a network may use what is global)
                torch.manual_seed(seed)
                matters |= differ(self.rows(args), rows, rows)
        if matters:
            raise DataError(
                "the network draws random numbers, so it gives different outputs each time",
                "Switch randomness off: model.eval()."
                if training
                else "Draw none after model.eval(): pass training=self.training to functional dropout.",
            )

    def alone(
        self, args: Arguments, direction: Callable[[Tensor], Tensor], tell: Callable[[str, Tensor], None]
    ) -> Tensor:
        """Differentiate with respect to each parameter by autograd, no two gradients held at once."""
        leaves = {name: self.value(name).requires_grad_(True) for name in self.parameters}

        def finished(name: str) -> Callable[[Tensor], None]:
            def hook(leaf: Tensor) -> None:
                grad, leaf.grad = leaf.grad, None
                assert grad is not None
                reached.add(name)
                with torch.no_grad():
                    tell(name, grad.to_dense() if grad.is_sparse else grad)

            return hook

        reached: set[str] = set()
        for name, leaf in leaves.items():
            leaf.register_post_accumulate_grad_hook(finished(name))  # type: ignore[no-untyped-call]
        with torch.enable_grad(), self.quiet(), translate_errors():
            rows = self.rows(args, leaves)
            if rows.requires_grad:
                torch.autograd.backward(rows, direction(rows), inputs=list(leaves.values()))
        for name, leaf in leaves.items():
            if name not in reached:  # not reached
                tell(name, torch.zeros_like(leaf, requires_grad=False))
        return rows.detach()


class Traces:
    """Generators' states and buffers, to compare and to put back."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._device = device
        self._owners = {name: module for name, module in model.named_modules() if module._buffers}
        self._states = self._drawn()
        self._buffers = {
            (name, local): (value, value._version, value.clone())
            for name, module in self._owners.items()
            for local, value in module._buffers.items()
            if value is not None
        }

    def _drawn(self) -> tuple[Any, Any, list[Tensor]]:
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return random.getstate(), np.random.get_state(), states  # noqa: NPY002 (a network may use what is global)

    def drew(self) -> bool:
        """Say whether random numbers were drawn."""
        python, numpy, states = self._drawn()
        same = all(torch.equal(a, b) for a, b in zip(states, self._states[2], strict=True))
        arrays = (numpy[1] == self._states[1][1]).all() and numpy[2:] == self._states[1][2:]
        return not (same and arrays and python == self._states[0])

    def changed(self) -> bool:
        """Say whether buffers were changed or replaced."""
        for (name, local), (value, version, _) in self._buffers.items():
            if self._owners[name]._buffers[local] is not value or version != value._version:
                return True
        return False

    def restore(self) -> None:
        """Put back what was there."""
        python, numpy, states = self._states
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(states[0])
        if len(states) > 1:
            torch.cuda.set_rng_state(states[1], self._device)
        with torch.no_grad():
            for (name, local), (value, version, kept) in self._buffers.items():
                self._owners[name]._buffers[local] = value
                if value._version != version:
                    value.copy_(kept)


def _on_copies(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    copies = Arguments(args, kwargs).mapped(torch.clone)
    return copies.listed, copies.named


def _as_rows(out: Any, m: int) -> Tensor:
    if not isinstance(out, Tensor) or out.ndim < 2 or len(out) != m:
        returned = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise DataError(
            f"the network returns {returned} for {m} example{'s' if m > 1 else ''}, but must return [n, classes]",
            "Wrap it in a module that returns the logits alone, one row for each example.",
        )
    if not out.is_floating_point():
        raise DataError(f"the network returns {out.dtype}, but must return real numbers", "Wrap it in a module.")
    rows = out.flatten(1) if out.ndim > 2 else out
    return rows.float() if rows.dtype in _HALVES else rows


def refuse_infinite(rows: Tensor) -> None:
    """Check outputs."""
    if not all_finite(rows.detach()):
        raise DataError("the network's outputs are not finite", "Check its weights and the scale of the inputs.")


def differ(a: Tensor, b: Tensor, whole: Tensor) -> bool:
    """Say whether outputs differ by more than rounding, relative to the largest of some."""
    return bool((a - b).abs().max() > _COUPLED * whole.abs().max().clamp(min=1e-30))


@contextmanager
def translate_errors() -> Generator[None]:
    """Turn what a network raises into one sentence."""
    try:
        yield
    except (SelfdistillError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        text = one_line(error).rstrip(".")
        if "use_reentrant" in text:
            raise DataError(
                "the network uses a reentrant checkpoint, through which torch.autograd.grad cannot pass",
                "Call checkpoint(..., use_reentrant=False).",
            ) from error
        raise DataError(
            f"the network fails on its inputs or cannot be differentiated: {type(error).__name__}: {text}",
            "Check that one example passes forward and backward; a tuple is passed by position, a dict by name.",
        ) from error


_AGREE = {torch.float64: 1e-7}  # relative difference of two gradients of one example
_AGREE_SINGLE = 1e-3
_FLOOR = 1e-6  # relative to the largest gradient of the example


class Mismatch(Exception):  # noqa: N818  (caught by what plans the work, never shown)
    """Gradients of a chunk are not those of its examples alone."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__()
        self.names = set(names)


def is_wrong(error: float, norm: float, scale: float, dtype: torch.dtype) -> bool:
    """Say whether a gradient is not the right one."""
    return not error <= _AGREE.get(dtype, _AGREE_SINGLE) * norm + _FLOOR * scale


def refuse_coupled(beside: Tensor, alone: Tensor, whole: Tensor) -> None:
    """Refuse networks in which an example's outputs are not its own."""
    if differ(beside, alone, whole):
        raise DataError(
            "an example's outputs depend on the others beside it, so it has no gradient of its own",
            "Call model.eval(), and use layers that treat examples one by one.",
        )


def unwrapped(model: nn.Module) -> nn.Module:
    """Take a network out of the wrappers that spread it over devices."""
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    return model


def single_precision(model: nn.Module) -> nn.Module:
    """Copy a network with weights of 16 bit to 32 bit: sums of products of halves lose all but the first eigenvalue."""
    if not any(v.dtype in _HALVES for v in [*model.parameters(), *model.buffers()]):
        return model
    try:
        copied = copy.deepcopy(model)
    except Exception as error:
        raise SettingError(
            f"{type(model).__name__} has weights of 16 bit, and cannot be copied to 32: {one_line(error)}",
            "Call model.float().",
        ) from error
    widened = lambda value: value.float() if value.dtype in _HALVES else value
    return copied._apply(widened)  # type: ignore[no-any-return,no-untyped-call]


def read_inputs(model: nn.Module, value: Any, what: str = "inputs") -> Inputs:
    """Read examples for a network: on its device and in its precision."""
    parameters = dict(model.named_parameters())
    device = next(model.parameters(), torch.zeros(())).device
    dtypes = list(dict.fromkeys(p.dtype for p in parameters.values() if p.is_floating_point()))
    whole = takes_whole(model, value)
    for dtype in [None, *dtypes] if len(dtypes) > 1 else dtypes:
        inputs = Inputs(value, device, dtype, what, whole=whole)
        if len(dtypes) == 1 or _passes(Network(model, parameters), inputs):
            return inputs
    return Inputs(value, device, None, what, whole=whole)


def _passes(network: Network, inputs: Inputs) -> bool:
    try:
        network.inspect(inputs.chosen([0]))
    except DataError:
        return False
    return True


def takes_whole(model: nn.Module, value: Any) -> bool:
    """Say whether a mapping goes to a network as one dict, because its names are no arguments."""
    if not isinstance(value, Mapping):
        return False
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        return False
    return not _binds(signature, **value) and _binds(signature, value)


def _binds(signature: inspect.Signature, *args: Any, **kwargs: Any) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _refuse_unusable(model: nn.Module) -> None:
    """Refuse what `torch.func` cannot call, or autograd not differentiate."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise SettingError(
            f"{type(model).__name__} is TorchScript, whose parameters cannot be exchanged",
            "Give the nn.Module that it was made from.",
        )
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(value):
            raise SettingError(f"{name} of the network has no shape yet", "Pass a batch through the network first.")
        if value.is_inference():
            raise SettingError(
                f"{name} of the network was made in inference mode, and cannot be differentiated",
                "Make the network outside torch.inference_mode().",
            )


def checked_model(model: nn.Module, chosen: Callable[[str], bool] | None) -> dict[str, nn.Parameter]:
    """Give the parameters that count, having checked that the network has a kernel."""
    everything = dict(model.named_parameters())
    if not everything:
        raise SettingError(f"{type(model).__name__} has no parameters, so no tangent kernel", "Give a network.")
    _refuse_unusable(model)
    if chosen is None:
        counted = {n: p for n, p in everything.items() if p.requires_grad} or everything
    else:
        counted = {n: p for n, p in everything.items() if chosen(n)}
        if not counted:
            some = ", ".join(list(everything)[:3])
            raise SettingError("`parameters` chooses none of the network's parameters", f"Its names are {some}, ...")
    for name, value in [*everything.items(), *model.named_buffers()]:
        if value.is_floating_point() and not all_finite(value.detach()):
            raise DataError(
                f"{name} of the network has NaN or infinite values", "Training diverged: use another checkpoint."
            )
    for name, module in model.named_modules():
        norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if norm and (module.training or module.running_mean is None):
            raise SettingError(
                f"{name or 'the network'} is a {type(module).__name__} that normalises by the batch, so examples have "
                "no gradient of their own",
                "Call model.eval()." if module.running_mean is not None else "Give it track_running_stats=True.",
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise SettingError(
                f"{name or 'the network'} is a {type(module).__name__} in training mode", "Call model.eval()."
            )
    return counted
