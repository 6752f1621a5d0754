"""Features that are kept once: a folder of Parquet files, each row named by a digest of what it was made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from selfdistill._core import dist
from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, Interrupted, ResourceError, RunError, one_line
from selfdistill._core.files import atomic, read_json, write_json
from selfdistill.encoders._encoder import Encoder

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import DTypeLike

PROGRESS: ContextVar[Callable[[str, int, int], None]] = ContextVar("PROGRESS", default=lambda what, done, total: None)
"""Takes what is encoded ("photos" or "texts"), how many are done, and how many there are to do."""
_FORMAT = "selfdistill-features-1"
_ABOUT = "_encoder.json"  # readers of folders of Parquet leave out names that begin with a line
SHARD = 512
"""Examples of a file."""
_SHARD_BYTES = 2**25  # of a file, where fewer examples have as many
BATCH = 32
"""Examples that are encoded at once."""
_AHEAD = 4  # threads that open and shrink photos; Pillow's decoders run side by side
_IN_MEMORY = 2**28  # bytes of features beyond which they lie on disk
_SHOWN = 5


def key_of(content: bytes) -> str:
    """Digest of an example's content: 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def default_folder(encoder: Encoder) -> Path:
    """Where the features of an encoder are kept where the user names no folder."""
    name = "".join(c if c.isalnum() or c in "-._" else "-" for c in encoder.name)[-60:]
    return Path("runs") / "features" / f"{name}-{encoder.fingerprint[:8]}"


Part = tuple[list[int], np.ndarray, dict[int, Exception]]
"""Numbers of examples, their features, and what kept others from having some."""


def prepared(prepare: Callable[[int], Any], place: int) -> Any:
    """Prepare one example; what goes wrong is returned."""
    try:
        return prepare(place)
    except Exception as error:  # decoders fail on hostile files in any way
        return error


def encoded(encoder: Encoder, batch: Sequence[tuple[int, Any]]) -> Part:
    """Encode a batch of what `prepared` gave."""
    errors = {place: made for place, made in batch if isinstance(made, Exception)}
    good = [(place, made) for place, made in batch if place not in errors]
    features = encoder.encode([made for _, made in good]) if good else np.empty((0, encoder.dimension))
    return [place for place, _ in good], np.asarray(features), errors


def in_threads(encoder: Encoder, prepare: Callable[[int], Any], todo: Sequence[int]) -> Generator[Part]:
    """Encode examples by number in this process; while a batch is encoded, the next one is prepared."""
    pool = ThreadPoolExecutor(min(_AHEAD, os.cpu_count() or 1))
    try:
        with warnings.catch_warnings():  # here, once: the threads share what is ignored
            warnings.simplefilter("ignore")
            ahead = pool.map(partial(prepared, prepare), todo[:BATCH])
            for start in range(0, len(todo), BATCH):
                batch = list(zip(todo[start : start + BATCH], ahead, strict=True))
                ahead = pool.map(partial(prepared, prepare), todo[start + BATCH : start + 2 * BATCH])
                yield encoded(encoder, batch)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


ENGINE: ContextVar[Callable[[Encoder, Callable[[int], Any], Sequence[int]], Generator[Part]]]
ENGINE = ContextVar("ENGINE", default=in_threads)
"""What encodes."""


