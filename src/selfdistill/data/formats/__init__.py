"""The formats that data are read from: a new one is a file here and a line in `_list.FORMATS`."""

from selfdistill.data.formats._copies import Edit, Endings
from selfdistill.data.formats._format import Format, Request, TableFormat, TableRead
from selfdistill.data.formats._list import BUILT_IN, FORMATS

__all__ = ["BUILT_IN", "FORMATS", "Edit", "Endings", "Format", "Request", "TableFormat", "TableRead"]
