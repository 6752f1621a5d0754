"""Train once on labels you do not trust: a robust classifier, refined labels, and a ranking of the likely errors."""

from selfdistill._version import __version__

__all__ = ["__version__"]
