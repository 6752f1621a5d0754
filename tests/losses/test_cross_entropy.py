"""Cross-entropy to labels beside that to distributions."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.losses import cross_entropy, label_cross_entropy


@given(b=st.integers(1, 9), k=st.integers(2, 7), scale=st.sampled_from([1e-3, 1.0, 50.0, 1e4]), seed=st.integers(0, 99))
@settings(max_examples=100)
def test_cross_entropy_to_a_label_is_that_to_its_one_hot_row_to_the_bit(b, k, scale, seed):
    g = torch.Generator().manual_seed(seed)
    labels, weights = torch.randint(0, k, (b,), generator=g), torch.rand(b, generator=g)
    logits = [(scale * torch.randn(b, k, generator=torch.Generator().manual_seed(seed))).requires_grad_() for _ in "ab"]
    rows = torch.nn.functional.one_hot(labels, k).float()
    values = label_cross_entropy(logits[0], labels), cross_entropy(logits[1], rows)
    assert torch.equal(*values)
    for value in values:
        (value * weights).sum().backward()
    assert torch.equal(logits[0].grad, logits[1].grad)
