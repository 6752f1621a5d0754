"""How a network is laid out: which layers hold which parameters, which of them have a rule, and a check of it all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call

from selfdistill._core.errors import DataError, SettingError
from selfdistill.ntk._inputs import Inputs, all_finite
from selfdistill.ntk._layers import fits, is_known, own_parameters, subtract_sum
from selfdistill.ntk._peak import PeakBytes
from selfdistill.ntk._recorder import Call, Recorder, full_precision

__all__ = ["Structure", "Use", "checked_model"]

_COUPLED = 1e-3  # relative difference of an example's outputs alone and beside another: rounding gives about 1e-6
_AGREE = 1e-3  # relative difference of a parameter's gradient by our rule and by autograd


class Use(NamedTuple):
    """A parameter as a layer holds it.

    Attributes:
        module: The layer's name.
        local: The parameter's name in it.
    """

    module: str
    local: str


class LayerCost(NamedTuple):
    """What a recorded layer costs for one example.

    Attributes:
        module: Its name.
        flops: Of its forward pass; 0 where it is no matrix product.
        positions: S, how many vectors of one example its weight multiplies; 0 where it is no matrix product.
        bytes_in: Of its input.
        bytes_out: Of its output.
        bytes_patches: Of what a convolution's input is laid out as, and of its padded input.
        shape_in: Of its input.
        shape_out: Of its output.
    """

    module: str
    flops: int
    positions: int
    bytes_in: int
    bytes_out: int
    bytes_patches: int
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]


class _Seen(NamedTuple):
    """A call of a layer on the probe.

    Attributes:
        module: Its name.
        x: What went in.
        grad: The gradient at what came out; ``None`` where the outputs do not depend on it.
        fits: Whether the shapes are those that the layer's class is made for.
    """

    module: str
    x: Tensor
    grad: Tensor | None
    fits: bool


@final
class Structure:
    """What was found on a probe of two examples.

    Each parameter is one of three kinds. *factored*: the weight (and bias) of a Linear layer used once on one vector
    per example; its gradient is an outer product and is never formed. *ruled*: of layers with a rule for per-sample
    gradients. *other*: everything else, and whatever the rules got wrong on the probe.

    Args:
        model: The network.
        inputs: Examples, of which the first two are used.
        chosen: Says by name which parameters count; those that require a gradient if left out, or all where none does.
        rules: Whether rules may be used; without, all is *other*.

    Raises:
        SettingError: No parameters, or layers in training mode that couple or randomise examples.
        DataError: Weights or outputs that are not finite, outputs of another shape, or examples that depend on another.
    """

    def __init__(
        self, model: nn.Module, inputs: Inputs, chosen: Callable[[str], bool] | None = None, *, rules: bool = True
    ) -> None:
        self.model = model
        self.parameters = checked_model(model, chosen)
        self._modules = dict(model.named_modules(remove_duplicate=True))
        self.uses: dict[str, list[Use]] = {name: [] for name in self.parameters}
        self.factored: dict[str, str | None] = {}  # weight -> its bias, which goes with it
        args, kwargs = inputs.chunk(0, 2)
        with full_precision(model):
            self._find_uses()
            layers = {use.module for uses in self.uses.values() for use in uses} if rules else set()
            uses = self._pass(layers, args, kwargs)
            self.other = self._verify(args, kwargs, uses)
            _refuse_coupled(model, args, kwargs, self._logits)
        self.other_set = set(self.other)
        self._factor()
        self.fed = {name for name in self.factored if self._is_fed(name, inputs, uses)}
        del self._logits

    def module(self, name: str) -> nn.Module:
        """Give a layer by its name."""
        return self.model.get_submodule(name)

    def layer_of(self, name: str) -> LayerCost:
        """Give what the only layer that uses a parameter costs."""
        return next(layer for layer in self.layers if layer.module == self.uses[name][0].module)

    def may_be_kept(self, name: str) -> bool:
        """Say whether a weight's gradients can be made later from its layer's inputs and gradients at its outputs."""
        uses = self.uses[name]
        if name in self.other_set or name in self.factored or len(uses) != 1 or uses[0].local != "weight":
            return False
        return self.order.count(uses[0].module) == 1 and self.layer_of(name).flops > 0

    def recorder(self, layers: Iterable[str]) -> Recorder:
        """Watch some layers."""
        return Recorder(self.model, {name: self._modules[name] for name in layers})

    def check_calls(self, calls: list[Call], wanted: set[str]) -> None:
        """Refuse a pass that used other layers than the probe did.

        Raises:
            DataError: The order of layers differs.
        """
        expected = [name for name in self.order if name in wanted]
        if [call.module for call in calls] != expected:
            raise DataError(
                "the network uses its layers in another order for other examples",
                "Pass rules=False: slower, and right.",
            )

    def _find_uses(self) -> None:
        names = {id(p): name for name, p in self.parameters.items()}
        for module_name, module in self._modules.items():
            if is_known(module):
                for local, p in own_parameters(module).items():
                    if id(p) in names:
                        self.uses[names[id(p)]].append(Use(module_name, local))

    def _pass(self, layers: set[str], args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> list[_Seen]:
        """Pass the probe through the network, forward and backward to the layers' outputs, and count meanwhile."""
        recorder = self.recorder(layers)
        grads: tuple[Tensor | None, ...] = ()
        with PeakBytes(flops=True) as counter:
            logits, calls = recorder.run(args, kwargs)
            self.flops = counter.flops / (len(logits) * recorder.passes)
            self.classes, self.dtype, self.order = logits.shape[1], logits.dtype, [call.module for call in calls]
            self.layers = [_measured(self._modules[c.module], c) for c in calls]
            right = [fits(self._modules[c.module], c.x, c.out, len(logits)) for c in calls]
            edges, inner = [get_gradient_edge(c.out) for c in calls], [c.x for c in calls]
            del calls  # outputs that nothing needs any more: what is counted is what a chunk will take
            direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).to(logits)
            if edges:
                grads = torch.autograd.grad(logits, edges, direction, allow_unused=True)
        self.probe_bytes, self._direction, self._logits = counter.peak, direction, logits.detach()
        return [_Seen(*seen) for seen in zip(self.order, inner, grads, right, strict=True)]

    def _verify(self, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], uses: list[_Seen]) -> list[str]:
        """Compare the rules' gradients with autograd's: names of the parameters where they differ."""
        strange = {seen.module for seen in uses if not seen.fits}
        found: dict[str, tuple[float, float]] = {}  # norms of the error and of autograd's gradient

        def compare(name: str, expected: Tensor) -> None:
            rest = expected.reshape(-1)
            norm = _norm(rest)
            for use in self.uses[name]:
                for seen in uses:
                    if seen.module == use.module and seen.fits and seen.grad is not None:
                        subtract_sum(self._modules[use.module], use.local, seen.x, seen.grad, rest)
            found[name] = (_norm(rest), norm)

        again = _each_gradient(self.model, self.parameters, args, kwargs, self._direction, compare)
        if _differ(self._logits, again, self._logits):
            raise DataError("the network gives other outputs each time", "Switch randomness off: model.eval().")
        scale = max((norm for _, norm in found.values()), default=0.0)
        wrong = []
        for name in self.parameters:
            error, norm = found[name]
            held = {use.module for use in self.uses[name]}
            if error > _AGREE * norm + 1e-6 * scale or not held & set(self.order) or held & strange:
                wrong.append(name)
        return wrong

    def _is_fed(self, name: str, inputs: Inputs, uses: list[_Seen]) -> bool:
        """Say whether a layer's inputs are the examples themselves, number by number."""
        rows = inputs.as_fed()
        x = next(seen.x for seen in uses if seen.module == self.uses[name][0].module)
        return (
            rows is not None
            and x.is_contiguous()
            and x.data_ptr() == rows.data_ptr()
            and x[0].numel() == rows[0].numel()
        )

    def _factor(self) -> None:
        counts = {name: self.order.count(name) for name in set(self.order)}
        single = {layer.module for layer in self.layers if layer.positions == 1}
        owner = {(use.module, use.local): name for name, uses in self.uses.items() for use in uses}
        for name, uses in self.uses.items():
            if name in self.other_set or len(uses) != 1 or uses[0].local != "weight":
                continue
            layer = uses[0].module
            if isinstance(self._modules[layer], nn.Linear) and counts.get(layer) == 1 and layer in single:
                bias = owner.get((layer, "bias"))
                alone = bias is not None and bias not in self.other_set and len(self.uses[bias]) == 1
                self.factored[name] = bias if alone else None


