"""Networks by their names, and their sizes."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from selfdistill._core.errors import SettingError
from selfdistill.networks._build import NAMES, build, describe, resolve

SPECS = ["mlp:16,8", "cnn", "resnet18", "resnet20"]
SHAPES = [(1, 16, 16), (3, 16, 20)]


def make(spec: str, shape: tuple[int, ...] = (3, 16, 16), classes: int = 4, seed: int = 0) -> torch.nn.Module:
    stats = ([127.0] * shape[0], [64.0] * shape[0]) if len(shape) == 3 else None
    return build(spec, shape, classes, seed=seed, stats=stats)


@pytest.mark.parametrize("spec", ["mlp:16,8", "cnn", "resnet20"])
def test_training_lowers_the_loss(spec: str) -> None:
    torch.manual_seed(0)
    model = make(spec)
    labels = torch.arange(4).repeat(4)
    images = torch.randint(0, 100, (16, 3, 16, 16)) + 40 * labels.view(-1, 1, 1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(model(images.to(torch.uint8)), labels)
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2])
def test_small_batches_and_both_modes(spec: str, shape: tuple[int, ...], count: int) -> None:
    model = make(spec, shape)
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8)
    assert model(images).shape == (count, 4)
    model.eval()
    assert torch.equal(model(images), model(images))
    assert model(images).dtype == torch.float32


@pytest.mark.parametrize("spec", ["cnn", "resnet20"])
def test_eight_pixels_are_enough_even_for_a_batch_of_one(spec: str) -> None:
    assert make(spec, (1, 8, 8))(torch.zeros(1, 1, 8, 8)).isfinite().all()


@pytest.mark.parametrize("spec", SPECS)
def test_safetensors_round_trip(spec: str, tmp_path: Path) -> None:
    model, other = make(spec, seed=0).eval(), make(spec, seed=1).eval()
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert not torch.equal(model(images), other(images))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(model(images), other(images))


@pytest.mark.parametrize("spec", SPECS)
def test_memory_layout_of_weights_does_not_matter(spec: str) -> None:
    model = make(spec).eval()
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images), other(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", ["mlp:16,8", "cnn", "resnet20"])
def test_traces_without_graph_breaks(spec: str) -> None:
    torch._dynamo.reset()
    model = make(spec).eval()
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), model(images))
    model.train()
    assert compiled(images).shape == (2, 4)


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make("cnn", seed=3)
    assert torch.equal(torch.get_rng_state(), state), "the global generator stays"
    torch.rand(7)
    second, third = make("cnn", seed=3), make("cnn", seed=4)
    weights = [model.network.classifier.weight for model in (first, second, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_vectors_and_flattened_images() -> None:
    assert make("mlp", (7,))(torch.zeros(2, 7)).shape == (2, 4)
    assert make("mlp:5", (1, 4, 3))(torch.zeros(2, 1, 4, 3)).shape == (2, 4)


def test_default_numbers() -> None:
    for short, long in [("mlp", "mlp:512,512"), ("cnn", "cnn:16,32,64")]:
        shapes = [[p.shape for p in build(spec, (1, 16, 16), 3, seed=0).parameters()] for spec in (short, long)]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((30,), "mlp"), ((1, 8, 8), "mlp"), ((1, 15, 40), "mlp"), ((1, 16, 16), "cnn"), ((3, 224, 224), "cnn")],
)
def test_auto(shape: tuple[int, ...], expected: str) -> None:
    assert resolve("auto", shape) == expected
    assert resolve(" AUTO ", shape) == expected


def test_all_names_build() -> None:
    assert set(NAMES) >= {"mlp", "cnn", "resnet18", "resnet20", "resnet56"}
    with torch.device("meta"):
        for name in NAMES:
            assert resolve(name, (3, 32, 32)) == name


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (
            "resnet19",
            (3, 32, 32),
            r"network 'resnet19' is not one of auto, mlp, linear, cnn.*Did you mean 'resnet1?\d?4?'",
        ),
        ("transformer", (3, 32, 32), "Use one of these names"),
        ("mlp:", (5,), r"'' after the colon, which mlp does not take. Write it like 'mlp:256,128'"),
        ("mlp:0", (5,), "'0' after the colon"),
        ("mlp:a", (5,), "'a' after the colon"),
        ("resnet18:3", (3, 32, 32), "'3' after the colon"),
        ("cnn:8-8", (3, 32, 32), "Write it like 'cnn:32,64,128'"),
        ("cnn", (5,), r"needs images, but each example is a vector of 5 numbers. Use the network 'mlp'"),
        ("cnn", (1, 7, 28), "images of 7 x 28 pixels are too small for 'cnn', which needs at least 8 x 8"),
        ("resnet18", (3, 8, 8), "at least 16 x 16"),
        ("mlp", (2, 3), r"input shape \(2, 3\) is neither"),
        ("mlp", (0,), r"input shape \(0,\)"),
    ],
)
def test_messages(spec: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        resolve(spec, shape)
    with pytest.raises(SettingError, match=message):
        build(spec, shape, 2, seed=0)


def test_messages_of_build() -> None:
    with pytest.raises(SettingError, match="0 classes"):
        build("mlp", (3,), 0, seed=0)
    with pytest.raises(SettingError, match="statistics of 3 channels do not fit inputs of shape"):
        build("cnn", (1, 28, 28), 2, seed=0, stats=([0.0] * 3, [1.0] * 3))
    with pytest.raises(SettingError, match="stats=None for vectors"):
        build("mlp", (3,), 2, seed=0, stats=([0.0] * 3, [1.0] * 3))


@pytest.mark.parametrize(("spec", "shape"), [("mlp:8", (4,)), ("2*cnn:4", (1, 8, 8)), ("resnet20", (3, 8, 8))])
def test_shapes_alone_take_no_memory_and_fit_real_weights(spec, shape):
    real, meta = (build(spec, shape, 3, seed=0, device=device) for device in ("cpu", "meta"))
    assert all(p.is_meta for p in meta.parameters())
    meta.load_state_dict(real.state_dict(), assign=True)
    assert not any(t.is_meta for t in (*meta.parameters(), *meta.buffers()))


@pytest.mark.parametrize("spec", ["mlp:" + ",".join(["1"] * 1001), "mlp:" + "9" * 19])
def test_numbers_beyond_all_networks_are_refused(spec):
    with pytest.raises(SettingError, match=r"layers, but at most 1,000 are built|after the colon"):
        resolve(spec, (3, 32, 32))


def test_weights_depend_on_the_seed_alone_whatever_other_threads_draw():
    import threading

    def weights():
        return torch.cat([p.detach().flatten() for p in build("mlp:64,64", (8,), 3, seed=1).parameters()])

    alone, stop = weights(), threading.Event()

    def draw():
        while not stop.is_set():
            torch.rand(10)
            torch.manual_seed(3)

    others = [threading.Thread(target=draw) for _ in range(3)]
    for other in others:
        other.start()
    try:
        assert all(torch.equal(weights(), alone) for _ in range(50))
    finally:
        stop.set()
        for other in others:
            other.join()


def test_a_linear_network_has_no_hidden_layer() -> None:
    model = build("linear", (7,), 3, seed=0)
    assert [tuple(one.shape) for one in model.parameters()] == [(3, 7), (3,)]
    image = build("linear", (1, 8, 8), 3, seed=0, stats=([0.5], [2.0]))
    assert image(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(SettingError, match="'linear:3' has '3' after the colon, which linear does not take"):
        build("linear:3", (7,), 3, seed=0)


def test_counts_of_one_convolution_by_hand() -> None:
    model = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    size = describe(model, (3, 10, 8))
    assert size.parameters == 3 * 5 * 9
    assert size.flops == 2 * 3 * 5 * 9 * 10 * 8


def test_known_cost_of_resnet20() -> None:
    size = describe(build("resnet20", (3, 32, 32), 10, seed=0), (3, 32, 32))
    assert 40_500_000 < size.flops / 2 < 40_600_000  # multiply-adds; the usual figure, 41 M


def test_modes_and_statistics_stay() -> None:
    model = build("cnn", (1, 8, 8), 2, seed=0)
    model.network.classifier.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    describe(model, (1, 8, 8))
    assert model.training
    assert not model.network.classifier.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
