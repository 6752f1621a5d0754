"""Networks: plain modules that take a batch and return logits.

`build` makes one from a word; `resolve` chooses one for the data. The classes are usable on their own.
"""
