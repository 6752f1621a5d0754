"""A folder with one sub-folder of images per class."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np

from selfdistill._core.advice import Advice, Notice
from selfdistill._core.errors import DataError
from selfdistill._core.files import atomic
from selfdistill._core.folder import named_folder
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import listed, quoted
from selfdistill.data._labels import encode, texts
from selfdistill.data._photos import photo_source, read_photos
from selfdistill.data._pixels import ENDINGS, is_image
from selfdistill.data._place import Place
from selfdistill.data._source import Source, known_labels
from selfdistill.data.formats._copies import NPZ, Edit, Endings, link_or_copy, new_folder
from selfdistill.data.formats._format import IMAGES, PHOTOS, Format, Request

_SHOWN = 5
_TABLES = {".csv", ".tsv", ".parquet", ".xlsx", ".json", ".jsonl"}
_NUMBERED = re.compile(r"(?P<word>.*?[^\W\d])(?P<gap>[._ -]*)\d+")
_PARTS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation", "dev", "eval"),
}
"""Names of folders that hold a part of a data set, and no class."""


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Give the files below a folder, also through links, but never a folder within itself, and nothing hidden."""
    real = folder.resolve()
    if real in above:
        return
    try:
        items = sorted(folder.iterdir())
    except PermissionError:
        return
    for item in items:
        if item.name.startswith("."):
            continue
        if item.is_dir():
            yield from _walk(item, above | {real})
        else:
            yield item


def _files(folder: Path) -> Iterator[Path]:
    return _walk(folder, frozenset(folder.resolve().parents))


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in _files(folder) if is_image(path) and path.is_file())


