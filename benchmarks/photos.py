"""Folders of photos through the packaged encoder, end to end: what is found, how fast, in how much memory.

    python -m benchmarks.photos --data DIR --cifar DIR --work DIR [--only PART ...]

``--cifar`` holds CIFAR-10's binary batches, ``--data`` the human labels and ready features of `benchmarks.features`.

- found: ``selfdistill fit`` of 10,000 PNGs (the first of CIFAR-10), one folder per given label, tested on 5,000 others
  (the last) with true labels; in a process of its own, whose peak memory is measured. All label sets share one store.
- scratch: the folders of human labels through our own CNN, trained for 15 epochs by the default method.
- shapes: photos of unequal sides, windows of 32 x 20 or 20 x 32 pixels cut from 1,500 and, to test, 1,000 photos,
  brought to a square in three ways: squashed whole, cropped to the centre, or whole with grey at the sides.
- rivals: nearest neighbours on the ready features of the same photos; cleanlab stands in the records of `features`.
- speed: CPU milliseconds of a photo on one core: of the bare forward pass on batches of 32 that are ready, and of all
  else, from PNG and large JPEG files to features in the store, with an encoder that computes nothing; turn by turn.
- choice: likelihood and accuracy of pixels, features and both, on the development part.
- memory: peak memory of ``selfdistill embed`` of ever more generated photos, with an encoder that has 1,280 numbers.

Records: ``benchmarks/records/photos.parquet``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.features import data_sets, noise, rivals
from benchmarks.features.measure import measure
from benchmarks.table import RECORDS, Table
from selfdistill import load
from selfdistill._core.record import environment
from selfdistill._core.rng import numpy_generator
from selfdistill.closed import refine_labels
from selfdistill.encoders import load_encoder

TABLE = Table(RECORDS / "photos.parquet")
KINDS = ("human-worst", "human-random1", "human-aggre", "symmetric-40", "pair-40")
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TRAIN, FIRST_TEST = 10_000, 45_000


def photos_of(cifar: Path, start: int, stop: int) -> np.ndarray:
    """Read photos by their number: uint8 ``[n, 32, 32, 3]``."""
    parts = [np.fromfile(cifar / f"data_batch_{i}.bin", np.uint8).reshape(-1, 3073)[:, 1:] for i in range(1, 6)]
    return np.concatenate(parts)[start:stop].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def write_photos(folder: Path, photos: np.ndarray, labels: np.ndarray) -> None:
    """Write PNG files, each in the folder of its label."""
    for number, (photo, label) in enumerate(zip(photos, labels, strict=True)):
        place = folder / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(place / f"{number:05}.png")


def measured(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Run the command in a process of its own; give CPU seconds and peak memory in MiB."""
    command = [sys.executable, "-m", "selfdistill", *arguments]
    with subprocess.Popen(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}) as started:
        _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    assert not started.returncode, f"{' '.join(command)} ended with {started.returncode}"
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def keep(name: str, record: dict[str, Any]) -> None:
    """Print and record a measurement."""
    about = {part: environment("cpu")[part] for part in ("versions", "hardware")}
    print(name, json.dumps(record), flush=True)
    TABLE.add({name: record | about})


def found(
    given: argparse.Namespace, how: str = "found", kinds: tuple[str, ...] = KINDS, options: tuple[str, ...] = ()
) -> None:
    """Fit folders end to end."""
    whole = data_sets.read("cifar10", "final", given.data, given.work)
    test = given.work / "test"
    if not test.exists():
        write_photos(test, photos_of(given.cifar, FIRST_TEST, 50_000), whole.test_truth)
    photos = photos_of(given.cifar, 0, TRAIN)
    for kind in kinds:
        labels, folder, out = noise.draw(whole, kind, 0), given.work / kind, f"run-{how}-{kind}"
        if not folder.exists():
            write_photos(folder, photos, labels)
        shutil.rmtree(given.work / out, ignore_errors=True)
        cpu, memory = measured(["fit", str(folder), "--test", str(test), "--out", out, *options], given.work)
        run = load(given.work / out)
        order = [int(Path(name).stem) for name in run.labels["id"]]
        table = run.labels.assign(number=order).sort_values("number")
        answer = {
            "predicted": np.full(1, -1),  # the run tells the accuracy itself
            "quality": table["label_quality"].to_numpy(),
            "flagged": table["is_label_issue"].to_numpy(),
            "expected_wrong": run.record.result.estimated_noise.expected_wrong,
            "refined": table["refined_label"].map(NAMES.index).to_numpy(),
        }
        record = measure(answer, whole.truth, labels, np.zeros(1)) | {"cpu_s": cpu, "peak_mib": memory}
        record["accuracy"] = run.record.result.accuracies["test"].last
        nats = run.record.closed.nats if run.record.closed else None
        keep(f"{how}, {kind}", record | {"encoder": run.record.data.read.encoder, "nats": nats})


