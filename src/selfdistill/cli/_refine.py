"""``selfdistill refine``."""

from __future__ import annotations

from selfdistill.cli import _options as o
from selfdistill.cli._display import speak
from selfdistill.cli._interrupt import leaving_at_once

__all__ = ["refine"]


def refine(
    run: o.Run,
    out: o.RefineOut,
    drop: o.Drop = False,
    relabel: o.Relabel = False,
    weight: o.Weight = False,
    format: o.Format = None,
) -> None:
    """Write the data set of a run anew, without its label errors; or the findings for another tool.

    The copy has the form of the source, whose columns stay as they are; the source itself is only read. Of an image
    folder, --out names a new folder (of links) or a list that ends in .csv; IDX, CIFAR and npy become npz. Start it in
    the folder where `fit` was started.

    [bold]Examples:[/bold]

        selfdistill refine runs/songs-001 --drop --out clean.csv
        selfdistill refine runs/songs-001 --relabel --out refined.csv
        selfdistill fit refined.csv --label refined_label --ignore genre
        selfdistill refine runs/photos-001 --relabel --out photos_refined
        selfdistill refine runs/photos-001 --format label-studio --out tasks.json
    """  # noqa: DOC501 (this text is the help)
    from selfdistill._core.errors import SettingError

    with leaving_at_once():
        from selfdistill.train import refine as write_refined

    ways = [name for name, said in (("drop", drop), ("relabel", relabel), ("weight", weight)) if said]
    if len(ways) + (format is not None) != 1:
        told = [f"--{name}" for name in ways] + ([] if format is None else ["--format"])
        raise SettingError(
            f"{' and '.join(told) or 'nothing'} was said, but it takes one way",
            "Give one of --drop, --relabel, --weight and --format.",
        )
    made = write_refined(run, out, how=ways[0] if ways else None, form=format)
    done = {
        "drop": f"{made.issues:,} left out",
        "relabel": f"{made.changed:,} of {made.issues:,} that look wrong got another label",
        "weight": f"{made.issues:,} look wrong",
    }
    what = done[ways[0]] if ways else f"{made.issues:,} look wrong"
    speak(f"{made.rows:,} of {made.total:,} rows in {made.out}; {what}")
