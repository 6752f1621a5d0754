"""A network trained on photos that stay on disk: memory and time by their number, and against all in memory.

    python -m benchmarks.streaming --photos 20000 --work DIR [--in-memory]

Photos are generated, PNG files of 96 x 96 pixels in ten folders. ``selfdistill fit --network cnn:8,16 --epochs 1``
runs in a process of its own, and prints what `benchmarks.state_in_files.Watch` saw: ``RssAnon``, what the process has
for itself. Pages of the file of pixels that happen to be in memory are not counted: the system takes them back at any
time. ``--in-memory`` reads the pixels into one array instead, as data below 256 MiB are. The digest of the weights
tells that both train the same network. Records go to ``benchmarks/records/streaming.parquet``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.state_in_files import Watch
from benchmarks.table import RECORDS, Table
from selfdistill._core.files import digest
from selfdistill._core.record import environment, read_record

TABLE = Table(RECORDS / "streaming.parquet")
SIDE = 96


def generate(folder: Path, count: int) -> None:
    """Write photos of coarse noise around a colour of their class, so that there is something to learn."""
    rng = np.random.default_rng(0)
    colours = rng.integers(60, 196, (10, 3))
    for number in range(count):
        place = folder / str(number % 10)
        place.mkdir(parents=True, exist_ok=True)
        coarse = np.clip(colours[number % 10] + rng.normal(0, 50, (12, 12, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(coarse).resize((SIDE, SIDE)).save(place / f"{number}.png")


def train(folder: Path, out: Path, in_memory: bool) -> None:
    """Train, in this process, and print what it took."""
    import selfdistill
    from selfdistill.data import _stored

    if in_memory:
        _stored.MAPPED_BYTES = 2**60
    watch, began, cpu = Watch(), time.perf_counter(), time.process_time()
    watch.start()
    selfdistill.fit(str(folder), network="cnn:8,16", epochs=1, batch_size=64, out=out, say=None)
    watch.ended.set()
    seconds = [time.perf_counter() - began, time.process_time() - cpu]
    print(json.dumps({"peak": watch.most, "seconds": seconds[0], "cpu_s": seconds[1]}))


def main() -> None:
    """Generate photos, and measure one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--in-memory", action="store_true")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.work.resolve() / f"photos-{given.photos}"
    if given.train is not None:
        train(folder, given.train, given.in_memory)
        return
    if not folder.exists():
        generate(folder, given.photos)
    key = f"{given.photos}, {'in memory' if given.in_memory else 'on disk'}"
    out = given.work.resolve() / f"run-{key.replace(', ', '-').replace(' ', '-')}-{os.getpid()}"
    command = [sys.executable, "-m", "benchmarks.streaming", *sys.argv[1:], "--train", str(out)]
    command[command.index("--work") + 1] = str(given.work.resolve())
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=given.work)
    record = json.loads(done.stdout.splitlines()[-1]) | {"photos": given.photos, "in_memory": given.in_memory}
    found = read_record(out)
    record |= {"epoch_s": found.curves["seconds"], "pixels_mib": given.photos * 3 * SIDE**2 / 2**20}
    record |= {"fingerprint": found.data.fingerprint, "weights": digest(out / "model.safetensors")}
    about = environment("cpu")
    record |= {name: about[name] for name in ("created", "commit", "versions", "hardware") if name in about}
    TABLE.add({key: record})
    print({name: value for name, value in record.items() if name not in {"versions", "hardware"}})


if __name__ == "__main__":
    main()
