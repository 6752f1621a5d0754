"""The small commands: ``embed``, ``noise``, ``predict``, ``refine`` and ``methods``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from selfdistill._core.advice import Advice
from selfdistill._core.errors import SettingError
from selfdistill._core.options import Option
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import clean, quoted
from selfdistill.cli._command import Only
from selfdistill.cli._display import first_process, showing, speak, stdout, write
from selfdistill.cli._main import leaving_at_once

_NOISE, _WAY = "Noise (choose one)", "Action (choose one)"
RUN = Option("RUN", "A run directory that `selfdistill fit` finished.", argument=True)


@dataclass(frozen=True, kw_only=True)
class NoiseOptions:
    """What the noise is, and where the copy goes."""

    source: Annotated[str, Option("SOURCE", "Labelled data, as `selfdistill fit` takes them.", argument=True)]
    out: Annotated[Path, Option("FILE", "Where the noisy copy goes; must not exist.")]
    symmetric: Annotated[float | None, Option("RATE", "Any label may become any other, evenly.", _NOISE)] = None
    pair: Annotated[float | None, Option("RATE", "A label may become that of the next class.", _NOISE)] = None
    matrix: Annotated[
        Path | None,
        Option(
            "FILE",
            "Class-dependent: a file of numbers, row = true class, column = given label, rows sum to 1.",
            _NOISE,
        ),
    ] = None
    instance: Annotated[float | None, Option("RATE", "Noise depends on the example's features.", _NOISE)] = None
    include_clean: Annotated[
        bool | None,
        Option(
            "",
            "Whether a redrawn symmetric label may be the true one. Papers differ, so choose: with 10 classes at "
            "0.4, 36 % change if it may, 40 % if not.",
            _NOISE,
            flag="--include-clean/--exclude-clean",
        ),
    ] = None
    seed: Annotated[int, Option("N", "Seed of the draw.")] = 0


def noise(
    options: NoiseOptions, read: Annotated[ReadOptions, Only(("label", "inputs", "labels", "encoding", "id"))]
) -> None:
    """Make a copy of a data set with wrong labels, for experiments.

    RATE is a probability from 0 to 1. The draw depends only on the seed, the labels and their order. Prints the share
    of labels that changed, overall and in each class.

    [bold]Examples:[/bold]

        selfdistill noise a.csv --out b.csv --symmetric 0.4 --exclude-clean
        selfdistill noise a.csv --out b.csv --pair 0.3 --label genre
        selfdistill noise a.csv --out b.csv --matrix T.csv --seed 1
    """
    with leaving_at_once():
        from selfdistill.runs._noisy_copy import noisy_copy

    made = noisy_copy(**vars(options), read=read)
    classes = [(clean(name), count, changed) for name, count, changed in made.classes]
    width = max(len("all"), *(len(name) for name, _, _ in classes))
    write(f"{'class':<{width}}  {'labels':>8}  {'changed':>8}  {'rate':>6}\n")
    for name, count, changed in [*classes, ("all", made.total, made.changed)]:
        rate = 100 * changed / count if count else 0.0
        write(f"{name:<{width}}  {count:>8,}  {changed:>8,}  {rate:>4.1f} %\n")


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What to label, and where the table goes."""

    run: Annotated[Path, RUN]
    new: Annotated[str, Option("NEW", "New data of the same kind as the training data.", argument=True)]
    out: Annotated[
        Path | None,
        Option("FILE", "A .csv or .parquet file that does not exist yet. Default: CSV to standard output."),
    ] = None
    force: Annotated[bool, Option("", "Overwrite the file that --out names.")] = False
    ignore: Annotated[
        tuple[str, ...],
        Option(
            "COLUMN",
            "Column to ignore, such as the label or one that training did not have; may be repeated.",
        ),
    ] = ()
    batch_size: Annotated[int, Option("N", "Examples per batch; affects memory, not results.")] = 1024
    device: Annotated[str, Option("NAME", "auto, cpu, cuda, cuda:1, mps. auto takes cuda if available.")] = "auto"


def predict(options: PredictOptions, read: Annotated[ReadOptions, Only(("encoding", "encoder", "skip_bad"))]) -> None:
    """Label new data with the classifier of a run.

    Writes a table with the columns id, predicted_label, confidence and p_CLASS for each class. The new data need the
    feature columns, or the image size, of training; if they have labels, accuracy is printed on stderr.

    [bold]Examples:[/bold]

        selfdistill predict runs/songs-001 new.csv > predictions.csv
        selfdistill predict runs/photos-001 more_photos/ --out predictions.parquet
    """
    with leaving_at_once():
        from selfdistill.runs._predict import check_output, write_predictions
        from selfdistill.runs._predict import predict as predict_new

    out, force = options.out, options.force
    if out is not None:
        check_output(out, force=force)
    read_new = replace(read, ignore=options.ignore)
    found = predict_new(options.run, options.new, read_new, device=options.device, batch_size=options.batch_size)
    for warning in found.warnings:
        speak(f"warning: {warning}")
    write_predictions(found, stdout() if out is None else out, force=force)
    if out is not None:
        speak(f"{len(found.ids):,} predictions in {out}")
    if found.accuracy is not None:
        speak(f"Agrees with {100 * found.accuracy:.1f} % of the {found.known:,} labels in {options.new}")


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """What to encode, and where the features are kept."""

    source: Annotated[str, Option("SOURCE", "Photos or texts, as `selfdistill fit` takes them.", argument=True)]
    out: Annotated[
        Path | None, Option("FOLDER", "Folder for the features. Default: runs/features, where fit looks for them.")
    ] = None
    on: Annotated[
        str | None,
        Option("ENGINE", "ray: in tasks of Ray, on the cluster at RAY_ADDRESS or on this machine. Default: here."),
    ] = None


