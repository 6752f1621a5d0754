"""Where and how the arithmetic is done: device, precision, processes. The loop knows none of it."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import final

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from selfdistill._core import dist
from selfdistill._core.advice import Advice
from selfdistill._core.errors import ResourceError
from selfdistill._core.wording import GROUP
from selfdistill.data._loader import Batch

_LOST = re.compile(r"closed by peer|reset by peer|remote process|Broken pipe|gloo|NCCL", re.IGNORECASE)
_ONE_THREAD = 2**25  # weights times examples of a step, below which a second thread gains next to nothing


@final
class TorchRuntime:
    """Plain torch: one process, or one of many that ``torchrun`` started."""

    def __init__(self, device: str = "cpu", precision: str = "fp32", *, compile: bool = False) -> None:
        self.rank, self.world = dist.rank(), dist.world()
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device(f"cuda:{local}" if device == "cuda" and self.world > 1 else device)
        self.precision = precision
        self.compile = compile
        self._even: Tensor | None = None  # what each example of a batch counts
        self._total = 0  # examples of that batch
        self._together: DistributedDataParallel | None = None

    def prepare(self, model: nn.Module) -> nn.Module:
        """Return the module to train: on the device, wrapped for many processes, compiled if asked."""
        model = model.to(self.device)
        if self.device.type == "cuda":
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from the stubs
        if self.world > 1:
            on_gpu = self.device.type == "cuda"
            model = _sync(model) if on_gpu else model
            model = DistributedDataParallel(model, device_ids=[self.device.index] if on_gpu else None)
            self._together = model
        return torch.compile(model) if self.compile else model  # type: ignore[return-value]  # it is an nn.Module

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of the forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def joining(self, last: bool) -> AbstractContextManager[object]:
        """Return the context of a part of a batch: processes average their gradients once, with the last."""
        return nullcontext() if last or self._together is None else self._together.no_sync()

    def backward(self, values: Tensor, batch: Batch) -> Tensor:
        """Run the backward pass of the mean over the global batch; return what the sum is, as this process sees it."""
        # Averaged over processes, gradients and sums are those of the global batch.
        # The mean's gradient is known: a mean in the graph would cost three more operations a step.
        torch.autograd.backward(values, self._shares(values, batch))
        values = values.detach()
        return values.sum() if self.world == 1 else self.world * (values @ _weights(values, batch))

    def _shares(self, values: Tensor, batch: Batch) -> Tensor:
        """Of each example in the global mean, times the number of processes, which average their gradients."""
        if self.world > 1:
            return torch.mul(_weights(values, batch), self.world / batch.total)
        even = self._even
        if even is None or (even.shape, even.dtype, self._total) != (values.shape, values.dtype, batch.total):
            self._even = even = torch.full_like(values, 1 / batch.total)
            self._total = batch.total
        return even


def _weights(values: Tensor, batch: Batch) -> Tensor:
    return torch.ones_like(values) if batch.weight is None else batch.weight


def _sync(model: nn.Module) -> nn.Module:
    """Let BatchNorm see the global batch; torch has this on CUDA only."""
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # torch's
    return converted


def local_statistics(model: nn.Module, runtime: TorchRuntime) -> list[str]:
    """Warn where BatchNorm sees a part of each batch only: torch lets processes share statistics on CUDA alone."""
    norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    if runtime.world == 1 or runtime.device.type == "cuda" or not norms:
        return []
    return [
        f"BatchNorm sees one of {runtime.world} parts of each batch in each process here, so that some labels will "
        "differ from those of one process; on CUDA it sees the whole."
    ]


@contextmanager
def process_group(device: str) -> Generator[None]:
    """Join the other processes if ``--processes`` or ``torchrun`` started this one; leave them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or torch.distributed.is_initialized():
        yield
        return
    if device.startswith("cuda"):
        _take_gpu(int(os.environ.get("LOCAL_RANK", "0")))
    folder = os.environ.get(GROUP)
    torch.distributed.init_process_group(
        "nccl" if device.startswith("cuda") else "gloo",
        init_method=None if folder is None else f"file://{folder}/store",
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )
    try:
        yield
        torch.distributed.barrier()  # none leaves while another still talks to it
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        raise ResourceError(
            "another process of this run has ended", Advice("Go on with {--resume} and as many {--processes}.")
        ) from error
    finally:
        torch.distributed.destroy_process_group()


def _take_gpu(local: int) -> None:
    """Give each process a GPU of its own."""
    count = torch.cuda.device_count()
    if local >= count:
        raise ResourceError(
            f"process {local + 1} has no GPU: this machine has {count}",
            Advice("Take as many processes as GPUs", "{--device} cpu."),
        )
    torch.cuda.set_device(local)


@contextmanager
def threads_for(weights: int, batch_size: int) -> Generator[None]:
    """Keep small steps to one thread while the context lasts; a set ``OMP_NUM_THREADS`` is obeyed."""
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ and weights * batch_size <= _ONE_THREAD:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