def _name(file: Path, root: Path) -> str:
    """Name a file within a folder; bytes that are no UTF-8 are written as their numbers."""
    return os.fsencode(file.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def _part(path: Path, part: str) -> tuple[Path, bool]:
    """The folder of classes, and whether the source has it: sub-folders named like parts of a data set are such."""
    folders = {item.name.lower(): item for item in path.iterdir() if item.is_dir() and not item.name.startswith(".")}
    names = {name: item for name, item in folders.items() if _images_in(item)}
    known = {name: role for role, words in _PARTS.items() for name in words}
    roles = {known[name]: item for name, item in names.items() if name in known}
    alone = set(names) <= set(known) and (
        len(names) > 1 or (bool(roles) and _holds_classes(next(iter(roles.values()))))
    )
    split = "train" in roles and (alone or (len(roles) > 1 and all(map(_holds_classes, roles.values()))))
    if not split:
        return path, part != "test"
    if part == "train":
        return roles["train"], True
    return roles.get("test", roles["train"]), part == "new" or "test" in roles


def _holds_classes(folder: Path) -> bool:
    """Whether images lie in two or more sub-folders, and none beside them."""
    images = _images_in(folder)
    return len({i.relative_to(folder).parts[0] for i in images}) > 1 and all(i.parent != folder for i in images)


def training_root(path: Path) -> Path:
    """Find the folder of classes that training reads: ``train``, where there are parts; archives have none."""
    if path.is_file():
        raise DataError(
            f"{path} is an archive: its images have no place on disk", "Unpack it, and train on the folder."
        )
    return _part(path, "train")[0]


def training_files(path: Path) -> list[Path]:
    """List the images that training reads, sorted."""
    return _images_in(_part(path, "train")[0])


def _root_and_files(path: Path, part: str) -> tuple[Path, list[Path]] | None:
    """The folder of classes, or of new images, and its images; ``None``: there is no such part."""
    if path.is_file():
        return (path.parent, [path]) if part != "test" else None
    root, exists = _part(path, part)
    if not exists:
        return None
    files = _images_in(root)
    if not files:
        raise DataError(f"the folder {root} holds no images", f"Known are {', '.join(ENDINGS)}.")
    loose = [file for file in files if file.parent == root]
    if loose and part == "train":
        hint = _classes_in_names(root, loose)
        raise DataError(
            f"{loose[0]} lies outside of a class folder ({len(loose):,} such images)",
            f"Put every image into the folder of its class{hint}.",
        )
    if part == "train":
        _check_classes(root, files)
    return root, files


def _check_classes(root: Path, files: list[Path]) -> None:
    """Refuse images that all lie in one folder beside a table, which holds their labels."""
    folders = {file.relative_to(root).parts[0] for file in files}
    tables = sorted(item for item in root.iterdir() if item.suffix.lower() in _TABLES)
    if len(folders) == 1 and tables:
        raise DataError(
            f"{root} holds all images in one folder, {folders.pop()!r}, and the table {tables[0].name} beside it",
            Advice("Read {table} with {--image-column} and its column of names.", table=quoted(tables[0])),
        )


def _classes_in_names(root: Path, loose: list[Path]) -> str:
    """Say how images are sorted into folders whose names begin with two classes or more, such as ``cat.0.jpg``."""
    classes: dict[str, Counter[str]] = {}
    for path in loose:
        name = _NUMBERED.fullmatch(path.stem)
        if name is None:
            return ""
        classes.setdefault(name["word"], Counter())[name["gap"]] += 1
    if len(classes) < 2 or min(gaps.total() for gaps in classes.values()) < 2:
        return ""
    commands = []
    for word, gaps in list(classes.items())[:_SHOWN]:
        where = quoted(root / word)
        start = quoted(root / (word + gaps.most_common(1)[0][0]))
        commands.append(f"mkdir -p {where} && mv {start}[0-9]* {where}/")
    more = f", and so on for {len(classes):,} classes" if len(classes) > _SHOWN else ""
    named = ", ".join(map(repr, list(classes)[:_SHOWN])) + (", ..." if more else "")
    return f"; if the names begin with the class ({named}): {'; '.join(commands)}{more}"


@final
class ImageFolder(Format):
    """Images, each in the sub-folder of its class."""

    name, what, shown = "folder", "a folder of images", "one sub-folder of images per class"
    gives = IMAGES
    uses = frozenset({"image_size"}) | PHOTOS
    folder = True

    def detect(self, path: Path) -> bool:
        return is_image(path) if path.is_file() else any(map(is_image, _files(path)))

    def load(self, request: Request) -> Source | None:
        path = request.place.path
        place = _root_and_files(path, request.part)
        if place is None:
            return None
        root, files = place
        photos = read_photos(files, path, root, request.options, request.preprocess, names=request.names)
        ids = [_name(files[at], root) for at in photos.places]
        loose = any(file.parent == root for file in files)
        labels = None if loose else [name.split("/")[0] for name in ids]
        notes = _empty(root, files) if request.preprocess is None else []
        notes += _left_out(path, root) if request.part == "train" else []
        return photo_source(photos, request.place.name, notes, mapped=request.mapped, labels=labels, ids=ids)

    def endings(self, edit: Edit) -> Endings:
        images = Endings("no ending (a folder) or .csv (a list)", ("", ".csv"))
        return images if edit.labels is None else NPZ

    def copy(self, place: Place, options: ReadOptions, out: Path, edit: Edit) -> None:
        """Write a list, or a folder of links in which images lie under the class that the new column says."""
        if edit.labels is not None:
            super().copy(place, options, out, edit)
            return
        if not out.suffix and edit.column is not None and edit.column[0] != "refined_label":
            raise DataError(
                f"a folder of images has no place for {edit.column[0]}",
                Advice("Name a list instead: {--out} FILE.csv."),
            )
        source = self.load(Request(place, options, names=True))
        assert source is not None
        source = known_labels(source, options)
        rows = np.arange(len(source)) if edit.keep is None else np.flatnonzero(edit.keep)
        if out.suffix:
            _write_list(out, source, rows, edit)
        else:
            _write_folder(out, training_root(place.path), source, rows, edit)

    def check_labels(self, found: Source, classes: Sequence[str]) -> tuple[Source, list[str]]:
        """Images in folders that training did not see are images without a label."""
        found, messages = super().check_labels(found, classes)
        if found.labels is None:
            return found, messages
        labels = texts(found.labels, classes)
        known = encode(labels, classes).numpy() >= 0
        strange = [label for label, is_known in zip(labels, known, strict=True) if not is_known]
        if strange:
            messages.append(
                f"{len(strange):,} of {len(labels):,} images lie in folders that are not classes of training "
                f"({listed(sorted(set(strange)))}): they are predicted, and counted as without a label."
            )
        kept = [label if is_known else None for label, is_known in zip(labels, known, strict=True)]
        return replace(found, labels=kept if len(strange) < len(labels) else None), messages


def _write_list(out: Path, found: Source, rows: np.ndarray, edit: Edit) -> None:
    ids, added = found.named(), edit.added(("file", "label"), out)
    with atomic(out) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label", *added])
        for row in rows:
            writer.writerow([ids[row], found.labels[row], *(str(values[row]) for values in added.values())])


def _write_folder(out: Path, root: Path, found: Source, rows: np.ndarray, edit: Edit) -> None:
    ids, labels = found.named(), found.labels
    files = {_name(file, root): file for file in _images_in(root)}
    classes = labels if edit.column is None else np.asarray(edit.column[1], dtype=object)
    with new_folder(out) as part:
        for row in rows:
            inside = Path(*files[ids[row]].relative_to(root).parts[1:])
            if classes[row] != labels[row]:
                # an image that changes its class takes the old one into its name: two classes may share a name
                inside = inside.with_name(f"{labels[row]}__{inside.name}")
            target = named_folder(part, classes[row]) / inside
            if target.exists():
                raise DataError(
                    f"two images would be called {classes[row]}/{target.name}", Advice("Name a list: {--out} FILE.csv.")
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(files[ids[row]], target)


def _left_out(path: Path, root: Path) -> list[str]:
    """Name the folders beside that of training, and the one to measure with; a test part is read by itself."""
    beside = {item.name: item for item in sorted(path.iterdir()) if item.is_dir() and item.name[0] != "."}
    unused = [name for name, item in beside.items() if item != root and name.lower() not in _PARTS["test"]]
    if root == path or not unused:
        return []
    ways = [name for name in unused if name.lower() in _PARTS["validation"]]
    message = f"only {root.name}/ is read for training; {listed(unused)} {'is' if len(unused) == 1 else 'are'} left out"
    way = ["{--test} {word} to measure with it."] if ways else []
    return [Notice(message, *way, word=quoted(path / ways[0]) if ways else "")]


def _empty(root: Path, files: list[Path]) -> list[str]:
    used = {file.relative_to(root).parts[0] for file in files}
    folders = sorted(item.name for item in root.iterdir() if item.is_dir() and item.name[0] != ".")
    empty = [name for name in folders if name not in used]
    return [f"folders without images are not classes: {listed(empty)}."] if empty else []