def _measured(module: nn.Module, call: Call) -> LayerCost:
    size_in, size_out = (v[0].numel() * v.element_size() for v in (call.x, call.out))
    shapes = tuple(call.x.shape[1:]), tuple(call.out.shape[1:])
    if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
        return LayerCost(call.module, 0, 0, size_in, size_out, 0, *shapes)
    channels = call.out.shape[-1 if isinstance(module, nn.Linear) else 1]
    positions = call.out[0].numel() // channels
    patches = 0
    if not isinstance(module, nn.Linear):
        patches = size_in + positions * module.weight[0].numel() * module.groups * call.x.element_size()
    return LayerCost(call.module, 2 * positions * module.weight.numel(), positions, size_in, size_out, patches, *shapes)


def _norm(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value))


def _differ(a: Tensor, b: Tensor, whole: Tensor) -> bool:
    return float((a - b).abs().max() / whole.abs().max().clamp(min=1e-30)) > _COUPLED


def _refuse_coupled(model: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], both: Tensor) -> None:
    """Refuse networks in which an example's outputs are not its own."""
    with torch.no_grad():
        alone = model(*(v[:1] for v in args), **{k: v[:1] for k, v in kwargs.items()})
    if _differ(both[:1], alone, both):
        raise DataError(
            "an example's outputs depend on the others beside it, so it has no gradient of its own",
            "Call model.eval(), and use layers that treat examples one by one.",
        )


