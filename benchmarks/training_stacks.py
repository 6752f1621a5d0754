"""Robust targets in people's own training stacks beside the same training with plain loss: accuracy, time, memory.

    python -m benchmarks.training_stacks --data DIR [--stacks loop trainer lightning skorch] [--seeds 0 1 2]
    python -m benchmarks.training_stacks --lines

TREC questions with a transformer of 2 layers under Hugging Face Trainer; 5,000 pictures of Fashion-MNIST with a small
CNN in a loop, Lightning and skorch. 40 % of the labels are wrong, uniformly among the others. Both trainings of a pair
take the same initial weights, optimizer and steps, one after the other in one process; accuracy is that of the last
epoch on a test set without wrong labels. Records go to ``benchmarks/records/training_stacks.parquet``; what is there is
not measured again. `benchmarks.training_steps` times single steps.
"""

from __future__ import annotations

import argparse
import gzip
import logging
import lzma
import re
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.table import RECORDS, Table
from selfdistill import RobustTargets, noise, with_index
from selfdistill._core.record import environment
from selfdistill.issues import compare_with_truth

TABLE = Table(RECORDS / "training_stacks.parquet")
EPOCHS, BATCH, K = 15, 64, 10


def spoiled(truth: torch.Tensor, k: int, seed: int) -> torch.Tensor:
    """Draw given labels."""
    return noise.draw(truth, noise.symmetric(k, 0.4, include_clean=False), seed=seed).labels


