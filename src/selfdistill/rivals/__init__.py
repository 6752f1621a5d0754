"""Published methods to compare with, one file per paper: its target, its loss and its entry in the table.

A new rival is a file with ``METHODS``, a line in ``_table.py``, and a test of what is its own; the tests of all methods
run over it automatically.
"""

from selfdistill.rivals._method import Context, Method

__all__ = [
    "Context",
    "Method",
]
