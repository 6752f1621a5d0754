"""Readers that bring every source into one form, and the batches that training takes from it.

Labels are texts everywhere; rows are counted from 0.
"""

from selfdistill._core.read_options import ReadOptions
from selfdistill.data._arrays import ArrayPreprocess, SparsePreprocess, UserPreprocess, as_dense
from selfdistill.data._arrow_types import as_table
from selfdistill.data._copy import check_new, labelled_cells, labelled_rows, write_refined, write_with_labels
from selfdistill.data._images import ImagePreprocess
from selfdistill.data._labelled import LabelledData, NewData, describe
from selfdistill.data._labels import value_key
from selfdistill.data._limits import check_size
from selfdistill.data._loader import Augment, Batch, TensorLoader, augment_for, eval_batches
from selfdistill.data._place import STANDARD_INPUT, is_there
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._read import find_form, read, read_new, read_test
from selfdistill.data._source import fingerprint, from_arrays, from_frame
from selfdistill.data._table import TablePreprocess
from selfdistill.data.formats import BUILT_IN
from selfdistill.data.formats._folder import training_root
from selfdistill.data.formats._hf import from_hf

__all__ = [
    "BUILT_IN",
    "STANDARD_INPUT",
    "ArrayPreprocess",
    "Augment",
    "Batch",
    "ImagePreprocess",
    "LabelledData",
    "NewData",
    "Preprocess",
    "ReadOptions",
    "SparsePreprocess",
    "TablePreprocess",
    "TensorLoader",
    "UserPreprocess",
    "as_dense",
    "as_table",
    "augment_for",
    "check_new",
    "check_size",
    "describe",
    "eval_batches",
    "find_form",
    "fingerprint",
    "from_arrays",
    "from_frame",
    "from_hf",
    "is_there",
    "labelled_cells",
    "labelled_rows",
    "read",
    "read_new",
    "read_test",
    "training_root",
    "value_key",
    "write_refined",
    "write_with_labels",
]