def pictures(folder: Path, seed: int, n: int = 5000, n_test: int = 2000) -> dict[str, torch.Tensor]:
    """Read pictures to train on and to test with."""

    def read(part: str, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        raw = lzma.decompress((folder / "fashion-mnist" / f"{part}-images-idx3-ubyte.xz").read_bytes())[16:]
        labels = gzip.decompress((folder / "fashion-mnist" / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:]
        x = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, 1, 28, 28)[:n].float() / 255
        return (x - 0.286) / 0.353, torch.frombuffer(bytearray(labels), dtype=torch.uint8)[:n].long()

    (x, truth), (x_test, y_test) = read("train", n), read("t10k", n_test)
    return {"x": x, "truth": truth, "given": spoiled(truth, K, seed), "x_test": x_test, "y_test": y_test}


def cnn(seed: int, width: int = 16, channels: int = 1, classes: int = K) -> nn.Module:
    """Build a small CNN."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in ((channels, width), (width, 2 * width)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width * 49, 128), nn.ReLU(), nn.Linear(128, classes))


def sgd(net: nn.Module) -> torch.optim.Optimizer:
    """Give the optimizer of the pictures."""
    return torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)


def accuracy(net: nn.Module, data: dict[str, torch.Tensor]) -> float:
    """Share of right predictions on the test set."""
    with torch.no_grad():
        predicted = torch.cat([net.eval()(part) for part in data["x_test"].split(500)]).argmax(1)
    return float((predicted == data["y_test"]).float().mean())


def loop(
    data: dict[str, torch.Tensor], seed: int, robust: RobustTargets | None, net: nn.Module | None = None
) -> nn.Module:
    """Train in a loop."""
    net = (net or cnn(seed)).train()
    optimizer = sgd(net)
    loader = DataLoader(with_index(TensorDataset(data["x"], data["given"])), BATCH, shuffle=True)
    for _ in range(EPOCHS):
        for x, y, index in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y) if robust is None else robust.loss(index, net(x), y)
            loss.backward()
            optimizer.step()
        if robust is not None:
            robust.end_epoch()
    return net


def accelerated(data: dict[str, torch.Tensor], seed: int, robust: RobustTargets | None) -> nn.Module:
    """Train in a loop with accelerate."""
    from accelerate import Accelerator

    accelerator, net = Accelerator(cpu=True), cnn(seed)
    loader = DataLoader(with_index(TensorDataset(data["x"], data["given"])), BATCH, shuffle=True)
    net, optimizer, loader = accelerator.prepare(net.train(), sgd(net), loader)
    for _ in range(EPOCHS):
        for x, y, index in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y) if robust is None else robust.loss(index, net(x), y)
            accelerator.backward(loss)
            optimizer.step()
        if robust is not None:
            robust.end_epoch()
    return net


def lightning(data: dict[str, torch.Tensor], seed: int, robust: RobustTargets | None) -> nn.Module:
    """Train with Lightning."""
    import lightning.pytorch as pl

    from selfdistill.integrations.lightning import SelfDistillCallback

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = cnn(seed)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            x, y, index = batch
            return nn.functional.cross_entropy(self.net(x), y) if robust is None else robust.loss(index, self.net(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self)

    net = Net()
    callbacks = [] if robust is None else [SelfDistillCallback(robust)]
    quiet = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"), False)
    trainer = pl.Trainer(max_epochs=EPOCHS, accelerator="cpu", callbacks=callbacks, **quiet)
    trainer.fit(net, DataLoader(with_index(TensorDataset(data["x"], data["given"])), BATCH, shuffle=True))
    return net.net


def skorch(data: dict[str, torch.Tensor], seed: int, robust: Any) -> nn.Module:
    """Train with skorch, which makes its targets itself."""
    from skorch import NeuralNetClassifier

    from selfdistill.integrations.skorch import SelfDistillNet

    options: dict[str, Any] = {
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": EPOCHS,
        "batch_size": BATCH,
        "lr": 0.05,
        "optimizer__momentum": 0.9,
        "iterator_train__shuffle": True,
        "train_split": None,
        "verbose": 0,
    }
    net = (NeuralNetClassifier if robust is None else SelfDistillNet)(cnn(seed), **options)
    net.fit(data["x"].numpy(), data["given"].numpy())
    if robust is not None:
        vars(robust).update(vars(net.robust_))
    return net.module_


def questions(folder: Path, seed: int) -> dict[str, Any]:
    """Read TREC as numbers of words; the 4,000 most frequent are known."""
    parts = {part: pd.read_csv(folder / "text" / f"trec_question_{part}.csv") for part in ("train", "test")}
    words = {
        part: [re.findall(r"\w+|\?", str(line).lower())[:20] for line in frame["text"]] for part, frame in parts.items()
    }
    known = pd.Series([w for line in words["train"] for w in line]).value_counts().index[:4000]
    number = {word: i + 2 for i, word in enumerate(known)}
    classes, truth = np.unique(parts["train"]["true_label"], return_inverse=True)
    pad = {
        part: [([number.get(w, 1) for w in line] + [0] * 20)[:20] for line in lines] for part, lines in words.items()
    }
    return {
        "tokens": pad["train"],
        "tokens_test": torch.tensor(pad["test"]),
        "truth": torch.tensor(truth),
        "given": spoiled(torch.tensor(truth), len(classes), seed),
        "y_test": torch.tensor(np.searchsorted(classes, parts["test"]["label"])),
    }


def bert(seed: int, k: int) -> Any:
    """Build a small transformer."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    return BertForSequenceClassification(
        BertConfig(vocab_size=4002, max_position_embeddings=20, num_labels=k, pad_token_id=0, **size)
    )


