"""``selfdistill noise``."""

from __future__ import annotations

from selfdistill._core.wording import clean
from selfdistill.cli import _options as o
from selfdistill.cli._array_options import Inputs, Labels
from selfdistill.cli._display import write
from selfdistill.cli._interrupt import leaving_at_once
from selfdistill.cli._number_options import Encoding

__all__ = ["noise"]


def noise(
    source: o.NoiseSource,
    out: o.NoiseOut,
    symmetric: o.Symmetric = None,
    pair: o.Pair = None,
    matrix: o.Matrix = None,
    instance: o.Instance = None,
    include_clean: o.IncludeClean = None,
    label: o.Label = None,
    inputs: Inputs = None,
    labels: Labels = None,
    encoding: Encoding = None,
    id: o.Id = None,
    seed: o.NoiseSeed = 0,
) -> None:
    """Make a copy of a data set with wrong labels, for experiments.

    RATE is a probability from 0 to 1. The draw depends on the seed, the labels and their order alone. Prints the share
    of labels that did change, over all and in each class.

    [bold]Examples:[/bold]

        selfdistill noise a.csv --out b.csv --symmetric 0.4 --exclude-clean
        selfdistill noise a.csv --out b.csv --pair 0.3 --label genre
        selfdistill noise a.csv --out b.csv --matrix T.csv --seed 1
    """
    with leaving_at_once():
        from selfdistill.train import noisy_copy

    made = noisy_copy(
        source,
        out,
        symmetric=symmetric,
        pair=pair,
        matrix=matrix,
        instance=instance,
        include_clean=include_clean,
        read={"label": label, "id": id, "inputs": inputs, "labels": labels, "encoding": encoding},
        seed=seed,
    )
    classes = [(clean(name), count, changed) for name, count, changed in made.classes]
    width = max(len("all"), *(len(name) for name, _, _ in classes))
    write(f"{'class':<{width}}  {'labels':>8}  {'changed':>8}  {'rate':>6}\n")
    for name, count, changed in [*classes, ("all", made.total, made.changed)]:
        rate = 100 * changed / count if count else 0.0
        write(f"{name:<{width}}  {count:>8,}  {changed:>8,}  {rate:>4.1f} %\n")
