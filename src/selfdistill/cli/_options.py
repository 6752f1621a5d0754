"""The options of the commands, each once, with what ``--help`` says about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_DATA, _TRAINING, _MACHINE, _RUN, _FLAG = "Data", "Training", "Machine", "Run", ""  # a flag shows no value


def number_or_word(said: str | None) -> int | str | None:
    """Read a value such as ``5`` or ``all``.

    Args:
        said: What was typed.

    Returns:
        The number, or the word as it is.

    Example:
        >>> number_or_word("5"), number_or_word("all")
        (5, 'all')
    """
    return int(said) if said is not None and said.isdecimal() else said


Source = Annotated[
    str | None,
    typer.Argument(
        metavar="[SOURCE]",
        help="A table (CSV, Parquet, Feather, JSON, Excel, SQLite as file.db::table) or arrays (npz, npy, "
        "safetensors); a folder with one sub-folder of images per class, of IDX files (MNIST family), CIFAR binary "
        "batches, Parquet files, or a saved Hugging Face data set; - for standard input. Left out: scikit-learn's "
        "digits with 40 % of the labels flipped.",
        show_default=False,
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the given labels. Default: the only one named label, target, class or y.",
        rich_help_panel=_DATA,
    ),
]
Id = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column that names the rows. Default: a column named id if its values are unique, else the row number.",
        rich_help_panel=_DATA,
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Column to leave out; may be repeated.", rich_help_panel=_DATA),
]
Truth = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the true labels where you know them: to measure, never to train.",
        rich_help_panel=_DATA,
    ),
]
Text = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN", help="Take this column as free text.", rich_help_panel=_DATA)
]
Categorical = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN", help="Take this column as categories.", rich_help_panel=_DATA)
]
Numeric = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN", help="Take this column as numbers.", rich_help_panel=_DATA)
]
Test = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Labelled data to measure accuracy on after each epoch; nothing is chosen by it. IDX and CIFAR folders "
        "bring their own.",
        rich_help_panel=_DATA,
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="Resize the images of a folder to a square; otherwise only where their sizes differ.",
        rich_help_panel=_DATA,
    ),
]
DropUnlabelled = Annotated[
    bool,
    typer.Option("--drop-unlabelled", metavar=_FLAG, help="Leave out rows without a label.", rich_help_panel=_DATA),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        metavar=_FLAG,
        help="Leave out images that cannot be read, and list them.",
        rich_help_panel=_DATA,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How to train; `selfdistill methods` lists them. Default: auto, which takes kernel, the closed form, for "
        "features and tables, and selfdistill for images or where an option of training is given.",
        rich_help_panel=_TRAINING,
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help="linear, mlp, mlp:256,128, cnn, cnn:32,64, resnet18, resnet20. Default: cnn for images from 16 x 16 "
        "pixels, else mlp; below 5,000 examples mlp:128 for tables, linear for texts alone.",
        rich_help_panel=_TRAINING,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Passes over the data. Default: about 3,000 steps, 12 to 30 epochs, more for tiny data.",
        rich_help_panel=_TRAINING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Examples per step. Default: a twentieth of the data, 16 to 128.", rich_help_panel=_TRAINING
    ),
]
Lr = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Peak learning rate (one cycle). Default: 0.1; 0.03 below 5,000 examples.",
        rich_help_panel=_TRAINING,
    ),
]
Augment = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help="none, or such as flip,crop:2,cutout:8. Default: shifts and mirroring for colour images from 16 x 16 "
        "pixels if the network is no mlp, else none.",
        rich_help_panel=_TRAINING,
    ),
]
HeldOut = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Share of each class kept from training; how far it agrees with the given labels is measured after each "
        "epoch. For methods of plain training.",
        rich_help_panel=_TRAINING,
    ),
]
KeepEpochs = Annotated[
    str | None,
    typer.Option(
        metavar="all|N",
        help="Keep the weights of all epochs, or of N evenly spread, in RUN/epochs; `selfdistill distill` chooses from "
        "them. Default: none.",
        rich_help_panel=_TRAINING,
    ),
]
Seed = Annotated[
    int | None, typer.Option(metavar="N", help="Seed of everything drawn. Default: 0.", rich_help_panel=_TRAINING)
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="auto, cpu, cuda, cuda:1, mps. Default: auto, which takes cuda where there is one.",
        rich_help_panel=_MACHINE,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="fp32 or bf16 (autocast). Default: bf16 on cuda, else fp32.", rich_help_panel=_MACHINE
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        metavar=_FLAG,
        help="Pass the network through torch.compile; pays in long runs.",
        rich_help_panel=_MACHINE,
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Share each batch among N processes of this machine, one for each GPU. --resume wants as many. "
        "Default: 1.",
        rich_help_panel=_MACHINE,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="The run directory. Default: the next free runs/NAME-NNN.", rich_help_panel=_RUN
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Go on with a stopped run. Data and settings are those it began with; given ones must agree.",
        rich_help_panel=_RUN,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", metavar=_FLAG, help="Print one JSON object instead of text.", rich_help_panel=_RUN)
]

NoiseSource = Annotated[str, typer.Argument(metavar="SOURCE", help="Labelled data, as `selfdistill fit` takes them.")]
NoiseOut = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="Where the noisy copy goes; must not exist.", show_default=False)
]
Symmetric = Annotated[
    float | None,
    typer.Option(
        metavar="RATE", help="Any label may become any other, evenly.", rich_help_panel="Noise (one of these)"
    ),
]
Pair = Annotated[
    float | None,
    typer.Option(
        metavar="RATE", help="A label may become that of the next class.", rich_help_panel="Noise (one of these)"
    ),
]
Matrix = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Class-dependent: a file of numbers, row = true class, column = given label, rows sum to 1.",
        rich_help_panel="Noise (one of these)",
    ),
]
Instance = Annotated[
    float | None,
    typer.Option(
        metavar="RATE", help="What an example looks like decides its noise.", rich_help_panel="Noise (one of these)"
    ),
]
IncludeClean = Annotated[
    bool | None,
    typer.Option(
        "--include-clean/--exclude-clean",
        metavar=_FLAG,
        help="Whether a redrawn symmetric label may be the true one. Papers differ, so say which: of 10 classes at "
        "0.4, 36 % change if it may, 40 % if not.",
        rich_help_panel="Noise (one of these)",
        show_default=False,
    ),
]
NoiseSeed = Annotated[int, typer.Option(metavar="N", help="Seed of the draw.")]

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory that `selfdistill fit` finished.")]
New = Annotated[str, typer.Argument(metavar="NEW", help="Data of the kind that the run was trained on.")]
PredictOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="A .csv or .parquet file that does not exist yet. Default: CSV to standard output.",
    ),
]
PredictForce = Annotated[bool, typer.Option("--force", metavar=_FLAG, help="Overwrite the file that --out names.")]
PredictBatch = Annotated[
    int, typer.Option("--batch-size", metavar="N", help="Examples at once: memory, not results, depends on it.")
]
PredictDevice = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps. auto takes cuda where there is one."),
]
PredictIgnore = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="COLUMN",
        help="Column to leave unread, the label's or one that training did not have; may be repeated.",
    ),
]

_KERNEL = "Kernel"
AirWhat = Annotated[
    str,
    typer.Argument(metavar="RUN|DATA", help="A run directory that `selfdistill fit` finished, or labelled data."),
]
AirNetwork = Annotated[
    str | None,
    typer.Option("--network", metavar="SPEC", help="Of data: the network, as for fit.", rich_help_panel=_KERNEL),
]
AirExamples = Annotated[
    int,
    typer.Option(
        "--examples",
        metavar="N",
        help="Size of the subset, each class in its share. The kernel's cost grows with its square; that of all "
        "eigenpairs, taken up to 3,000, with its cube.",
        rich_help_panel=_KERNEL,
    ),
]
AirOutput = Annotated[
    str,
    typer.Option(
        "--output",
        metavar="NAME",
        help="trace (over the logits), centered (less what softmax cannot see), fisher, or sum (ten times cheaper for "
        "ten classes).",
        rich_help_panel=_KERNEL,
    ),
]
AirRank = Annotated[
    int | None,
    typer.Option(
        "--rank",
        metavar="K",
        help="Leading directions to compute; what they leave open is shown as a range. Default: all up to 3,000 "
        "examples, else 200.",
        rich_help_panel=_KERNEL,
    ),
]
AirTime = Annotated[
    float | None,
    typer.Option(
        "--time",
        metavar="T",
        help="Kernel time (learning rate x steps) to report on. Default: when to stop.",
        rich_help_panel=_KERNEL,
    ),
]
AirSeed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", help="Seed of the subset and, of data, of the network.", rich_help_panel=_KERNEL
    ),
]
AirMemory = Annotated[
    str, typer.Option("--memory", metavar="BYTES", help="Most memory for the kernel.", rich_help_panel=_KERNEL)
]
AirOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="Where air.json and figures go. Default: RUN/air, or air-NAME for data.",
        rich_help_panel=_RUN,
    ),
]
AirForce = Annotated[
    bool, typer.Option("--force", help="Overwrite what an earlier call wrote there.", rich_help_panel=_RUN)
]

_WAY = "Way (one of these)"
RefineOut = Annotated[
    Path,
    typer.Option("--out", metavar="FILE", help="Where the copy goes; must not exist.", show_default=False),
]
Drop = Annotated[
    bool, typer.Option("--drop", metavar=_FLAG, help="Leave out the rows that look wrong.", rich_help_panel=_WAY)
]
Relabel = Annotated[
    bool,
    typer.Option(
        "--relabel",
        metavar=_FLAG,
        help="Add a column refined_label: the refined label where the given one looks wrong, else that.",
        rich_help_panel=_WAY,
    ),
]
Weight = Annotated[
    bool,
    typer.Option(
        "--weight",
        metavar=_FLAG,
        help="Add a column label_weight: the probability that the given label is right.",
        rich_help_panel=_WAY,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="For another tool: label-studio (JSON), aum (CSV) or fiftyone (JSON).",
        rich_help_panel=_WAY,
    ),
]
