"""Masks that lie beside pictures, and would be rows as these are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["masks_among", "said_masks"]

# What masks are called: an end of a name, as of cell_mask.png, or a folder.
WORDS = r"(?:cp_)?masks?|seg(?:mentations?)?|labels?|annotations?|gt|ground_?truths?|outlines?"
FOLDER = re.compile(WORDS, re.IGNORECASE)
NAME = re.compile(rf"(?:(.+?)[_. -](?:{WORDS})|mask[_. -](.+))", re.IGNORECASE)
SUFFIXES = re.compile(r"(?:\.ome|\.nii)?\.\w+$", re.IGNORECASE)


def masks_among(files: Sequence[Path]) -> list[Path]:
    """Files that their names call masks of others.

    These are ``cell_mask.png`` beside ``cell.png``, and ``masks/cell.png`` where there is
    ``images/cell.png``.

    Arguments:
        files: Paths in the folder.
    """
    stems = {file: SUFFIXES.sub("", file.name) for file in files}
    named = {(file.parent, stem) for file, stem in stems.items()}
    # Each picture by the folders around one of its folders that is not called a mask.
    places = {
        (parts[:depth], parts[depth + 1 :], stem)
        for file, stem in stems.items()
        for parts in [file.parent.parts]
        for depth, part in enumerate(parts)
        if not FOLDER.fullmatch(part)
    }
    masks = []
    for file, stem in stems.items():
        match, parts = NAME.fullmatch(stem), file.parent.parts
        base = stem if match is None else match[1] or match[2]
        depths = [depth for depth, part in enumerate(parts) if FOLDER.fullmatch(part)]
        beside = {(parts[:d], parts[d + 1 :], name) for d in depths for name in (stem, base)}
        if (match and (file.parent, base) in named) or beside & places:
            masks.append(file)
    return masks


def said_masks(files: Sequence[Path]) -> str:
    """A note on the files that are masks of others by their names; empty without any.

    Arguments:
        files: Paths in the folder.
    """
    masks = masks_among(files)
    if not masks:
        return ""
    return (
        f"x: {len(masks)} of {len(files)} files have names as of masks of others, such as "
        f"{masks[0].as_posix()}, and are rows as all pictures are; if they are masks, keep them "
        "in another place"
    )
