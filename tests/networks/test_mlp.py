import torch

from selfdistill.networks import MLP


def test_equals_products_by_hand() -> None:
    model = MLP(6, [5, 4], 3)
    weights = [parameter.detach() for parameter in model.parameters()]
    hidden = inputs = torch.randn(7, 2, 3)
    hidden = inputs.reshape(7, 6)
    for weight, bias in [(weights[0], weights[1]), (weights[2], weights[3])]:
        hidden = (hidden @ weight.T + bias).clamp_min(0)
    torch.testing.assert_close(model(inputs), hidden @ weights[4].T + weights[5])


def test_without_hidden_layers_is_linear() -> None:
    model = MLP(4, [], 2)
    x, y = torch.randn(2, 3, 4)
    torch.testing.assert_close(model(x + y) - model(y), model(x) - model(torch.zeros(3, 4)))
