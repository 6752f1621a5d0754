"""Options of network training: what each brings the default method, and what it costs.

    python -m benchmarks.training_options --data DIR --cifar DIR [--only PART ...]

``--data`` holds ``fashion-mnist/``, ``--cifar`` CIFAR-10's binary batches. 2,000 images of Fashion-MNIST with 40 % of
the labels wrong, symmetric; mlp:256, 30 epochs; accuracy on 5,000 test images after the last epoch; three seeds, one
thread.

- average: the network's weights as they end, and their exponential moving average over steps, of three
  decays (``--ema``).
- accumulate: batches of 128 at once and in eight parts (``--accumulate``); and two epochs of cnn on 1,000 of the images
  in one batch, for which the growth of the process's memory is measured, too.
- batch: batches of 16, 32, 64 and 128, and of 16 with a smaller learning rate.
- bf16: the forward pass in bf16 (autocast) against fp32: accuracy, and CPU seconds; also of three epochs of cnn.
- compile: ``torch.compile`` against none, CPU seconds of each of six epochs, of which the first compiles; nothing is
  taken from torch's cache. Needs a C++ compiler.
- finetune: the packaged photo network, trained as a whole on 600 photos of CIFAR-10 at 64 pixels for 3 epochs with 40 %
  of the labels wrong, by learning rate; accuracy on 300 others, and of the closed form on its features. One seed.

Records: ``benchmarks/records/training_options.parquet``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch._inductor import config as inductor

from benchmarks.photos import photos_of
from benchmarks.table import RECORDS, Table
from selfdistill import noise
from selfdistill._core.events import EpochDone, Event
from selfdistill._core.record import environment
from selfdistill._core.settings import Settings
from selfdistill.closed import refine_labels
from selfdistill.data._labelled import LabelledData
from selfdistill.data._read import read, read_test
from selfdistill.data._source import from_arrays
from selfdistill.encoders import load_encoder
from selfdistill.networks._small_networks import Standardise
from selfdistill.train._fit import fit

TABLE = Table(RECORDS / "training_options.parquet")
SEEDS = (0, 1, 2)
TRAIN, TEST, EPOCHS, CLASSES = 2_000, 5_000, 30, 10
SMALL_STEPS = (0.004,)  # 0.03 is the default here; this is an eighth of it, as 16 is of 128
DECAYS = (0.9, 0.98, 0.995)  # over some 10 steps and 50; within these 480 steps the last is held to 0.98, too
PARTS_OF_A_BATCH = (1, 8)


def fashion(folder: Path, seed: int) -> tuple[LabelledData, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Draw the images of a seed and their wrong labels."""
    whole = read(folder / "fashion-mnist")
    test = read_test(None, whole, source=folder / "fashion-mnist")
    assert test is not None
    rows = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))[:TRAIN]
    given = noise.draw(whole.labels[rows], noise.symmetric(CLASSES, 0.4, include_clean=False), seed=seed).labels
    data = from_arrays(whole.inputs[rows].numpy()[:, 0], given.numpy())
    return data, {"test": (test[0][:TEST], test[1][:TEST])}


def trained(data: LabelledData, tests: Any, seed: int, **asked: Any) -> dict[str, Any]:
    """Train; give the last epoch's accuracy and CPU seconds."""
    model, tell = asked.pop("model", None), asked.pop("tell", lambda event: None)
    resolved = Settings(seed=seed, device="cpu", **{"network": "mlp:256", "epochs": EPOCHS} | asked).resolve(
        len(data), "cpu"
    )
    began = time.process_time()
    fitted = fit(data, resolved, model=model, evaluations=tests, tell=tell)
    return {"accuracy": fitted.curves[-1].get("test_accuracy"), "cpu_s": time.process_time() - began}


