"""All formats, in the order in which they are tried."""

from selfdistill.data.formats._arrays import Npy, NpyFolder, Npz, Safetensors
from selfdistill.data.formats._arrow import Arrow, Parquet, ParquetFolder
from selfdistill.data.formats._cifar import Cifar
from selfdistill.data.formats._csv import Csv
from selfdistill.data.formats._excel import Excel
from selfdistill.data.formats._folder import ImageFolder
from selfdistill.data.formats._format import Format
from selfdistill.data.formats._hf import SavedHf
from selfdistill.data.formats._idx import Digits, Idx
from selfdistill.data.formats._json import Json
from selfdistill.data.formats._sqlite import Sqlite

BUILT_IN: dict[str, Format] = {"digits": Digits()}  # sources that need no file, by name
FORMATS: list[Format] = [
    Csv(),
    Parquet(),
    Npz(),
    Npy(),
    Safetensors(),
    Arrow(),
    Json(),
    Excel(),
    Sqlite(),
    SavedHf(),
    Idx(),
    Cifar(),
    ParquetFolder(),
    NpyFolder(),
    ImageFolder(),
]
"""Files and folders: a source is of the first format that recognises it."""
