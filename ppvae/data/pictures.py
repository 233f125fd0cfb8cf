"""Folders of pictures: a row per picture or page, with the values of the files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppvae.borders import typed
from ppvae.data.columns import SPLIT
from ppvae.data.dataset import Dataset
from ppvae.data.dim import dim_words
from ppvae.data.labels import labels_of
from ppvae.data.masks import said_masks
from ppvae.data.pages import Page, Plan
from ppvae.data.paths import PathLike, existing, name_of
from ppvae.data.pillow import PICTURES, pages_of, read
from ppvae.data.record import Record, coded, known_names
from ppvae.data.words import like_parts, part_of, parts_of
from ppvae.errors import DataError
from ppvae.expected import at_least, real_path
from ppvae.typing import Spec

__all__ = ["images"]


@typed(channels=at_least(1))
def images(
    folder: PathLike,
    *,
    size: tuple[int, int] | None = None,
    crop: bool = False,
    channels: int | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002
    labels: PathLike | None = None,
    missing_ok: Sequence[str] = (),
    like: Spec | None = None,
    **columns: str | Sequence[str],
) -> Dataset:
    """Pictures of a folder, in the order of their paths: ``x`` with shape (N, C, H, W).

    Pictures with 8 bits stay uint8, intensities from 0 to 255. Those with 16 bits are scaled from
    0 to 65535 to [0, 1]; those with 32 bits or floating-point numbers keep their values.
    ``range`` sets another scale. A picture is turned upright by its EXIF orientation; each page of
    a multi-page TIFF is a row. There are three channels if any picture has colour, and one more if
    any picture has transparent parts. Hidden files and folders are left out.

    Classes ``y`` come from a table of labels, or from the names of sub-folders, in sorted order.
    Folders such as ``train`` and ``test`` above them make the column ``split``.

    Arguments:
        folder: Folder with pictures, directly or in sub-folders; or one file, such as a stack.
        size: Height and width to resize to (Lanczos); without it, all must have the same size.
        crop: Whether to crop pictures to their centre, with the proportions of ``size``, before
            resizing; otherwise they are stretched.
        channels: 1 for grey, 3 for colour, 2 or 4 with transparency; by default as in the files.
        range: Values that become 0 and 1, such as (0, 4095) for a camera with 12 bits.
        labels: Table with the picture's path in the folder as first column, or its base name
            where that is unique; and the class as second of two columns, or any of the columns
            ``y`` (also called class, label or target), ``c``, ``view``, ``object``, ``batch`` and
            ``split``. Other columns are read where ``columns`` names them.
        missing_ok: Columns that may hold NaN.
        like: Spec of the columns of a fitted run; its classes and channels are used.
        columns: Column of the table of labels, or several, for each dataset column.

    Raises:
        DataError: If a picture cannot be read, the pictures do not fit together, it is not
            certain what a folder or a column of the labels means, or columns are named without a
            table of labels.
    """
    if columns and labels is None:
        raise DataError(
            f"{name_of(folder)}: expected a table of labels with columns {sorted(columns)}; got "
            "pictures alone. Name it: labels=..., on the command line --label-table."
        )
    folder = existing(folder)
    paths, skipped = _paths(folder) if folder.is_dir() else ([folder], [])
    folder = folder if folder.is_dir() else folder.parent
    shape = (like or {}).get("x", {}).get("shape", [])
    if len(shape) == 3:
        channels = int(shape[0]) if channels is None else channels
    pages = [page for path in paths for page in pages_of(path)]
    plan = Plan.of(name_of(folder), pages, size=size, crop=crop, channels=channels, scale=range)
    x = read(plan, pages)
    names = [page.name(folder) for page in pages]
    seen = said_masks([path.relative_to(folder) for path in paths])
    record = Record(notes=(*skipped, *plan.notes(pages))).noted(_dim(plan, pages, x), seen)
    arrays: dict[str, np.ndarray] = {"x": x}
    files = [page.path.relative_to(folder) for page in pages]
    parts, classes = _folders(folder, files, known_names(like, "y"))
    if parts is not None:
        arrays[SPLIT] = parts
        record = record.noted("split: from the names of the folders")
    table: dict[str, np.ndarray] = {}
    if labels is not None:
        table, record = labels_of(existing(labels), folder, files, record, like, columns)
        if parts is not None and not np.array_equal(table.get(SPLIT, parts), parts):
            raise DataError(
                f"{existing(labels).name}: expected the split that the names of the folders give; "
                "got another. Remove the column split, or move the pictures."
            )
        if "y" in table and classes is not None:
            record = record.noted("y: from the table; the names of folders are left out")
        arrays |= table
    if "y" not in table and classes is not None:
        arrays["y"], read_names, note = coded(
            "y", classes, known_names(like, "y"), blank=frozenset({""})
        )
        record = record.noted(f"{note} (names of folders)" if note else "")
        record = record.renamed("y", read_names) if read_names is not None else record
    return Dataset(arrays, missing_ok=missing_ok, record=record, row_names=names)


def _dim(plan: Plan, pages: Sequence[Page], x: np.ndarray) -> str:
    """A note if the pictures of 16 bits seem to have another scale that no other note names."""
    if plan.asked or any("--range 0 " in page.note for page in pages):
        return ""
    deep = [float(row.max()) for row, page in zip(x, pages, strict=True) if page.kind == "word"]
    return dim_words(max(deep)) if deep else ""


def _paths(folder: Path) -> tuple[list[Path], list[str]]:
    """Paths of the pictures in order, and notes on what was left out."""
    paths, hidden, others = [], 0, []
    for path in _walked(folder):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            hidden += 1
        elif path.name.lower().endswith(PICTURES):
            if not path.is_file():
                raise DataError(
                    f"{name_of(folder)}: expected files of pictures; got a pipe, a device or a "
                    f"link to nothing, {path.relative_to(folder).as_posix()!r}. Remove it."
                )
            paths.append(path)
        else:
            others.append(path)
    if not paths:
        raise DataError(
            f"{name_of(folder)}: expected picture files {PICTURES}; found none. Check the folder."
        )
    notes = []
    if hidden:
        notes.append(f"left out: {hidden} hidden files or files in hidden folders")
    if others:
        names = ", ".join(dict.fromkeys(path.name for path in others[:4]))
        notes.append(f"left out: {len(others)} files that are no pictures, such as {names}")
        bare = {path.parent for path in others} - {path.parent for path in paths} - {folder}
        if bare:
            names = ", ".join(sorted(path.relative_to(folder).as_posix() for path in bare)[:6])
            notes.append(f"left out: folders without pictures: {names}")
    return paths, notes


def _walked(folder: Path) -> list[Path]:
    """All files below a folder in order; links to folders are followed, each folder once."""

    def stop(error: OSError) -> None:
        raise DataError(
            f"{name_of(folder)}: expected folders that can be read; got {str(error.filename)!r} "
            f"({error.strerror}). Make it readable, or move it away."
        ) from error

    seen, paths = set(), []
    for top, folders, files in os.walk(folder, followlinks=True, onerror=stop):
        paths += [Path(top) / file for file in files]
        seen.add(real_path(top))
        folders[:] = [f for f in folders if real_path(os.path.join(top, f)) not in seen]
    return sorted(paths)


def _folders(
    folder: Path, files: Sequence[Path], known: Sequence[str] | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Parts of the split and classes, from the names of the folders.

    Folders around all pictures, such as data/images, are left out, unless a run knows them as
    classes.
    """
    while known is None or not {file.parent.as_posix() for file in files} <= {*known}:
        tops = {file.parts[0] if len(file.parts) > 1 else "" for file in files}
        if len(tops) > 1 or "" in tops or part_of(next(iter(tops))) is not None:
            break
        files = [Path(*file.parts[1:]) for file in files]
    parts = None
    for depth in range(max(len(file.parts) for file in files) - 1):
        tops = {file.parts[depth] for file in files if len(file.parts) > depth + 1}
        words = parts_of(tops)
        meant = {part for part in words.values() if part is not None}
        strange = sorted(top for top, part in words.items() if part is None)
        loose = [file for file in files if len(file.parts) <= depth + 1]
        if not meant or (depth and (strange or loose)):
            continue
        if len(meant) == 1 and (meant != {0} or strange or loose):
            continue  # A class may be called test, or train.
        if strange or loose or 0 not in meant:
            named = sorted(set(words) - set(strange))
            raise DataError(
                f"{name_of(folder)}: expected a folder train, and no other folders and pictures "
                f"beside {named}; got {strange[:4] or (loose[0].name if loose else 'no train')}. "
                "Move them into folders train, validation and test."
            )
        parts = np.array([words[file.parts[depth]] for file in files], dtype=np.int64)
        files = [Path(*file.parts[:depth], *file.parts[depth + 1 :]) for file in files]
        break
    parents = ["" if file.parent == Path() else file.parent.as_posix() for file in files]
    if parts is None and not (known and set(parents) <= {*known}):
        _refuse_like_parts(folder, files)
    if len(set(parents)) < 2 and not (known and set(parents) <= {*known}):
        return parts, None
    return parts, np.array(parents, dtype=object)


def _refuse_like_parts(folder: Path, files: Sequence[Path]) -> None:
    """Refuse folders of which most, but not certainly all, seem to be parts of a split.

    Raises:
        DataError: If there are such, as they would be classes and their pictures divided anew.
    """
    for depth in range(max(len(file.parts) for file in files) - 1):
        tops = {file.parts[depth] for file in files if len(file.parts) > depth + 1}
        found = like_parts(tops)
        if len(found) > len(tops) / 2:
            raise DataError(
                f"{name_of(folder)}: expected folders of classes, or train, validation and test; "
                f"got {found[:6]}, which may be either. Move the pictures into folders train, "
                "validation and test above those of classes, or give classes other names."
            )
