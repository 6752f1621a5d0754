"""Kernels of real networks beside neural-tangents, torch.func and nngeometry: speed, memory, agreement, spectra.

Each cell runs in a process of its own, if need be in another virtual environment (``environments.sh`` makes them), on
the same weights and inputs, handed over as ``.npz`` without pickles. See ``__main__.py`` for the commands.
"""
