"""Experiments with a number: each writes raw records that the reports are made from."""