def scratch(given: argparse.Namespace) -> None:
    """Fit the same folders by our own CNN."""
    options = ("--encoder", "none", "--method", "selfdistill", "--network", "cnn", "--epochs", "15")
    found(given, "scratch", KINDS[:3], options)


def squared(photo: Image.Image, rule: str) -> Image.Image:
    """Bring a photo to a square; "squashed" leaves it to the encoder."""
    short, long = min(photo.size), max(photo.size)
    if rule == "cropped":
        left, top = ((side - short) // 2 for side in photo.size)
        return photo.crop((left, top, left + short, top + short))
    if rule == "padded":
        whole = Image.new("RGB", (long, long), (127, 127, 127))
        whole.paste(photo, tuple((long - side) // 2 for side in photo.size))
        return whole
    return photo


def shapes(given: argparse.Namespace, train: int = 1500, test: int = 1000) -> None:
    """Compare ways to a square."""
    whole, encoder = data_sets.read("cifar10", "final", given.data, given.work), load_encoder("photos")
    rng, windows = numpy_generator(0, "photos", "shapes"), []
    for photo in photos_of(given.cifar, 0, train + test):
        start, wide = rng.integers(0, 13), rng.random() < 0.5
        cut = photo[start : start + 20] if wide else photo[:, start : start + 20]
        windows.append(Image.fromarray(np.ascontiguousarray(cut)))
    truth, tested = whole.truth[:train], whole.truth[train : train + test]
    wrong = rng.random(train) < 0.4
    noisy = np.where(wrong, (truth + rng.integers(1, 10, train)) % 10, truth)
    for rule in ("squashed", "cropped", "padded"):
        ready = [encoder.prepare(squared(one, rule)) for one in windows]
        features = np.concatenate([encoder.encode(ready[start : start + 32]) for start in range(0, len(ready), 32)])
        for kind, labels in (("true", truth), ("symmetric-40", noisy)):
            made = refine_labels(features[:train], torch.from_numpy(labels), 10)
            predicted = made.machine(torch.from_numpy(features[train:])).argmax(1).numpy()
            answer = {"predicted": predicted, "quality": made.quality, "refined": made.posterior.argmax(1).numpy()}
            record = measure(answer, truth, labels, tested)
            keep(f"shapes, {rule}, {kind}", record | {"nats": made.nats})


def rivals_of(given: argparse.Namespace) -> None:
    """Measure rivals on the ready features."""
    whole = data_sets.read("cifar10", "final", given.data, given.work)
    for kind in KINDS:
        labels = noise.draw(whole, kind, 0)
        began = time.process_time()
        answer = rivals.answer(rivals.rival("kNN"), whole, labels, 0)
        record = measure(answer, whole.truth, labels, whole.test_truth)
        keep(f"kNN, {kind}", record | {"cpu_s": time.process_time() - began})


class _Idle:
    """The packaged encoder without its network: all else that ``embed`` does, and nothing besides."""

    kind, name, dimension, fingerprint = "photos", "photos", 1280, "0" * 64

    def __init__(self, encoder: Any) -> None:
        self.side, self.prepare, self.features = encoder.side, encoder.prepare, np.ones((32, 1280), np.float32)

    def encode(self, prepared: list[torch.Tensor]) -> np.ndarray:
        """Compute nothing."""
        return self.features[: len(torch.stack(prepared))]

    def cut(self, examples: Any) -> int:
        """As photos."""
        return 0


def speed(given: argparse.Namespace, turns: int = 5) -> None:
    """CPU milliseconds of a photo: of the bare forward pass, and of all else, in turn."""
    from selfdistill._core.read_options import ReadOptions
    from selfdistill.data import _encoded
    from selfdistill.data._read import read

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    encoder = load_encoder("photos")
    photos = photos_of(given.cifar, 20_000, 20_320)
    ready = [encoder.prepare(Image.fromarray(photo)) for photo in photos[:64]]
    write_photos(given.work / "speed-png", photos, np.arange(len(photos)) % 2)
    large = numpy_generator(0, "photos").integers(0, 256, (12, 12, 3), np.uint8)
    for number in range(64):  # photos as cameras make them, 2,048 x 1,536 pixels
        place = given.work / "speed-jpg" / NAMES[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(np.roll(large, number, 1)).resize((2048, 1536), 3)
        picture.rotate(number % 7).save(place / f"{number}.jpg", quality=90)
    _encoded.load_encoder = lambda name, fetch=True: _Idle(encoder)  # type: ignore[assignment]
    for turn in range(-1, turns):  # the first warms up
        for form in ("png", "jpg"):
            began = time.process_time()
            for start in (0, 32):
                encoder.encode(ready[start : start + 32])
            bare = (time.process_time() - began) / 64
            began = time.process_time()
            options = ReadOptions(encoder="photos", features=str(given.work / f"store-{form}-{turn}"))
            n = len(read(given.work / f"speed-{form}", options))
            rest = (time.process_time() - began) / n
            if turn >= 0:
                found = {"bare_ms": 1000 * bare, "rest_ms": 1000 * rest, "share": bare / (bare + rest)}
                keep(f"speed, {form}, {turn}", {"photos": n} | found)


def choice(given: argparse.Namespace) -> None:
    """Compare pixels, features and both on development data."""
    some = data_sets.read("cifar10", "development", given.data, given.work)
    truth = np.load(given.data / "cifar10" / "labels.npz")["train"][:5_000].astype(np.int64)
    rows, held = data_sets.split(truth, 0.25)
    pixels = photos_of(given.cifar, 0, 5_000).reshape(5_000, -1).astype(np.float32)
    pixels = (pixels - pixels[rows].mean(0)) / pixels[rows].std(0)
    scale = some.train.mean(0), some.train.std(0) + 1e-9
    features = [(part - scale[0]) / scale[1] for part in (some.train, some.test)]
    weight = 0.5 * (1280 / 3072) ** 0.5  # pixels half as long as features
    inputs = {
        "pixels": (pixels[rows], pixels[held]),
        "features": tuple(features),
        "both": tuple(
            np.hstack([one, two * weight]) for one, two in zip(features, (pixels[rows], pixels[held]), strict=True)
        ),
    }
    for kind in (*KINDS, "symmetric-5"):
        labels = noise.draw(some, kind, 0)
        for name, (train, test) in inputs.items():
            refined = refine_labels(train.astype(np.float32), torch.from_numpy(labels), 10, standardise=False)
            predicted = refined.machine(torch.from_numpy(test.astype(np.float32))).argmax(1).numpy()
            answer = {
                "predicted": predicted,
                "quality": refined.quality,
                "refined": refined.posterior.argmax(1).numpy(),
            }
            keep(
                f"choice, {name}, {kind}", measure(answer, some.truth, labels, some.test_truth) | {"nats": refined.nats}
            )


def memory(given: argparse.Namespace) -> None:
    """Peak memory of ever more photos."""
    (given.work / "wide.py").write_text(
        "import torch\n"
        "class Wide(torch.nn.Module):\n"
        "    side = 16\n"
        "    def forward(self, x):\n"
        "        return x.mean((2, 3)).repeat(1, 427)[:, :1280]\n"
        "make = Wide\n"
    )
    rng = numpy_generator(0, "photos", "memory")
    for count in (1_000, 10_000, 100_000):
        folder = given.work / f"many-{count}"
        for number in range(count if not folder.exists() else 0):
            place = folder / NAMES[number % 10]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (24, 24 + number % 5, 3), np.uint8)).save(place / f"{number}.bmp")
        arguments = ["embed", str(folder), "--encoder", "torch:wide:make", "--out", f"wide-{count}"]
        cpu, peak = measured(arguments, given.work)
        keep(f"memory, {count}", {"photos": count, "cpu_s": cpu, "peak_mib": peak})


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "found": found, "scratch": scratch, "shapes": shapes, "rivals": rivals_of, "speed": speed, "choice": choice,
    "memory": memory,
}  # fmt: skip


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "cifar", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS))
    given = parser.parse_args()
    given.work = given.work.resolve()
    given.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in given.only:
        PARTS[name](given)


if __name__ == "__main__":
    main()
