"""What is measured: rows of the table (network, output, n) with the methods that can do them, and why others cannot."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.ntk_peers.problems import CLASSES, LANGUAGE, parameters

PYTHONS = {"neural-tangents": "neural-tangents", "nngeometry": "nngeometry"}  # methods with an environment of their own
ALL = ("ours", "ours-512MiB", "neural-tangents", "torch.func", "torch.func-tutorial", "nngeometry")
MOST = 14e9  # bytes that a Jacobian may take here


class Row(NamedTuple):
    """One row.

    Attributes:
        network: ``cnn`` or ``mlp``.
        output: ``sum``, ``trace`` or ``full``.
        n: Inputs.
        repetitions: How often each method runs.
        once: Methods that run in the first repetition only: they take minutes.
        leave: Methods left out, with the reason.
        inner: Kernels computed one after the other in a process; their median counts.
    """

    network: str
    output: str
    n: int
    repetitions: int
    once: tuple[str, ...] = ()
    leave: tuple[tuple[str, str], ...] = ()
    inner: int = 1


PAIRS = ("nngeometry", "not run: it computes all 100 pairs of outputs, each as dear as sum")
LONG = ("nngeometry", "not run: 25 times the work of n = 1,000")
RULES = tuple((name, "not run: the networks are written in torch alone") for name in ("neural-tangents", "nngeometry"))
TUTORIAL = ("torch.func-tutorial", "measured at n = 300 and 1,000 for the CNN")
SUITES: dict[str, tuple[Row, ...]] = {
    "small": (
        Row("mlp", "sum", 300, 3, once=("torch.func", "torch.func-tutorial"), inner=5),
        Row("mlp", "trace", 300, 3, leave=(TUTORIAL,), inner=3),
        Row("mlp", "full", 100, 3, once=("torch.func",), leave=(TUTORIAL,), inner=5),
        Row("cnn", "sum", 300, 3, once=("torch.func-tutorial",)),
        Row("cnn", "full", 100, 3, leave=(TUTORIAL, PAIRS)),
    ),
    "medium": (
        Row("mlp", "sum", 1000, 3, once=("torch.func",), leave=(TUTORIAL,), inner=3),
        Row("mlp", "trace", 1000, 3, once=("nngeometry",), leave=(TUTORIAL,)),
        Row("cnn", "sum", 1000, 3, once=("torch.func-tutorial", "nngeometry")),
        Row("cnn", "trace", 200, 3, leave=(TUTORIAL, PAIRS)),
    ),
    "large": (
        Row("mlp", "sum", 5000, 3, leave=(TUTORIAL,), once=("nngeometry",)),
        Row("mlp", "trace", 5000, 2, leave=(TUTORIAL, LONG)),
        Row("cnn", "sum", 5000, 1, leave=(TUTORIAL, LONG)),
    ),
    "transformers": tuple(
        Row(network, output, n, 5, leave=(TUTORIAL, *RULES), inner=5 if output == "sum" else 3)
        for network in LANGUAGE
        for output, n in (("sum", 64), ("sum", 300), ("trace", 64), ("full", 64))
    ),
    "try": (Row("mlp", "sum", 100, 2, inner=3), Row("cnn", "sum", 50, 2)),
}


def reason_to_leave(row: Row, method: str) -> str | None:
    """Say why a method does not run on a row, or ``None``."""
    if method in dict(row.leave):
        return dict(row.leave)[method]
    if method == "ours-512MiB" and (row.network == "mlp" or row.network in LANGUAGE or row.n == 5000):
        return "not run"
    jacobian = 4.0 * row.n * parameters(row.network) * (1 if row.output == "sum" else CLASSES)
    if method.startswith("torch.func") and jacobian > MOST:
        return f"its Jacobian takes {jacobian / 1e9:,.0f} GB"
    return None


def cell(row: Row, method: str, **more: Any) -> dict[str, Any]:
    """Describe a cell for the process that measures it."""
    options: dict[str, Any] = {"memory": "512MiB"} if method == "ours-512MiB" else {}
    if row.network in LANGUAGE and row.output != "sum":
        options["chunk"] = 8  # torch.func's best: 4 is as quick, 64 takes 1.4 times as long
    return {
        "method": method,
        "network": row.network,
        "output": row.output,
        "n": row.n,
        "dtype": "float32",
        "inner": row.inner,
        "options": options,
        **more,
    }
