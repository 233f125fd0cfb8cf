"""The headers of pictures, and the plan by which the pictures of a folder become one array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ppvae.errors import DataError

__all__ = ["Page", "Plan"]

# Pillow's modes of pictures in words.
MODES = {
    "1": "in black and white",
    "L": "in grey",
    "LA": "in grey with transparency",
    "P": "with a palette",
    "RGB": "in colour",
    "RGBA": "in colour with transparency",
    "I": "in grey, 32 bits",
    "I;16": "in grey, 16 bits",
    "F": "in grey, floating-point",
}


@dataclass(frozen=True)
class Page:
    """A picture in a file, as described by the header.

    Attributes:
        path: Path of the file.
        number: Number of the picture in the file; None if the file has one picture.
        mode: Mode of the picture in Pillow.
        shape: Height and width of the picture, turned upright.
        kind: ``"byte"``, ``"word"`` (16 bits) or ``"number"`` (32 bits or floating-point).
        colour: Whether the picture has colour.
        alpha: Whether the picture has transparent parts.
        turned: Whether its EXIF orientation is other than upright.
        bands: Number of channels of a file of :mod:`ppvae.data.stacks`; None for a file that
            Pillow reads.
        note: Interpretation of the file's axes, or what was left out of it, in words.
    """

    path: Path
    number: int | None
    mode: str
    shape: tuple[int, int]
    kind: str
    colour: bool
    alpha: bool
    turned: bool
    bands: int | None = None
    note: str = ""

    def name(self, folder: Path) -> str:
        """Path in the folder, and the page's number."""
        text = self.path.relative_to(folder).as_posix()
        return text if self.number is None else f"{text}[{self.number}]"


@dataclass(frozen=True)
class Plan:
    """The plan by which all pictures of a folder become one array.

    Attributes:
        size: Height and width of all pictures.
        resize: Whether pictures are resized to ``size``.
        crop: Whether pictures are cropped to their centre before resizing.
        channels: Number of channels C.
        scale: Values that become 0 and 1; None for unscaled bytes, and for numbers.
        kind: Kind of the pages with the most bits.
        asked: Whether the user set the scale.
    """

    size: tuple[int, int]
    resize: bool
    crop: bool
    channels: int
    scale: tuple[float, float] | None
    kind: str
    asked: bool = field(default=False)

    @classmethod
    def of(
        cls,
        source: str,
        pages: Sequence[Page],
        *,
        size: tuple[int, int] | None,
        crop: bool,
        channels: int | None,
        scale: tuple[float, float] | None,
    ) -> Plan:
        """The plan for these pages.

        Raises:
            DataError: If sizes or kinds of numbers differ, or an argument is out of range.
        """
        if size is None:
            _refuse_sizes(source, pages)
        elif len(size) != 2 or min(size) < 1:
            raise DataError(f"size: expected height and width; got {size}. Use (64, 64).")
        if channels not in (None, 1, 2, 3, 4):
            raise DataError(f"channels: expected 1, 2, 3 or 4; got {channels}. Use 1 or 3.")
        if scale is not None and not scale[0] < scale[1]:
            raise DataError(
                f"range: expected a lower and a higher number; got {scale}. "
                "Name the values that become 0 and 1: --range 0 4095."
            )
        kinds = {page.kind for page in pages}
        if "number" in kinds and len(kinds) > 1 and scale is None:
            raise DataError(
                f"{source}: expected pictures with one kind of number; got some with 8 or 16 bits "
                "and some with 32 bits or floating-point. State their range: --range LOW HIGH."
            )
        kind = next(k for k in ("number", "word", "byte") if k in kinds)
        bands = {page.bands or 0 for page in pages} - {0, 1}
        if channels is None and bands:
            channels = max(bands)
        if channels is None:
            colour, alpha = any(p.colour for p in pages), any(p.alpha for p in pages)
            channels = (3 if colour else 1) + alpha
        mixed = bands and bands != {3} and any(page.bands is None for page in pages)
        if bands - {channels} or mixed:
            raise DataError(
                f"{source}: expected pictures with one number of channels; got "
                f"{sorted({page.bands or 1 for page in pages} | {channels or 1})}. Sort them into "
                "folders, or leave out --picture-channels."
            )
        return cls(
            size or pages[0].shape,
            size is not None,
            crop,
            channels,
            scale,
            kind,
            scale is not None,
        )

    @property
    def keeps_bytes(self) -> bool:
        """Whether the result is uint8."""
        return self.kind == "byte" and not self.asked

    def notes(self, pages: Sequence[Page]) -> list[str]:
        """Sentences on what is done to the pictures."""
        modes = Counter(page.mode for page in pages)
        shown = ", ".join(
            f"{count} {MODES.get(mode, f'of mode {mode}')}"
            for mode, count in sorted(modes.items())
        )
        channels = f"{self.channels} channel{'s' * (self.channels != 1)}"
        notes = [f"x: {len(pages)} pictures ({shown}), {channels}"]
        taken = list(dict.fromkeys(page.note for page in pages if page.note))
        notes += [*taken[:4], f"and so on, {len(taken)} files in all"] if len(taken) > 4 else taken
        if self.asked and self.scale is not None:
            notes.append(f"x: {self.scale[0]:g} to {self.scale[1]:g} scaled to [0, 1]")
        elif self.kind == "word":
            notes.append("x: 16 bits, 0 to 65535 scaled to [0, 1]; --range states another range")
            if any(page.kind == "byte" for page in pages):
                notes.append("x: 8 bits, 0 to 255 scaled to [0, 1]")
        elif self.kind == "number":
            notes.append("x: values as they are in the files; --range scales them to [0, 1]")
        else:
            notes.append("x: 8 bits, 0 to 255 scaled to [0, 1]")
        stacks = len({p.path for p in pages if p.number is not None and p.bands is None})
        if stacks:
            notes.append(f"x: each page of {stacks} files with several pages is a row")
        turned = sum(page.turned for page in pages)
        if turned:
            notes.append(f"x: {turned} pictures turned as their EXIF orientation says")
        others = Counter(page.shape for page in pages if page.shape != self.size)
        if self.resize and others:
            how = "cut to its proportions and resized" if self.crop else "stretched"
            notes.append(f"x: {sum(others.values())} pictures {how} to {self.size}")
        if any(p.colour for p in pages) and self.channels < 3:
            notes.append("x: colour turned to grey (luminance)")
        opaque = [p for p in pages if p.mode in ("LA", "RGBA", "PA") and not p.alpha]
        if opaque and self.channels in (1, 3):
            notes.append(f"x: the alpha channel of {len(opaque)} pictures, opaque, left out")
        if any(p.alpha for p in pages) and self.channels in (1, 3):
            notes.append("x: transparency left out")
        if any(p.mode == "CMYK" for p in pages):
            notes.append("x: CMYK turned to red, green, blue")
        return notes


def _refuse_sizes(source: str, pages: Sequence[Page]) -> None:
    from PIL import Image

    first = pages[0]
    for page in pages:
        if page.shape != first.shape:
            raise DataError(
                f"{source}: expected pictures of one size; {first.path.name} has {first.shape} "
                f"and {page.path.name} {page.shape}. Pass size=(height, width), or on the command "
                "line --size HEIGHT WIDTH; --crop cuts the middle instead of stretching."
            )
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and first.shape[0] * first.shape[1] > limit:
        raise DataError(
            f"{source}: expected pictures of at most {limit:,} pixels; got {first.path.name} with "
            f"{first.shape}. Pass size=(height, width), on the command line --size HEIGHT WIDTH."
        )
