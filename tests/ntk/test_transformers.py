"""Attention, norms, positions and embeddings: which way they are differentiated, and that it is right."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from selfdistill.ntk import NTK
from selfdistill.ntk._multiply import TOGETHER, add_tokens
from selfdistill.ntk._peak import PeakBytes
from selfdistill.ntk._recorder import linear_calls

D, T, V = 8, 5, 11


class Attends(nn.Module):
    """Tokens, an attention layer called in one of several ways, a head on the mean."""

    def __init__(self, call=None, batch_first=True, **options):
        super().__init__()
        self.embed, self.head = nn.Embedding(V, D), nn.Linear(D, 2)
        self.attention = nn.MultiheadAttention(D, 2, batch_first=batch_first, **options)
        self.call, self.first = call or (lambda a, x: a(x, x, x)[0]), batch_first

    def forward(self, x):
        x = self.embed(x)
        y = self.call(self.attention, x if self.first else x.transpose(0, 1))
        return self.head(torch.tanh(y if self.first else y.transpose(0, 1)).mean(1))


def causal(attention, x):
    return attention(x, x, x, attn_mask=torch.ones(T, T, dtype=torch.bool).triu(1), need_weights=False)[0]


def padded(attention, x):
    mask = torch.zeros(len(x), T, dtype=torch.bool)
    mask[:, -1] = True
    return attention(x, x, x, key_padding_mask=mask, average_attn_weights=False)[0]


def weighted(attention, x):
    y, weights = attention(x, x, x)
    return y + weights.sum(-1, keepdim=True)


def crossed(attention, x):
    return attention(x, x.flip(1), x.flip(1))[0]


class OwnRMS(nn.Module):
    """As in Hugging Face's models: a class of its own, whose weight multiplies."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(D) + 0.5)

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Positions(nn.Module):
    """Positions by an embedding, as in GPT and BERT, or bare, with a class token, as in ViT; scaled branches."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.embed, self.head = kind, nn.Embedding(V, D), nn.Linear(D, 2)
        if kind in {"gpt", "bert", "turned"}:
            self.position = nn.Embedding(2 * T, D)
        else:
            self.position = nn.Parameter(torch.randn(1, T, D) if kind == "vit" else torch.randn(T, D))
            self.token, self.gamma = nn.Parameter(torch.randn(1, 1, D)), nn.Parameter(torch.rand(D))
        self.branch = nn.Linear(D, D)

    def forward(self, x):
        h, t = self.embed(x), torch.arange(T)
        if self.kind == "gpt":
            h = h + self.position(t)
        elif self.kind == "bert":
            h = h + self.position(t[None])
        elif self.kind == "turned":
            h = h + self.position(t).t().t()
        else:
            h = h + (self.position[:T] if self.kind == "sliced" else self.position)
            h = torch.cat([self.token.expand(len(x), -1, -1), h], 1)
            h = (
                h + self.gamma[None, None] * self.branch(h)
                if self.kind == "sliced"
                else h + self.gamma * self.branch(h)
            )
        return self.head(torch.tanh(self.branch(h)).mean(1))


class Layers(nn.Module):
    """A layer between tokens and a head."""

    def __init__(self, layer):
        super().__init__()
        self.embed, self.layer, self.head = nn.Embedding(V, D, padding_idx=3), layer, nn.Linear(D, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.layer(self.embed(x))).mean(1))


def encoder(**options):
    return nn.TransformerEncoderLayer(D, 2, 12, dropout=0.0, batch_first=True, **options)


RULED = {
    "attention": lambda: Attends(),
    "attention, tokens first": lambda: Attends(batch_first=False),
    "attention without bias": lambda: Attends(bias=False),
    "attention, causal": lambda: Attends(causal),
    "attention, padded": lambda: Attends(padded),
    "attention with its weights": lambda: Attends(weighted),
    "RMSNorm": lambda: Layers(nn.RMSNorm(D, eps=1e-3)),
    "RMSNorm over tokens too": lambda: Layers(nn.RMSNorm((T, D))),
    "own RMSNorm": lambda: Layers(OwnRMS()),
    "encoder": lambda: Layers(encoder()),
    "encoder, norm first": lambda: Layers(encoder(norm_first=True)),
    "encoder of two": lambda: Layers(nn.TransformerEncoder(encoder(), 2, enable_nested_tensor=False)),
    "positions of GPT": lambda: Positions("gpt"),
    "positions of BERT": lambda: Positions("bert"),
    "positions of ViT": lambda: Positions("vit"),
    "bare positions": lambda: Positions("bare"),
}
OTHER = {  # parameters that no rule takes
    "cross-attention": (lambda: Attends(crossed), {"attention.in_proj_weight", "attention.in_proj_bias"}),
    "keys of another width": (
        lambda: Attends(lambda a, x: a(x, x[..., :4], x)[0], kdim=4),
        {f"attention.{name}_proj_weight" for name in "qkv"} | {"attention.in_proj_bias"},
    ),
    "attention with a bias of keys": (lambda: Attends(add_bias_kv=True), {"attention.bias_k", "attention.bias_v"}),
    "sliced positions": (lambda: Positions("sliced"), {"position", "token", "gamma"}),
    "turned positions": (lambda: Positions("turned"), {"position.weight"}),
    "decoder": (
        lambda: Layers(Decoder()),
        {"layer.decoder.multihead_attn.in_proj_weight", "layer.decoder.multihead_attn.in_proj_bias"},
    ),
}


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = nn.TransformerDecoderLayer(D, 2, 12, dropout=0.0, batch_first=True)

    def forward(self, x):
        return self.decoder(x, torch.tanh(x.flip(1)))


def built(make, n=7):
    torch.manual_seed(0)
    model = make().double().eval()
    for name, p in model.named_parameters():
        if "bias" in name:
            nn.init.normal_(p, 0, 0.3)
    return model, torch.randint(0, V, (n, T))


@pytest.mark.parametrize("output", ["trace", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RULED)
def test_transformers_are_right_by_rules(assert_right, name, output):
    kernel = assert_right(*built(RULED[name]), output)
    assert kernel.structure.other_set == set()


@pytest.mark.parametrize("name", OTHER)
def test_what_has_no_rule_is_right_too(assert_right, name):
    make, other = OTHER[name]
    assert assert_right(*built(make)).structure.other_set == other


@pytest.mark.parametrize("n", [2, 3, T, 2 * T])
@pytest.mark.parametrize("name", ["positions of GPT", "positions of BERT", "positions of ViT", "bare positions"])
def test_as_many_examples_as_positions(assert_right, name, n):
    assert_right(*built(RULED[name], n))


def test_copies_that_do_not_broadcast_in_a_larger_chunk_are_given_up():
    model, x = built(lambda: Positions("sliced"))
    kernel = NTK(model, x)
    assert kernel.structure.other_set == {"gamma"}  # rows 0 to T of three copies are all of them ...
    kernel.matrix()
    assert kernel.structure.other_set == {"position", "token", "gamma"}  # ... but not of seven


@pytest.mark.parametrize("wrong", ["in_proj_weight", "out_proj.weight", "layer.weight", "position"])
def test_a_rule_that_is_wrong_is_not_used(assert_right, monkeypatch, wrong):
    from selfdistill.ntk import _layers

    broken = {
        "layer.weight": (RULED["RMSNorm"], nn.RMSNorm, "weight"),
        "position": (RULED["bare positions"], _layers.Copies, "value"),
    }
    if wrong in broken:
        make, kind, local = broken[wrong]
        rule = _layers._RULES[kind][local]
        twice = lambda module, x, g, rows, out: rule(module, x, 2 * g, rows, out)
        monkeypatch.setitem(_layers._RULES, kind, {**_layers._RULES[kind], local: twice})
    else:
        make = lambda: Twice(wrong)
    kernel = assert_right(*built(make))
    assert any(wrong in name for name in kernel.structure.other_set)


class Twice(nn.Module):
    """Attention, of which a weight is used another time outside."""

    def __init__(self, name):
        super().__init__()
        self.embed, self.attention, self.head = nn.Embedding(V, D), nn.MultiheadAttention(D, 2), nn.Linear(D, 2)
        self.name = name

    def forward(self, x):
        x = self.embed(x).transpose(0, 1)
        y = self.attention(x, x, x)[0].transpose(0, 1).mean(1)
        owner, _, local = self.name.rpartition(".")
        weight = getattr(self.attention.get_submodule(owner), local)
        return self.head(torch.tanh(y + weight[:D].sum(0)))


def test_torchs_function_is_put_back():
    original = functional.linear

    class Stop(nn.Module):
        def forward(self, x):
            if torch.is_grad_enabled():
                raise KeyboardInterrupt
            return x

    model, x = built(RULED["attention"])
    with pytest.raises(KeyboardInterrupt):
        NTK(nn.Sequential(model, Stop()), x)
    assert functional.linear is original


def test_two_threads_do_not_take_each_others_function():
    original, inside, go = functional.linear, threading.Event(), threading.Event()

    def other():
        with linear_calls(lambda x, weight, out: out):
            inside.set()
            go.wait(10)

    thread = threading.Thread(target=other)
    with linear_calls(lambda x, weight, out: out):
        thread.start()
        assert not inside.wait(0.05)
    assert inside.wait(10)
    go.set()
    thread.join()
    assert functional.linear is original


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize(("n", "vocabulary"), [(9, 4), (40, 300), (150, 2)])
def test_embeddings_by_token_equal_gradients_with_a_row_for_each_token(n, vocabulary, padding, each):
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(vocabulary, (n, 2, 3), generator=g)
    grads = torch.randn(n, 3, 2, 3, 5, generator=g, dtype=torch.float64)
    rows = torch.zeros(n, 3, vocabulary, 5, dtype=torch.float64)
    for i in range(n):
        for a in range(2):
            for b in range(3):
                if tokens[i, a, b] != padding:
                    rows[i, :, tokens[i, a, b]] += grads[i, :, a, b]
    flat = rows.flatten(1) if each == 1 else rows.flatten(0, 1).flatten(1)
    kernel = torch.ones(len(flat), len(flat), dtype=torch.float64)
    add_tokens(kernel, tokens, grads, padding)
    torch.testing.assert_close(kernel.triu(), (1 + flat @ flat.T).triu())
    assert TOGETHER < 150  # so that there are tokens with a block of their own, and blocks of many


def test_a_large_vocabulary_takes_no_room(peak_bytes, flops):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20_000, 16), nn.Flatten(), nn.Linear(16 * T, 3))
    x = torch.randint(0, 20_000, (30, T))
    kernel = NTK(model, x)
    forecast = kernel.plan.matrix
    with peak_bytes:
        found = kernel.matrix()
    assert peak_bytes.peak < 1e6  # a gradient for each example and logit takes 115 MB
    with flops() as counter:
        kernel.matrix()
    assert counter.get_total_flops() < 1.5 * forecast.flops < 1e8
    dense = NTK(model, x, x.clone()).matrix()  # two sets: a row for each token
    torch.testing.assert_close(found, dense, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("output", "passes"), [("sum", [64]), ("trace", [3, 64])])
@pytest.mark.parametrize("name", ["encoder of two", "positions of GPT", "own RMSNorm"])
def test_each_example_passes_the_network_once(name, output, passes):
    """Three pass another time to see what many directions take; nothing goes through the whole network once more."""
    model, x = built(RULED[name], 64)
    kernel = NTK(model, x, output=output)
    runs = []
    model.register_forward_hook(lambda module, given, out: runs.append(len(out)))
    kernel.matrix()
    assert runs == passes
    kernel.matrix()
    assert runs == [*passes, 64]


def test_weights_that_change_after_the_first_look(assert_right, oracle):
    model, x = built(RULED["encoder"])
    kernel = NTK(model, x)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    torch.testing.assert_close(kernel.matrix(), oracle(model, x))


@pytest.mark.parametrize("output", ["sum", "trace"])
def test_work_and_room_against_gradients_by_vmap(flops, output):
    """As in the benchmarks, smaller: the whole of ours, its checks too, beside one vmap and one product."""
    torch.manual_seed(0)
    layers = nn.TransformerEncoderLayer(32, 4, 128, dropout=0.0, batch_first=True)
    model = nn.Sequential(
        nn.Embedding(64, 32), nn.TransformerEncoder(layers, 2), nn.Flatten(), nn.Linear(256, 5)
    ).eval()
    x, values = torch.randint(0, 64, (64, 8)), {k: v.detach() for k, v in model.named_parameters()}

    def theirs():
        call = lambda values, one: torch.func.functional_call(model, values, (one[None],))[0]
        of = call if output == "trace" else lambda values, one: call(values, one).sum()[None]
        with sdpa_kernel(SDPBackend.MATH):
            found = torch.func.vmap(torch.func.jacrev(of), (None, 0))(values, x)
        j = torch.cat([g.flatten(2) for g in found.values()], 2).flatten(1)
        return j @ j.T

    counts, kernels = [], []
    for work in (lambda: NTK(model, x, output=output).matrix(), theirs):
        with flops() as counter:
            kernels.append(work())
        with PeakBytes() as peak:
            work()
        counts.append((counter.get_total_flops(), peak.peak))
    torch.testing.assert_close(kernels[0], kernels[1], rtol=1e-4, atol=1e-4)
    (work, room), (their_work, their_room) = counts
    assert work < 0.97 * their_work  # .955 and .938
    assert room < their_room / 3  # 4.1 and 5.4 times less
