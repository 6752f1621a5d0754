from __future__ import annotations

from selfdistill._core.events import BatchDone, everyone


def test_everyone_hears_in_order():
    heard = []
    everyone(lambda e: heard.append(("a", e)), lambda e: heard.append(("b", e)))(BatchDone(0, 1, 2))
    assert [name for name, _ in heard] == ["a", "b"]
