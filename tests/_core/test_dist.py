"""What processes share: parts that cover all rows once, and results that only the first computes."""

import pytest

from selfdistill._core import dist


@pytest.mark.parametrize("n", [0, 1, 7, 12])
@pytest.mark.parametrize("world", [1, 2, 5])
def test_shares_cover_all_rows_once_and_are_even(monkeypatch, n: int, world: int) -> None:
    monkeypatch.setattr(dist, "world", lambda: world)
    parts = []
    for rank in range(world):
        monkeypatch.setattr(dist, "rank", lambda rank=rank: rank)
        parts.append(list(range(n))[dist.share(n)])
    assert [row for part in parts for row in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_alone_everything_is_computed_here() -> None:
    found = object()
    assert dist.from_first(lambda: found) is found
