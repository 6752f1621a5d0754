from __future__ import annotations

import pandas as pd
import pytest

from selfdistill._core.errors import ResourceError, SettingError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._source import from_frame
from selfdistill.train import Settings
from selfdistill.train._fit import network_spec
from selfdistill.train._settings import choose_network, resolve_device


@pytest.mark.parametrize(
    ("n", "batch", "epochs"), [(20, 16, 270), (700, 32, 30), (1437, 64, 30), (10_000, 128, 30), (60_000, 128, 12)]
)
def test_what_is_chosen_by_itself(n, batch, epochs):
    resolved = Settings().resolve(n, "cpu")
    assert (resolved.batch_size, resolved.epochs, resolved.precision) == (batch, epochs, "fp32")
    assert Settings().resolve(n, "cuda").precision == "bf16"


@pytest.mark.parametrize(("n", "lr"), [(100, 0.03), (4999, 0.03), (5000, 0.1), (60_000, 0.1)])
def test_few_examples_take_smaller_steps(n, lr):
    assert Settings().resolve(n, "cpu").lr == lr
    assert Settings(lr=lr * 2).resolve(n, "cpu").lr == lr * 2


def test_a_pretrained_network_takes_small_steps_whatever_the_data():
    assert {Settings(network=" hf:some/model").resolve(n, "cpu").lr for n in (100, 60_000)} == {0.01}
    assert Settings(network="hf:some/model", lr=0.2).resolve(100, "cpu").lr == pytest.approx(0.2)


def test_the_warm_up_of_few_examples_is_counted_in_epochs():
    """A run of ten times the usual epochs rises within as many steps, not within ten times as many."""
    for n in (100, 700, 1437, 4999):
        usual = Settings().resolve(n, "cpu")
        assert usual.lr_warmup == pytest.approx(0.05)
        for times in (2, 10):
            long = Settings(epochs=usual.epochs * times).resolve(n, "cpu")
            assert long.lr_warmup * long.epochs == pytest.approx(usual.lr_warmup * usual.epochs)
        short = Settings(epochs=2).resolve(n, "cpu")
        assert short.lr_warmup == pytest.approx(0.05)  # never a larger share
        assert Settings(epochs=usual.epochs * 10, lr_warmup=0.2).resolve(n, "cpu").lr_warmup == pytest.approx(0.2)
    assert {Settings(epochs=e).resolve(5000, "cpu").lr_warmup for e in (None, 5, 400)} == {0.3}


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"epochs": 0}, "epochs is 0, but must be at least 1"),
        ({"batch_size": 1}, "batch_size is 1, but must be at least 2"),
        ({"lr": 0.0}, r"lr is 0\.0, but must be finite and above 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"weight_decay": -1.0}, "weight_decay is -1"),
        ({"momentum": 1.0}, r"momentum is 1\.0, but must be in \[0, 1\)"),
        ({"seed": -1}, "seed is -1, but must be at least 0"),
        ({"seed": 2**63}, "seed is 9223372036854775808, but must be at most 9,223,372,036,854,775,807"),
        ({"epochs": 10**21}, "epochs is 1000000000000000000000, but must be at most 1,000,000"),
        ({"batch_size": 2**31 + 1}, "batch_size is 2147483649, but must be at most 2,147,483,648"),
        ({"keep_epochs": 10**21}, "keep_epochs is 1000000000000000000000, but must be 'all' or a whole number above 0"),
        (
            {"epochs": "5"},
            "epochs is '5', a str, but must be a whole number. Pass a whole number, or leave epochs out.",
        ),
        ({"epochs": 5.0}, r"epochs is 5\.0, a float, but must be a whole number"),
        ({"batch_size": True}, "batch_size is True, a bool, but must be a whole number"),
        ({"lr": "0.1"}, r"lr is '0\.1', a str, but must be a number"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
    ],
)
def test_values_out_of_range_are_named(kwargs, words):
    with pytest.raises(SettingError, match=words):
        Settings(**kwargs).resolve(100, "cpu")


def test_devices():
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(ResourceError, match=r"device 'cuda:7' is not available\. Choose `device` auto or cpu"):
        resolve_device("cuda:7")
    with pytest.raises(SettingError, match="device 'quantum' is unknown"):
        resolve_device("quantum")


def test_texts_alone_get_a_linear_network_while_they_are_few():
    auto = Settings().resolve(100, "cpu")
    assert [choose_network("auto", n, (9,), words) for n in (4999, 5000) for words in (False, True)] == [
        "mlp:128",
        "linear",
        "mlp",
        "mlp",
    ]
    assert choose_network("mlp:7", 100, (9,), True) == "mlp:7"
    texts = pd.DataFrame({"t": ["good song", "bad song", "a good one", "no good"]})
    for frame, network in ((texts, "linear"), (texts.assign(x=[1.0, 2.0, 3.0, 5.0]), "mlp:128")):
        data = from_frame(frame, ["a", "b", "a", "b"], options=ReadOptions(text=("t",)))
        assert network_spec(auto, data) == network
