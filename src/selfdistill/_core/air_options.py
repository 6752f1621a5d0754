"""Options of `selfdistill air`. Loads no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from selfdistill._core.errors import SettingError
from selfdistill._core.options import Option, check_options

_KERNEL = "Kernel"
_LONGEST = 1e30  # all is learned by then


@dataclass(frozen=True)
class AirOptions:
    """Options of `selfdistill air`."""

    examples: Annotated[
        int,
        Option(
            "N",
            "Size of the subset, stratified by class. The kernel's cost grows with its square; that of all "
            "eigenpairs, taken up to 3,000, with its cube.",
            _KERNEL,
            low=2,
        ),
    ] = 1000
    output: Annotated[
        str,
        Option(
            "NAME",
            "trace (over the logits), centered (without the direction that softmax ignores), fisher, or sum (ten "
            "times cheaper for ten classes).",
            _KERNEL,
            choices=("trace", "sum", "centered", "fisher"),
        ),
    ] = "trace"
    rank: Annotated[
        int | None,
        Option(
            "K",
            "Leading eigenvectors to compute; the others count as never learned. Default: all up to 3,000 "
            "examples, else 200.",
            _KERNEL,
            low=1,
        ),
    ] = None
    time: Annotated[
        float | None,
        Option(
            "T",
            "Kernel time (learning rate x steps) to report on. Default: when to stop.",
            _KERNEL,
            above=0,
            below=_LONGEST,
            hint="Leave it out for the time to stop.",
        ),
    ] = None
    seed: Annotated[int, Option("N", "Seed of the subset and, for data, of the network.", _KERNEL)] = 0
    memory: Annotated[str, Option("BYTES", "Most memory for the kernel.", _KERNEL)] = "2GiB"

    def check(self) -> None:
        """Refuse what is out of range."""
        check_options(self)
        if self.rank is not None and self.rank > self.examples:
            raise SettingError(
                f"rank is {self.rank}, but {self.examples} examples have 1 to {self.examples} directions",
                "Leave it out for all of them.",
                param="rank",
            )
