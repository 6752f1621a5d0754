"""Readers that bring every source into one form, and the batches that training takes from it.

Labels are texts everywhere; rows are counted from 0.
"""
