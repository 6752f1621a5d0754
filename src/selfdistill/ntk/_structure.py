"""How a network is laid out: which layers hold which parameters, which of them have a rule, and a check of it all."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from selfdistill._core.errors import DataError
from selfdistill.ntk._copies import COPY, axes_of_inputs, find_shared
from selfdistill.ntk._directions import Directions, Output, RandomDirection
from selfdistill.ntk._inputs import Arguments, Inputs, count_of, each_tensor
from selfdistill.ntk._layers import fits, is_known, own_parameters, subtract_sum
from selfdistill.ntk._network import (
    Mismatch,
    Network,
    checked_model,
    differ,
    is_wrong,
    refuse_coupled,
    refuse_infinite,
    translate_errors,
)
from selfdistill.ntk._peak import PeakBytes
from selfdistill.ntk._per_sample import PerSample
from selfdistill.ntk._recorder import Call, Recorder, projections


class Use(NamedTuple):
    """A parameter as a layer holds it."""

    module: str  # the layer's name
    local: str  # the parameter's name in it


class LayerCost(NamedTuple):
    """What a recorded layer costs for one example."""

    module: str  # its name
    flops: int  # of its forward pass; 0 where it is no matrix product
    positions: int  # S, how many vectors of one example its weight multiplies; 0 where it is no matrix product
    bytes_in: int  # of its input
    bytes_out: int  # of its output
    bytes_patches: int  # of what a convolution's input is laid out as, and of its padded input
    shape_in: tuple[int, ...]  # of its input
    shape_out: tuple[int, ...]  # of its output


class _ProbeCall(NamedTuple):
    """A call of a layer on the probe."""

    module: str  # its name
    x: Tensor  # what went in
    grad: Tensor | None  # the gradient at what came out; None where the outputs do not depend on it
    fits: bool  # whether the shapes are those that the layer's class is made for

    def row(self, i: int) -> _ProbeCall:
        """Give one example's part, where the shapes fit."""
        if not self.fits:
            return self
        return self._replace(x=self.x[i : i + 1], grad=None if self.grad is None else self.grad[i : i + 1])


class Probe(NamedTuple):
    """What a pass of the probe's three examples left, in one combination of the directions."""

    uses: list[tuple[str, Tensor | None]]  # the layers that were called, each with its input
    grads: list[Tensor]  # gradients at their outputs, [3, 1, ...]
    rows: Tensor  # the outputs