def _each_gradient(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    args: tuple[Tensor, ...],
    kwargs: dict[str, Tensor],
    direction: Tensor,
    tell: Callable[[str, Tensor], None],
) -> Tensor:
    """Differentiate with respect to each parameter, no two gradients held at once; give the outputs."""
    leaves = {name: p.detach().requires_grad_(True) for name, p in parameters.items()}

    def finished(name: str) -> Callable[[Tensor], None]:
        def hook(leaf: Tensor) -> None:
            grad, leaf.grad = leaf.grad, None
            assert grad is not None
            told.add(name)
            with torch.no_grad():
                tell(name, grad.to_dense() if grad.is_sparse else grad)

        return hook

    told: set[str] = set()
    for name, leaf in leaves.items():
        leaf.register_post_accumulate_grad_hook(finished(name))  # type: ignore[no-untyped-call]
    with torch.enable_grad():
        logits: Tensor = functional_call(model, leaves, args, kwargs)
        if logits.requires_grad:
            torch.autograd.backward(logits, direction, inputs=list(leaves.values()))
    for name, leaf in leaves.items():
        if name not in told:  # not reached
            tell(name, torch.zeros_like(leaf, requires_grad=False))
    return logits.detach()


def checked_model(model: nn.Module, chosen: Callable[[str], bool] | None) -> dict[str, nn.Parameter]:
    """Give the parameters that count, having checked that the network has a kernel.

    Args:
        model: The network.
        chosen: Says by name which parameters count; see `Structure`.

    Returns:
        Parameters by name, a shared one once.

    Raises:
        SettingError: No parameters, or layers in training mode that couple or randomise examples.
        DataError: Weights that are not finite.
    """
    everything = dict(model.named_parameters())
    if not everything:
        raise SettingError(f"{type(model).__name__} has no parameters, so no tangent kernel", "Give a network.")
    if chosen is None:
        found = {n: p for n, p in everything.items() if p.requires_grad} or everything
    else:
        found = {n: p for n, p in everything.items() if chosen(n)}
        if not found:
            some = ", ".join(list(everything)[:3])
            raise SettingError("parameters chooses none of the network's", f"Its names are {some}, ...")
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
    return found
