"""One Ctrl-C stops after the step and saves; a second one stops at once."""

from __future__ import annotations

import os
import signal

import pytest

from selfdistill import runs, train
from selfdistill._core.errors import Interrupted
from selfdistill._core.events import EpochDone
from selfdistill.runs._directory import run


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (1, "stopped in epoch 2; everything so far is saved"),
        (2, "stopped at once; what was saved before is kept"),
    ],
)
def test_ctrl_c_once_and_twice(tmp_path, times, message):
    digits, _ = runs.noisy_digits(0)
    settings = train.Settings(network="mlp:4", epochs=3, method="cross-entropy").resolve(len(digits), "cpu")

    def press(event):
        if isinstance(event, EpochDone):
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as stopped:
        run(digits, settings, tmp_path / "run", source={}, tell=press)
    assert message in str(stopped.value)
    assert signal.getsignal(signal.SIGINT) is before
