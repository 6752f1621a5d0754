"""Label Wave's rule on curves written by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selfdistill.rivals.yuan2024labelwave import first_trough


@given(st.lists(st.integers(0, 20).map(lambda x: x / 20), min_size=1, max_size=15), st.integers(1, 4))
def test_label_wave_walks_down_to_the_first_trough(values, window):
    smooth = [np.mean(values[max(0, i - window + 1) : i + 1]) for i in range(len(values))]
    place = 0
    while place + 1 < len(smooth) and smooth[place + 1] < smooth[place] - 1e-9:
        place += 1
    seen = [first_trough([{"changed_share": v} for v in values[: i + 1]], window) for i in range(len(values))]
    assert int(np.flatnonzero(seen)[-1]) == place