def embed(
    options: EmbedOptions,
    read: Annotated[
        ReadOptions,
        Only(("label", "image_column", "encoder", "text", "id", "ignore", "encoding", "drop_unlabelled", "skip_bad")),
    ],
) -> None:
    """Compute features of photos or texts with a pretrained network, once.

    Later runs of `selfdistill fit` on the same photos or texts read them instead of computing them; name the folder
    with --features there, if you name it here. It holds Parquet files with the columns name, key and features, which
    any tool reads: pandas.read_parquet(FOLDER). If interrupted, run it again to continue.

    [bold]Examples:[/bold]

        selfdistill embed photos/
        selfdistill embed photos/ --encoder hf:facebook/dinov2-small --out features
        selfdistill fit photos/ --encoder hf:facebook/dinov2-small --features features
    """
    with leaving_at_once():
        from selfdistill.data._labelled import describe
        from selfdistill.runs._encoding import embed as embedded

    if not first_process():
        embedded(options.source, read, options.out, on=options.on)
        return
    with showing() as tell:
        data = embedded(options.source, read, options.out, tell, on=options.on)
    for warning in data.warnings:
        speak(f"warning: {warning}")
    speak(describe(data))
    where, option = (
        ("runs/features", "") if options.out is None else (options.out, f" --features {quoted(options.out)}")
    )
    speak(f"Features are in {where}. Train on them: selfdistill fit with the same data and encoder{option}")


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """Which run, which way, and where the copy goes."""

    run: Annotated[Path, RUN]
    out: Annotated[Path, Option("FILE", "Where the copy goes; must not exist.")]
    drop: Annotated[bool, Option("", "Leave out the rows that look wrong.", _WAY)] = False
    relabel: Annotated[
        bool,
        Option(
            "",
            "Add a column refined_label: the refined label where the given one looks wrong, else the given one.",
            _WAY,
        ),
    ] = False
    weight: Annotated[
        bool, Option("", "Add a column label_weight: the probability that the given label is right.", _WAY)
    ] = False
    format: Annotated[
        str | None, Option("NAME", "For another tool: label-studio (JSON), aum (CSV) or fiftyone (JSON).", _WAY)
    ] = None
    decisions: Annotated[
        Path | None,
        Option(
            "FILE",
            "Labels reviewed by a person: a file of `selfdistill review`, CSV (id, label) or Label Studio's JSON.",
        ),
    ] = None


def refine(options: RefineOptions) -> None:
    """Write a cleaned copy of a run's data, or export its label issues to another tool.

    The copy has the format of the source and all its columns; the source is only read. For an image folder, --out names
    a new folder (of links) or a list that ends in .csv; IDX, CIFAR and npy become npz. The copy also has a column
    label_quality (low = doubtful). Start it in the folder where `fit` was started.

    [bold]Examples:[/bold]

        selfdistill refine runs/songs-001 --drop --out clean.csv
        selfdistill refine runs/songs-001 --relabel --out refined.csv
        selfdistill fit refined.csv --label refined_label --ignore genre
        selfdistill refine runs/photos-001 --relabel --out photos_refined
        selfdistill refine runs/photos-001 --format label-studio --out tasks.json
    """  # noqa: DOC501 (this text is the help)
    with leaving_at_once():
        from selfdistill.runs._refine import refine as write_refined

    chosen = [name for name in ("drop", "relabel", "weight", "format") if getattr(options, name)]
    if len(chosen) != 1:
        both = " and ".join(f"--{name}" for name in chosen)
        raise SettingError(
            f"{both} cannot be combined" if chosen else "no action was chosen",
            Advice("Give one of {--drop}, {--relabel}, {--weight} and {--format}."),
        )
    made = write_refined(options.run, options.out, how=options.format or chosen[0], decisions=options.decisions)
    done = {
        "drop": f"{made.issues:,} left out",
        "relabel": f"{made.changed:,} of {made.issues:,} that look wrong got another label",
    }
    what = done.get(chosen[0], f"{made.issues:,} look wrong")
    skipped = f"; left out for images that cannot be read: {made.unreadable:,}" if made.unreadable else ""
    speak(f"{made.rows:,} of {made.total:,} rows in {made.out}; {what}{skipped}")


def methods() -> None:
    """List the methods that fit --method takes, one per line with what it does."""
    with leaving_at_once():
        from selfdistill.train._methods import METHODS, WITHOUT_EPOCHS

    summaries = WITHOUT_EPOCHS | {name: method.summary for name, method in METHODS.items()}
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        default = " (default)" if name == "auto" else ""
        write(f"{name:<{width}}  {summary}{default}\n")