@final
class FeatureStore:
    """Features of one encoder by the content they were made from.

    Args:
        folder: Where they are kept; created if missing. ``None``: in memory.
        encoder: The encoder.
        dtype: Of the features: float32, or uint8 for pixels, which are kept as bytes.
    """

    def __init__(self, folder: Path | None, encoder: Encoder, dtype: DTypeLike = np.float32) -> None:
        self.folder, self.encoder, self.dtype = folder, encoder, np.dtype(dtype)
        self._row = self.dtype.itemsize * encoder.dimension  # bytes
        self._places: dict[str, tuple[int, int]] = {}  # of a key: shard and row
        self._shards: list[Path | np.ndarray] = []
        self._names: list[str] = []
        self._keys: list[str] = []
        self._rows: list[np.ndarray] = []
        if folder is not None:
            if dist.rank() == 0:
                self._open(folder)
            dist.barrier()
            if dist.rank() > 0:
                self._open(folder)

    def _open(self, folder: Path) -> None:
        about: dict[str, Any] = {
            "format": _FORMAT,
            "encoder": self.encoder.name,
            "fingerprint": self.encoder.fingerprint,
        }
        about |= {"dimension": self.encoder.dimension}
        if (folder / _ABOUT).exists():
            try:
                found = read_json(folder / _ABOUT)
            except ValueError:
                found = None
            if not isinstance(found, dict) or found.get("format") != _FORMAT:
                raise RunError(
                    f"{folder / _ABOUT} is not of this version of selfdistill", Advice("Name another {--features}.")
                )
            if any(found.get(part) != about[part] for part in ("fingerprint", "dimension")):
                raise RunError(
                    f"{folder} holds features of the encoder {found.get('encoder')!r} "
                    f"({str(found.get('fingerprint'))[:8]}, dimension {found.get('dimension')}), not of "
                    f"{self.encoder.name!r} ({self.encoder.fingerprint[:8]}, dimension {self.encoder.dimension})",
                    Advice("Name another folder with {--features}", "leave it out."),
                )
            self._index(folder)
            return
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(f"{folder} exists but holds no features", Advice("Name another folder with {--features}."))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _ABOUT, about)

    def _index(self, folder: Path) -> None:
        for path in sorted({*folder.glob("*.parquet")} - {path for path in self._shards if isinstance(path, Path)}):
            for row, key in enumerate(self._read(path, "key").to_pylist()):
                self._places[key] = len(self._shards), row
            self._shards.append(path)

    def _read(self, path: Path, column: str) -> pa.ChunkedArray:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_table(path, columns=[column])[column]
        except (pa.ArrowException, OSError, KeyError) as error:
            raise RunError(
                f"{path} is damaged: {one_line(error)}", "Remove it: what it held is encoded again."
            ) from error

    def _shard(self, path: Path) -> np.ndarray:
        cells = self._read(path, "features").combine_chunks()
        found = _bytes_in(cells) if self.dtype == np.uint8 else np.asarray(cells.flatten(), np.float32)
        if found.size != len(cells) * self.encoder.dimension:
            raise RunError(
                f"{path} holds vectors of another size than {self.encoder.dimension:,}",
                "Remove it: what it held is encoded again.",
            )
        return found.reshape(-1, self.encoder.dimension)

    def __len__(self) -> int:
        return len(self._places) + len(self._keys)

    def fill(self, names: Sequence[str], keys: Sequence[str], prepare: Callable[[int], Any]) -> dict[int, Exception]:
        """Encode what is not here yet; several processes deal files, which are those of one, byte for byte.

        Args:
            names: Of the examples, for messages and for those who read the files.
            keys: See `key_of`.
            prepare: Gives what `Encoder.encode` takes, by the example's number; called in threads. What it raises
                leaves the example out.

        Returns:
            Errors by number.

        Raises:
            Interrupted: Ctrl-C; what was encoded is kept.
            RunError: The processes do not see the same folder.
        """  # noqa: DOC502 (raised by what is called)
        several = self.folder is not None and dist.world() > 1
        rank, world = (dist.rank(), dist.world()) if several else (0, 1)
        todo = dist.from_first(lambda: self._lacking(keys)) if several else self._lacking(keys)
        size = max(1, min(SHARD, _SHARD_BYTES // self._row) // BATCH) * BATCH
        what = self.encoder.kind + " of the first process" * several
        mine = [place for at, place in enumerate(todo) if at // size % world == rank]
        bad, done = dict[int, Exception](), 0
        try:
            with closing(ENGINE.get()(self.encoder, prepare, mine)) as parts:
                for places, features, errors in parts:
                    bad |= errors
                    if places:
                        self._rows.append(self._checked(np.asarray(features, self.dtype), places, names))
                        self._names += [names[place] for place in places]
                        self._keys += [keys[place] for place in places]
                    done += len(places) + len(errors)
                    if done % size == 0:
                        self._flush()
                    PROGRESS.get()(what, done, len(mine))
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped; {len(self):,} features are kept in {self.folder}", "Start again: it goes on from there."
            ) from None
        finally:
            self._flush()
        return self._joined(bad, todo, keys) if several else bad

    def _lacking(self, keys: Sequence[str]) -> list[int]:
        """Numbers of the examples that are not here, equal ones once."""
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        todo = sorted(place for key, place in first.items() if key not in self._places)
        self._check_room(len(todo), len(keys))
        return todo

    def _joined(self, bad: dict[int, Exception], todo: list[int], keys: Sequence[str]) -> dict[int, Exception]:
        """Wait for the other processes, and take over what they wrote and what failed there."""
        reasons = {place: one_line(error) or type(error).__name__ for place, error in bad.items()}
        everywhere = {place: line for part in dist.from_all(reasons) for place, line in part.items()}
        assert self.folder is not None
        self._index(self.folder)
        if lost := sum(place not in everywhere and keys[place] not in self._places for place in todo):
            raise RunError(
                f"{self.folder} lacks {lost:,} features that other processes wrote",
                Advice("Name a folder that all machines see: {--features}."),
            )
        return {place: OSError(line) for place, line in everywhere.items()}

    def _checked(self, found: np.ndarray, places: Sequence[int], names: Sequence[str]) -> np.ndarray:
        if found.shape != (len(places), self.encoder.dimension):
            raise DataError(
                f"encoder {self.encoder.name!r} gave an array of shape {list(found.shape)}, but must give "
                f"[{len(places)}, {self.encoder.dimension}]",
                Advice("Choose another {--encoder}."),
            )
        lost = np.flatnonzero(~np.isfinite(found).all(1))
        if len(lost):
            raise DataError(
                f"encoder {self.encoder.name!r} gives numbers that are not finite for {names[places[lost[0]]]}",
                Advice("Choose another {--encoder}", "leave it out."),
            )
        return found

    def _flush(self) -> None:
        """Write what is waiting as one file, named by its content: two processes never write the same one."""
        if not self._keys:
            return
        keys, rows = self._keys, np.concatenate(self._rows)
        shard: Path | np.ndarray = rows
        if self.folder is not None:
            import pyarrow as pa
            import pyarrow.parquet as pq

            shard = self.folder / f"{key_of(''.join(keys).encode())}.parquet"
            if self.dtype == np.uint8:
                kind, buffers = pa.binary(self._row), [None, pa.py_buffer(np.ascontiguousarray(rows))]
                features = pa.Array.from_buffers(kind, len(rows), buffers)
            else:
                features = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), self.encoder.dimension)
            table = pa.table({"name": self._names, "key": keys, "features": features})
            with atomic(shard) as part:
                pq.write_table(table, part, use_dictionary=False)  # features do not repeat
        self._places |= {key: (len(self._shards), row) for row, key in enumerate(keys)}
        self._shards.append(shard)
        self._names, self._keys, self._rows = [], [], []

    def gather(self, keys: Sequence[str]) -> np.ndarray:
        """Give features in the order of the keys.

        Args:
            keys: Of examples that are here.

        Returns:
            ``[n, d]``; beyond 256 MiB a memory map of a file without a name.
        """
        out = self._empty(len(keys))
        places = np.array([self._places[key] for key in keys], np.int64).reshape(-1, 2)
        for number in np.unique(places[:, 0]):
            shard = self._shards[number]
            rows = self._shard(shard) if isinstance(shard, Path) else shard
            wanted = np.flatnonzero(places[:, 0] == number)
            out[wanted] = rows[places[wanted, 1]]
        return out

    def _empty(self, count: int) -> np.ndarray:
        shape = (count, self.encoder.dimension)
        if self.folder is None or count * self._row <= _IN_MEMORY:
            return np.empty(shape, self.dtype)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".gathered.") as file:
            made: np.ndarray = np.memmap(file.name, self.dtype, "w+", shape=shape)
        return made

    def _check_room(self, new: int, total: int) -> None:
        if self.folder is None:
            return
        gathered = total * self._row * dist.world()
        needed = int(1.1 * new * self._row) + (gathered if total * self._row > _IN_MEMORY else 0)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise ResourceError(
                f"{self.folder} has {free / 2**20:,.0f} MiB free, but features of {new:,} {self.encoder.kind} take "
                f"{needed / 2**20:,.0f} MiB",
                Advice("Free space", "name another folder with {--features}."),
            )


def _bytes_in(cells: Any) -> np.ndarray:
    """The bytes of values of equal length, in a row; nothing of other values, which are damage."""
    import pyarrow as pa

    if not pa.types.is_fixed_size_binary(cells.type):
        return np.empty(0, np.uint8)
    width = cells.type.byte_width
    return np.frombuffer(cells.buffers()[1], np.uint8)[cells.offset * width :][: len(cells) * width]
