"""The live line and the plain lines, fed with events and a clock of our own."""

from __future__ import annotations

import io

import pytest

from selfdistill._core.events import BatchDone, EpochDone, RunStarted
from selfdistill.cli._display import Clock, duration, plain_lines, showing

METRICS = {"loss": 0.5, "agreement": 0.75, "refined_share": 0.25, "test_accuracy": 0.9}


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def events(epochs: int, steps: int, first: int = 0):
    yield RunStarted(epochs, first, 100, steps)
    for epoch in range(first, epochs):
        for step in range(1, steps + 1):
            yield BatchDone(epoch, step, 10)
        yield EpochDone(epoch, METRICS)


def test_time_left_is_that_of_the_steps_taken_so_far():
    time = Time()
    clock = Clock(time)
    assert clock.left() is None
    for i, event in enumerate(events(4, 10)):
        clock(event)
        if isinstance(event, BatchDone):
            time.now += 0.5
        if i == 10:  # ten of forty steps at half a second
            assert clock.left() == pytest.approx(15.0)
            assert clock.rate() == pytest.approx(20.0)
    assert clock.left() == 0
    assert clock.current == 4


def test_a_resumed_run_counts_only_its_own_steps():
    time = Time()
    clock = Clock(time)
    clock(RunStarted(4, 2, 100, 10))
    clock(BatchDone(2, 6, 10))  # goes on after step 5 of the third epoch
    time.now = 1.0
    assert clock.left() == pytest.approx(14.0)
    assert clock.current == 3


def test_plain_lines_come_first_last_and_every_five_seconds():
    time, lines = Time(), []
    listener = plain_lines("plain", lines.append, time)
    for event in events(12, 2):
        time.now += 0.5 if isinstance(event, BatchDone) else 0.0
        listener(event)
    assert [line.split("  ")[1] for line in lines] == ["epoch 1/12", "epoch 6/12", "epoch 11/12", "epoch 12/12"]
    assert (
        "loss 100 % of epoch 1  predicts 75.0 % of the given labels  changes 25.0 %  test 90.0 %  20 examples/s"
        in lines[0]
    )
    assert lines[0].endswith("  0:11 left")
    assert "left" not in lines[-1]


def test_the_loss_is_told_against_that_of_the_first_epoch_also_where_a_run_goes_on():
    for curves, losses, wanted in (
        ((), [20.0, 5.0], ["100 % of epoch 1", "25 % of epoch 1"]),
        (({"loss": 40.0},), [20.0], ["50 % of epoch 1"]),
        ((), [-2.0], ["-2.000"]),
    ):
        clock = Clock(Time())
        clock(RunStarted(3, len(curves), 10, 1, curves=curves))
        for epoch, loss in enumerate(losses, len(curves)):
            clock(EpochDone(epoch, METRICS | {"loss": loss}))
            assert clock.figures()[0] == f"loss {wanted[epoch - len(curves)]}"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (None, "-:--")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_on_a_terminal_it_is_live_and_fits_80_columns(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with showing() as tell:
        for event in events(100, 3):
            tell(event)
    shown = screen.getvalue()
    assert "epoch 100/100" in shown
    assert "predicts 75.0 % of the given labels" in shown
    assert "…" not in shown


def test_an_error_in_the_middle_gives_the_terminal_back(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")

    def fail() -> None:
        with showing() as tell:
            tell(RunStarted(2, 0, 10, 1))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert screen.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is shown again
