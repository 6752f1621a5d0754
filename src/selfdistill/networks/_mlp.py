"""Multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Multilayer perceptron: Linear and ReLU, without normalisation; images are flattened.

    Args:
        in_features: Numbers per example.
        hidden: Width of each hidden layer; empty gives multinomial logistic regression.
        num_classes: Number of logits.

    Example:
        >>> import torch
        >>> MLP(64, [32], 10)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(self, in_features: int, hidden: Sequence[int], num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width_in, width_out in zip([in_features, *hidden], hidden, strict=False):
            layers += [nn.Linear(width_in, width_out), nn.ReLU(inplace=True)]
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(hidden[-1] if hidden else in_features, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits.

        Args:
            inputs: ``[b, ...]`` with ``in_features`` numbers per example.

        Returns:
            Logits ``[b, num_classes]``.
        """
        logits: Tensor = self.classifier(self.hidden(inputs.flatten(1)))
        return logits
