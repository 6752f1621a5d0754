"""The formats that data are read from: a new one is a file here and a line in `_list.FORMATS`."""

from selfdistill.data.formats._format import Format
from selfdistill.data.formats._list import BUILT_IN, FORMATS, named

__all__ = ["BUILT_IN", "FORMATS", "Format", "named"]