def trainer(data: dict[str, Any], seed: int, robust: RobustTargets | None) -> nn.Module:
    """Train with Hugging Face Trainer."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    from selfdistill.integrations.transformers import SelfDistillTrainer

    rows = torch.tensor(data["tokens"])
    columns = {
        "input_ids": rows.tolist(),
        "attention_mask": (rows > 0).long().tolist(),
        "labels": data["given"].tolist(),
    }
    with tempfile.TemporaryDirectory() as folder:
        quiet = {
            "report_to": [],
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_strategy": "no",
            "use_cpu": True,
        }
        steps = {"num_train_epochs": EPOCHS, "per_device_train_batch_size": BATCH, "learning_rate": 1e-3}
        arguments = TrainingArguments(folder, seed=seed, **steps, **quiet)
        kind = Trainer if robust is None else SelfDistillTrainer
        more = {} if robust is None else {"robust": robust}
        made = kind(model=bert(seed, 6), args=arguments, train_dataset=Dataset.from_dict(columns), **more)
        made.train()
    return made.model


def text_accuracy(net: Any, data: dict[str, Any]) -> float:
    """Share of right answers on the test set."""
    tokens = data["tokens_test"]
    with torch.no_grad():
        predicted = net.eval()(input_ids=tokens, attention_mask=(tokens > 0).long()).logits.argmax(1)
    return float((predicted == data["y_test"]).float().mean())


STACKS: dict[str, tuple[Any, Any, Any]] = {
    "loop": (pictures, loop, accuracy),
    "lightning": (pictures, lightning, accuracy),
    "skorch": (pictures, skorch, accuracy),
    "accelerate": (pictures, accelerated, accuracy),
    "trainer": (questions, trainer, text_accuracy),
}


def pair(stack: str, folder: Path, seed: int) -> dict[str, Any]:
    """Train with plain loss and with robust targets."""
    read, train, judge = STACKS[stack]
    data = read(folder, seed)
    n, k = len(data["truth"]), 6 if stack == "trainer" else K
    few = {name: part[:256] for name, part in data.items()}
    for robust in (None, RobustTargets(few["given"], k)):  # libraries are loaded, and memory is there
        train(few, seed, robust)
    record: dict[str, Any] = {"stack": stack, "seed": seed, "n": n, "classes": k, "epochs": EPOCHS}
    for name in ("plain", "robust") if seed % 2 else ("robust", "plain"):
        robust = RobustTargets(data["given"], k) if name == "robust" else None
        torch.manual_seed(100 + seed)
        began = time.process_time()
        net = train(data, seed, robust)
        record[f"{name}_cpu_s"] = time.process_time() - began
        record[f"{name}_accuracy"] = judge(net, data)
        if robust is not None:
            record["labels"] = compare_with_truth(robust.table(), data["truth"].numpy())
            record["verdict"] = robust.trust().verdict
            state = robust.state_dict()
            record["state_bytes_per_example"] = sum(t.numel() * t.element_size() for t in state.values()) / n
    record["cpu_ratio"] = record["robust_cpu_s"] / record["plain_cpu_s"]
    return record


PAGES = {
    "own loop": "examples/own_loop.py",
    "Trainer": "docs/trainer.md",
    "Lightning": "docs/lightning.md",
    "skorch": "docs/skorch.md#skorch",
    "accelerate": "docs/skorch.md#accelerate",
}
_OURS = re.compile(r"RobustTargets|\brobust\b|with_index|SelfDistill|\bcallbacks?\b|\bindex\b")


def lines(stack: str) -> tuple[int, int]:
    """Count the lines of a page's example that a plain training would lack or say otherwise: to train, to find."""
    name, _, part = PAGES[stack].partition("#")
    text = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
    if part:
        text = text.partition(f"## {part}\n")[2].partition("\n## ")[0]
    code = "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)) or text.rpartition('"""')[2]
    rest = [line for line in code.splitlines() if not line.startswith("found")]
    return sum(bool(_OURS.search(line.partition("#")[0])) for line in rest), code.count("\nfound")


def main() -> None:
    """Measure what is not recorded yet, and show all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--lines", action="store_true", help="count lines of code in the pages, and measure nothing")
    parser.add_argument("--stacks", nargs="*", default=list(STACKS), choices=list(STACKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    if options.lines or options.data is None:
        for stack in PAGES:
            print(stack, *lines(stack))
        return
    quietly()
    for stack, seed in ((stack, seed) for stack in options.stacks for seed in options.seeds):
        if (key := f"{stack}-{seed}") not in TABLE.read():
            keep(key, pair(stack, options.data, seed))


def quietly() -> None:
    """Take one thread, and keep what libraries say out of the output."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)


def keep(key: str, record: dict[str, Any]) -> None:
    """Add a record with where it was made, and show it."""
    about = environment("cpu")
    where = {name: about[name] for name in ("created", "commit", "versions", "hardware") if name in about}
    TABLE.add({key: record | where})
    print(key, record, flush=True)


if __name__ == "__main__":
    main()
