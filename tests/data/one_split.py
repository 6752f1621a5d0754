"""A split of a Hugging Face data set in memory as a data set."""

from selfdistill._core.read_options import ReadOptions
from selfdistill.data._source import assemble
from selfdistill.data.formats._hf import split_source


def from_split(dataset, options=None):
    options = options or ReadOptions()
    return assemble(split_source(dataset, options, "the dataset"), options)
