"""``selfdistill predict``."""

from __future__ import annotations

from selfdistill.cli import _options as o
from selfdistill.cli._display import speak, stdout
from selfdistill.cli._interrupt import leaving_at_once
from selfdistill.cli._number_options import Encoding

__all__ = ["predict"]


def predict(
    run: o.Run,
    new: o.New,
    out: o.PredictOut = None,
    force: o.PredictForce = False,
    ignore: o.PredictIgnore = None,
    encoding: Encoding = None,
    batch_size: o.PredictBatch = 1024,
    device: o.PredictDevice = "auto",
) -> None:
    """Label new data with the classifier of a run.

    Writes a table with the columns id, predicted_label, confidence and p_CLASS for each class. The new data need the
    feature columns, or the image size, of training; where they have the label too, the accuracy is told on stderr.

    [bold]Examples:[/bold]

        selfdistill predict runs/songs-001 new.csv > predictions.csv
        selfdistill predict runs/photos-001 more_photos/ --out predictions.parquet
    """
    with leaving_at_once():
        from selfdistill.train import check_output, write_predictions
        from selfdistill.train import predict as predict_new

    if out is not None:
        check_output(out, force=force)
    found = predict_new(run, new, device=device, batch_size=batch_size, ignore=ignore or (), encoding=encoding)
    for warning in found.warnings:
        speak(f"warning: {warning}")
    write_predictions(found, stdout() if out is None else out, force=force)
    if out is not None:
        speak(f"{len(found.ids):,} predictions in {out}")
    if found.accuracy is not None:
        speak(f"Agrees with {100 * found.accuracy:.1f} % of the {found.known:,} labels in {new}")
