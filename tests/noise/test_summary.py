import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.errors import DataError
from selfdistill.noise import summary


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50))
def test_equals_counting_by_hand(pairs: list[tuple[int, int]]) -> None:
    clean, given_labels = (torch.tensor(column) for column in zip(*pairs, strict=True))
    result = summary(clean, given_labels, 5)
    assert result.rate == pytest.approx(sum(c != g for c, g in pairs) / len(pairs))
    for c in range(5):
        members = [g for clean_label, g in pairs if clean_label == c]
        wrong = sum(g != c for g in members)
        assert result.class_rates[c].item() == pytest.approx(wrong / len(members) if members else 0)
        for g in range(5):
            assert result.counts[c, g] == members.count(g)
            assert result.matrix[c, g].item() == pytest.approx(members.count(g) / max(len(members), 1))


def test_no_examples() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    assert summary(empty, empty, 3).rate == 0


@pytest.mark.parametrize(
    ("clean", "given_labels", "message"),
    [
        (torch.tensor([0, 1]), torch.tensor([0]), "2 clean but 1 given labels"),
        (torch.tensor([0, 3]), torch.tensor([0, 1]), r"clean labels\[1\] is 3, but must lie in \[0, 3\)"),
        (torch.tensor([0, 1]), torch.tensor([-1, 1]), r"given labels\[0\] is -1"),
        (torch.tensor([0.0, 1]), torch.tensor([0, 1]), "not one integer per example"),
        (torch.tensor([[0, 1]]), torch.tensor([0, 1]), r"shape \(1, 2\)"),
    ],
)
def test_labels_that_are_none(clean: torch.Tensor, given_labels: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        summary(clean, given_labels, 3)