def average(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compare weights with their averages."""
    for seed in SEEDS:
        data, tests = fashion(given.data, seed)
        for decay in (None, *DECAYS):
            yield f"ema {decay}, {seed}", trained(data, tests, seed, ema=decay)


def accumulate(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compare batches that are computed at once with the same in parts: accuracy, time, memory."""
    for seed in SEEDS:
        data, tests = fashion(given.data, seed)
        for parts in PARTS_OF_A_BATCH:
            yield f"accumulate {parts}, {seed}", trained(data, tests, seed, accumulate=parts)
    for turn in range(2):
        for parts in PARTS_OF_A_BATCH:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                yield f"accumulate {parts}, cnn, {turn}", fresh.submit(_measured, given.data, parts).result()


def _measured(folder: Path, parts: int) -> dict[str, Any]:
    """Train cnn on batches of 1,000 in a process of its own; give also by how much its memory grew at most, in MiB."""
    torch.set_num_threads(1)
    whole, _ = fashion(folder, 0)
    data = replace(whole, inputs=whole.inputs[:1000], labels=whole.labels[:1000], ids=whole.ids[:1000])
    del whole
    trained(data, {}, 0, network="cnn", epochs=1, batch_size=16)  # what any training loads
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    used = _memory("VmRSS")
    record = trained(data, {}, 0, network="cnn", epochs=2, batch_size=1000, accumulate=parts)
    return record | {"grown_mib": _memory("VmHWM") - used}


def _memory(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def batch(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compare sizes of batches, those that are not measured yet."""
    cells = [{"batch_size": size} for size in (16, 32, 64, 128)]
    cells += [{"batch_size": 16, "lr": lr} for lr in SMALL_STEPS]
    done = TABLE.read()
    for seed in SEEDS:
        data, tests = fashion(given.data, seed)
        for cell in cells:
            key = f"batch {cell['batch_size']}" + (f", lr {cell['lr']}" if "lr" in cell else "") + f", {seed}"
            if key not in done:
                yield key, trained(data, tests, seed, **cell)


def bf16(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compare precisions."""
    done = TABLE.read()
    for seed in SEEDS:
        data, tests = fashion(given.data, seed)
        for precision in ("fp32", "bf16"):
            if f"{precision}, {seed}" not in done:
                yield f"{precision}, {seed}", trained(data, tests, seed, precision=precision)
    for turn in range(4):
        for precision in ("fp32", "bf16"):
            yield f"{precision}, cnn, {turn}", trained(data, {}, 0, precision=precision, network="cnn", epochs=3)


def compiled(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compare a compiled network with itself as it is."""
    inductor.compile_threads, inductor.force_disable_caches = 1, True
    data, _ = fashion(given.data, 0)
    for turn in range(2):
        for network in ("mlp:256", "cnn"):
            for compile in (False, True):
                torch._dynamo.reset()
                marks = [_spent()]
                record = trained(data, {}, 0, network=network, epochs=6, compile=compile, tell=_marking(marks))
                epochs = np.diff(marks).round(3).tolist()
                yield f"compile {compile}, {network}, {turn}", record | {"epoch_cpu_s": epochs, "steps": 16}


def _spent() -> float:
    """CPU seconds of this process and of those that it waited for, such as the compiler's."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _marking(marks: list[float]) -> Callable[[Event], None]:
    return lambda event: marks.append(_spent()) if isinstance(event, EpochDone) else None


class Whole(nn.Module):
    """The packaged photo network with a new head."""

    def __init__(self, seed: int) -> None:
        from efficientnet_lite_pytorch import EfficientNet

        from selfdistill.encoders._encoder import packaged_folder

        super().__init__()
        self.standardise = Standardise([127.0] * 3, [128.0] * 3, channels_last=False)
        self.body = EfficientNet.from_name("efficientnet-lite0")
        weights = packaged_folder("photos") / "models" / "efficientnet-lite0-57934424.pth"
        self.body.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        torch.manual_seed(seed)
        self.head = nn.Linear(1280, CLASSES)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute logits."""
        grown = nn.functional.interpolate(self.standardise(pixels), size=(64, 64), mode="bicubic")
        return self.head(self.body.extract_features(grown).mean((2, 3)))


def closed_form(photos: np.ndarray, labels: torch.Tensor, truth: torch.Tensor) -> float:
    """Measure the closed form on the features of the same network, at 96 pixels as they are packaged."""
    encoder, n = load_encoder("photos"), len(labels)
    parts = [encoder.encode([encoder.prepare(Image.fromarray(one)) for one in some]) for some in np.split(photos, 30)]
    features = np.concatenate(parts)
    features = (features - features[:n].mean(0)) / (features[:n].std(0) + 1e-9)
    machine = refine_labels(features[:n], labels, CLASSES, standardise=False).machine
    return (machine(torch.from_numpy(features[n:])).argmax(1) == truth).float().mean().item()


def finetune(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compare learning rates of fine-tuning."""
    photos = photos_of(given.cifar, 0, 1200)
    names = np.concatenate([np.fromfile(given.cifar / "data_batch_1.bin", np.uint8).reshape(-1, 3073)[:1200, 0]])
    truth = torch.from_numpy(names.astype(np.int64))
    labels = noise.draw(truth[:600], noise.symmetric(CLASSES, 0.4, include_clean=False), seed=0).labels
    data = from_arrays(photos[:600], labels.numpy())
    tests = {"test": (torch.from_numpy(photos[600:900]).permute(0, 3, 1, 2).contiguous(), truth[600:900])}
    yield "finetune, closed form", {"accuracy": closed_form(photos[:900], labels, truth[600:900])}
    for lr in (0.1, 0.03, 0.01):
        yield f"finetune {lr}", trained(data, tests, 0, model=Whole(0), lr=lr, epochs=3, batch_size=16)


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[tuple[str, dict[str, Any]]]]] = {
    "average": average, "accumulate": accumulate, "batch": batch, "bf16": bf16, "compile": compiled,
    "finetune": finetune,
}  # fmt: skip


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=[*PARTS])
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = environment("cpu")
    about = {name: known[name] for name in ("created", "commit", "versions", "hardware") if name in known}
    for part in given.only:
        for key, record in PARTS[part](given):
            print(key, record, flush=True)
            TABLE.add({key: record | about})


if __name__ == "__main__":
    main()