@final
class Structure:
    """What was found on a probe of three examples."""

    # Each parameter is one of three kinds. Factored: the weight (and bias) of a Linear layer used once on one vector
    # per example; its gradient is an outer product and is never formed. Ruled: of layers with a rule for per-sample
    # gradients. Other: everything else, and what the rules got wrong for any of the examples.

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        output: Output,
        chosen: Callable[[str], bool] | None = None,
        *,
        rules: bool = True,
    ) -> None:
        self.model, self.inputs, self._rules = model, inputs, rules
        self.network = Network(model, checked_model(model, chosen))
        self.parameters = self.network.parameters
        self.per_sample = PerSample(self.network)
        self._modules: dict[str, nn.Module] = {**dict(model.named_modules(remove_duplicate=True)), **projections(model)}
        self.uses: dict[str, list[Use]] = {name: [] for name in self.parameters}
        self.factored: dict[str, str | None] = {}  # weight -> its bias, which goes with it
        n = len(inputs)
        args = inputs.chosen(sorted({0, n // 2, n - 1}))
        first = args.rows(0, 1)
        self._find_uses(model)
        bare = [n for n, uses in self.uses.items() if not uses and rules and n not in self.network.complex]
        with axes_of_inputs(self._modules, bare) as axes:
            found = self.network.inspect(first)
        self.output_shape = self.network.shape
        self.dtype, self.like = found.dtype, found.new_empty(0)
        self.directions = Directions(output, found.shape[1])
        self.directions.refuse_more_axes(self.output_shape)
        self._find_shared(axes, args, found)
        layers = {use.module for uses in self.uses.values() for use in uses} if rules else set()
        seen, rows = self._pass(layers, args)
        self.other = self._settled(self._verify(args, seen, rows, found), seen)
        self._fed = {name for name in self.parameters if self._is_fed(name, args, seen)}
        self._settle()
        self.probe = None if rows is None or self.by_value else _probe(seen, rows)

    def in_double(self) -> Structure:
        """Look at the same network in 64 bit, where what differs is not rounding; costs a copy and another probe."""
        if all(p.dtype == torch.float64 for p in self.parameters.values()):
            raise DataError("the network is in 64 bit, whatever its outputs are", "Let it give outputs in 64 bit too.")
        with translate_errors():
            model = copy.deepcopy(self.model)._apply(_doubled)  # type: ignore[no-untyped-call]
        inputs, chosen = self.inputs.in_double(), self.parameters
        twin = Structure(model, inputs, self.directions.output, lambda name: name in chosen, rules=self._rules)
        twin.per_sample.way = self.per_sample.way
        return twin

    def _settled(self, wrong: list[str], seen: list[_ProbeCall]) -> list[str]:
        """Ask in 64 bit where rules seem to be wrong: a ReLU that rounding switches changes a gradient by 1e-3."""
        certain = {name for name in wrong if self._has_no_rule(name, seen)}
        if self.dtype == torch.float64 or certain == set(wrong):
            return wrong
        try:
            truly = self.in_double().other_set
        except DataError:
            return wrong
        return [name for name in self.parameters if name in certain | truly]

    def demote(self, names: Iterable[str]) -> None:
        """Take no rules any more for some parameters: they were found to be wrong."""
        self.other = [name for name in self.parameters if name in self.other_set | set(names)]
        self._settle()

    def _settle(self) -> None:
        self.other_set = set(self.other)
        self._factor()
        self.fed = self._fed & set(self.factored)

    def module(self, name: str) -> nn.Module:
        """Give a layer by its name."""
        return self._modules[name]

    def layer_of(self, name: str) -> LayerCost:
        """Give what the only layer that uses a parameter costs."""
        return next(layer for layer in self.layers if layer.module == self.uses[name][0].module)

    def may_be_kept(self, name: str) -> bool:
        """Say whether a weight's gradients can be made later from its layer's inputs and gradients at its outputs."""
        uses = self.uses[name]
        if name in self.other_set or name in self.factored or len(uses) != 1 or uses[0].local != "weight":
            return False
        once = self.order.count(uses[0].module) == 1
        return once and (self.layer_of(name).flops > 0 or self.embedding(name) is not None)

    def embedding(self, name: str) -> nn.Embedding | None:
        """Give the embedding whose weight a parameter is, if it is one."""
        module = self._modules[self.uses[name][0].module] if self.uses[name] else None
        return module if isinstance(module, nn.Embedding) else None

    def recorder(self, layers: Iterable[str]) -> Recorder:
        """Watch some layers."""
        return Recorder(self.network, {name: self._modules[name] for name in sorted(layers)}, self._unbatched)

    def check_calls(self, calls: list[Call], wanted: set[str], m: int) -> None:
        """Check that a pass used its layers as the probe did."""
        if [call.module for call in calls] != [name for name in self.order if name in wanted]:
            raise Mismatch(self.held_by(wanted))
        strange = {
            c.module for c in calls if c.out.dtype != self.dtype or not fits(self.module(c.module), c.x, c.out, m)
        }
        if strange:
            raise Mismatch(self.held_by(strange))

    def held_by(self, layers: set[str]) -> set[str]:
        """Name the parameters that some layers use."""
        return {name for name, uses in self.uses.items() if any(use.module in layers for use in uses)}

    def _find_uses(self, model: nn.Module) -> None:
        names = {id(p): name for name, p in model.named_parameters() if name in self.parameters}
        for module_name, module in self._modules.items():
            if is_known(module):
                for local, p in own_parameters(module).items():
                    if id(p) in names:
                        self.uses[names[id(p)]].append(Use(module_name, local))

    def _find_shared(self, axes: dict[str, int], args: Arguments, first: Tensor) -> None:
        """Look for parameters that can be given as one copy for each example, and make a layer of each."""
        copies, self._unbatched = find_shared(self.network, self._modules if self._rules else {}, axes, args, first)
        for name, layer in copies.items():
            self._modules[COPY + name] = layer
            self.uses[name].append(Use(COPY + name, "value"))
        self.shared = self._unbatched | {COPY + name for name in copies}

    def _pass(self, layers: set[str], args: Arguments) -> tuple[list[_ProbeCall], Tensor | None]:
        """Pass the probe through the network, forward and backward to the layers' outputs, and count meanwhile."""
        self.layers: list[LayerCost] = []
        self.order: list[str] = []
        for given in (args, args.rows(0, 1)):
            try:
                with self.network.quiet(), PeakBytes(flops=True, examples=count_of(given)) as counter:
                    seen, rows = self._watched(layers, given, counter)
            except Exception:
                if given is not args:
                    raise
                layers = set()  # what the network does with single examples is counted, without rules
                continue
            break
        self.probe_bytes = counter.peak / len(rows)
        refuse_infinite(rows)
        return seen, rows if given is args else None

    def _watched(self, layers: set[str], args: Arguments, counter: PeakBytes) -> tuple[list[_ProbeCall], Tensor]:
        recorder = self.recorder(layers)
        rows, calls = recorder.run(args)
        self.flops = counter.flops / (len(rows) * recorder.passes)
        self.by_value = self.network.placed or counter.placed or (self.network.apart and counter.apart)
        self.order = [call.module for call in calls]
        right = [c.out.dtype == self.dtype and fits(self._modules[c.module], c.x, c.out, len(rows)) for c in calls]
        self.layers = [_measured(self._modules[c.module], c, fits=ok) for c, ok in zip(calls, right, strict=True)]
        edges, inner = [get_gradient_edge(c.out) for c in calls], [c.x for c in calls]
        del calls  # outputs that nothing needs any more: what is counted is what a chunk will take
        grads: tuple[Tensor | None, ...] = (None,) * len(edges)
        if edges and rows.requires_grad:
            grads = torch.autograd.grad(rows, edges, self._mixed(rows), allow_unused=True)
        seen = [_ProbeCall(*values) for values in zip(self.order, inner, grads, right, strict=True)]
        return seen, rows.detach()

    def _mixed(self, rows: Tensor) -> Tensor:
        """Give the combination of the directions that is looked at: ``[m, C]``."""
        return RandomDirection(self.directions).of(rows.detach())[:, 0]

    def _verify(self, args: Arguments, seen: list[_ProbeCall], rows: Tensor | None, first: Tensor) -> list[str]:
        """Compare the rules' gradients of each example with autograd's: names of the parameters where they differ."""
        wrong = {name for name in self.parameters if self._has_no_rule(name, seen)}
        for i in range(count_of(args)):
            alone, more = self._wrong_for(args.rows(i, i + 1), [call.row(i) for call in seen], wrong)
            wrong |= more
            if i == 0 and differ(alone, first, first):
                raise DataError("the network gives different outputs each time", "Switch randomness off: model.eval().")
            if rows is not None:
                refuse_coupled(rows[i : i + 1], alone, rows)
        return [name for name in self.parameters if name in wrong]

    def _has_no_rule(self, name: str, seen: list[_ProbeCall]) -> bool:
        held = {use.module for use in self.uses[name]}
        return not held & set(self.order) or any(call.module in held and not call.fits for call in seen)

    def _wrong_for(self, args: Arguments, seen: list[_ProbeCall], known: set[str]) -> tuple[Tensor, set[str]]:
        """Compare for one example: its outputs, and where the rules are wrong beside what is known to be."""
        norms: dict[str, tuple[float, float]] = {}  # norms of the error and of autograd's gradient

        def compare(name: str, expected: Tensor) -> None:
            rest = expected.reshape(-1)
            norm = _norm(rest)
            if name in known:
                norms[name] = 0.0, norm
                return
            try:
                for use in self.uses[name]:
                    for call in seen:
                        if call.module == use.module and call.grad is not None:
                            subtract_sum(self._modules[use.module], use.local, call.x, call.grad, rest)
                norms[name] = _norm(rest), norm
            except RuntimeError:  # not what the rule is made for
                norms[name] = math.inf, norm

        alone = self.network.alone(args, self._mixed, compare)
        scale = max((norm for _, norm in norms.values()), default=0.0)
        return alone, {name for name, (error, norm) in norms.items() if is_wrong(error, norm, scale, self.dtype)}

    def _is_fed(self, name: str, args: Arguments, seen: list[_ProbeCall]) -> bool:
        """Say whether a layer's inputs are the examples themselves, number by number."""
        held = {use.module for use in self.uses[name]}
        x = next((call.x for call in seen if call.module in held), None)
        if x is None or self.network.changes_inputs or self.inputs.as_fed() is None:
            return False
        rows = next(each_tensor(args))
        return x.is_contiguous() and x.data_ptr() == rows.data_ptr() and x.numel() == rows.numel()

    def _factor(self) -> None:
        counts = {name: self.order.count(name) for name in set(self.order)}
        single = {layer.module for layer in self.layers if layer.positions == 1}
        self.factored = {}
        owner = {(use.module, use.local): name for name, uses in self.uses.items() for use in uses}
        for name, uses in self.uses.items():
            if name in self.other_set or len(uses) != 1 or uses[0].local != "weight":
                continue
            layer = uses[0].module
            if isinstance(self._modules[layer], nn.Linear) and counts.get(layer) == 1 and layer in single:
                bias = owner.get((layer, "bias"))
                alone = bias is not None and bias not in self.other_set and len(self.uses[bias]) == 1
                self.factored[name] = bias if alone else None


def _measured(module: nn.Module, call: Call, *, fits: bool) -> LayerCost:
    if not fits:
        return LayerCost(call.module, 0, 0, 0, 0, 0, (), ())
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


def _doubled(value: Tensor) -> Tensor:
    wide = torch.complex128 if value.is_complex() else torch.float64
    return value.to(wide) if value.is_complex() or value.is_floating_point() else value


def _probe(seen: list[_ProbeCall], rows: Tensor) -> Probe | None:
    grads = [call.grad[:, None] for call in seen if call.grad is not None]
    return Probe([(call.module, call.x) for call in seen], grads, rows) if len(grads) == len(seen) else None


def _norm(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value))
