"""All formats, in the order in which they are tried."""

from __future__ import annotations

from selfdistill.data._cifar import cifar_source, is_cifar
from selfdistill.data._folder import folder_source, is_image_folder
from selfdistill.data._idx import idx_source, is_idx
from selfdistill.data._npy import is_npy_folder, npy_folder_source, npy_source
from selfdistill.data._npz import npz_source
from selfdistill.data._safetensors import tensors_source
from selfdistill.data.formats._arrow_format import ARROW, PARQUET, PARQUET_FOLDER
from selfdistill.data.formats._csv_format import CSV
from selfdistill.data.formats._digits import digits_source
from selfdistill.data.formats._excel_format import EXCEL
from selfdistill.data.formats._format import Format, ends_in, load_with
from selfdistill.data.formats._hf_format import SAVED_HF
from selfdistill.data.formats._json_format import JSON
from selfdistill.data.formats._sqlite_format import SQLITE

BUILT_IN = ("digits",)
"""Sources that need no file."""
_VECTORS = frozenset({"array", "sparse", "image", "user"})
_ARRAYS = _VECTORS | {"table"}
_IMAGES = frozenset({"image", "user"})
_NAMED = frozenset({"label", "id", "ignore", "truth", "drop_unlabelled", "inputs", "labels"})

FORMATS = (
    CSV,
    PARQUET,
    Format("npz", "a file of arrays", "npz", ends_in(".npz"), load_with(npz_source, mapped=True), _ARRAYS, _NAMED),
    Format(
        "npy",
        "an array",
        "npy",
        ends_in(".npy"),
        load_with(npy_source, mapped=True),
        _ARRAYS,
        frozenset({"label", "labels", "drop_unlabelled"}),
    ),
    Format(
        "safetensors",
        "a file of tensors",
        "safetensors",
        ends_in(".safetensors"),
        load_with(tensors_source),
        _VECTORS,
        _NAMED,
    ),
    ARROW,
    JSON,
    EXCEL,
    SQLITE,
    SAVED_HF,
    Format("idx", "IDX data", "IDX files", is_idx, load_with(idx_source), _VECTORS, frozenset(), folder=True),
    Format(
        "cifar", "CIFAR data", "CIFAR batches", is_cifar, load_with(cifar_source), _IMAGES, frozenset(), folder=True
    ),
    PARQUET_FOLDER,
    Format(
        "npy-folder",
        "a folder of arrays",
        "npy files",
        is_npy_folder,
        load_with(npy_folder_source),
        _ARRAYS,
        _NAMED,
        folder=True,
    ),
    Format(
        "folder",
        "a folder of images",
        "one sub-folder of images per class",
        is_image_folder,
        load_with(folder_source),
        _IMAGES,
        frozenset({"image_size", "skip_bad"}),
        folder=True,
    ),
    Format(
        "digits",
        "a built-in set of images",
        "'digits'",
        lambda path: False,
        load_with(digits_source),
        _IMAGES,
        frozenset(),
    ),
)
"""All of them; a source is of the first that recognises it."""


def named(name: str) -> Format:
    """Give a format by its name."""
    return next(one for one in FORMATS if one.name == name)
