"""What holds for any picture, split, mask and micrograph, whatever way it is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ppvae import data
from ppvae.data import Dataset
from ppvae.data.words import PARTS
from ppvae.errors import DataError
from tests.data.gatan import KINDS, write_gatan

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5))
BYTES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
SUFFIXES = {
    "L": ("png", "tif", "bmp", "pgm"),
    "LA": ("png", "tif"),
    "RGB": ("png", "tif", "bmp", "ppm", "webp"),
    "RGBA": ("png", "tif", "webp"),
    "I;16": ("png", "tif", "pgm"),
    "I": ("tif",),
    "F": ("tif",),
}
TYPES = {"I;16": np.uint16, "I": np.int32, "F": np.float32}


def _saved(path: Path, mode: str, values: np.ndarray) -> np.ndarray:
    """Write a picture and return its values (C, H, W) as a model gets them."""
    options = {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
    if path.suffix == ".pgm" and mode == "I;16":
        header = f"P5 {values.shape[1]} {values.shape[0]} 65535\n".encode()
        path.write_bytes(header + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values[..., 0] if mode == "L" else values).save(path, **options)
    if mode in BYTES:
        return values.transpose(2, 0, 1) / 255
    return values[None] / (65535 if mode == "I;16" else 1)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_picture_of_any_mode_keeps_its_values(tmp_path_factory, draw):
    mode = draw.draw(st.sampled_from(sorted(SUFFIXES)))
    suffix = draw.draw(st.sampled_from(SUFFIXES[mode]))
    size = draw.draw(SHAPES)
    if mode in BYTES:
        values = draw.draw(arrays(np.uint8, (*size, BYTES[mode])))
    else:
        # Numbers that float32, in which pictures of other types are read, keeps exactly.
        small = st.integers(-(2**24), 2**24) if mode == "I" else None
        number = st.floats(-(2.0**99), 2.0**99, width=32) if mode == "F" else small
        values = draw.draw(arrays(TYPES[mode], size, elements=number))
    folder = tmp_path_factory.mktemp("p")
    expected = _saved(folder / f"a.{suffix}", mode, values)
    x = data.images(folder).batch(slice(None))["x"][0].numpy()
    if mode in ("LA", "RGBA") and bool((values[..., -1] == 255).all()):
        expected = expected[:-1]  # An opaque channel is left out, with a note.
    np.testing.assert_allclose(x, expected, rtol=1e-6)
    stretched = data.images(folder, range=(-10, 300)).batch(slice(None))["x"][0].numpy()
    scale = 255 if mode in BYTES else 65535 if mode == "I;16" else 1
    np.testing.assert_allclose(stretched, (expected * scale + 10) / 310, rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from(["L", "RGB", "LA", "RGBA", "P", "1", "I;16"]), min_size=1, max_size=4)
)
def test_pictures_of_several_modes_have_one_number_of_channels(tmp_path_factory, modes):
    folder = tmp_path_factory.mktemp("p")
    rng = np.random.default_rng(len(modes))
    grey, channels = True, 1
    for i, mode in enumerate(modes):
        values = rng.integers(1, 200, (4, 4), dtype=np.uint8)
        picture = Image.fromarray(values.astype(np.uint16) if mode == "I;16" else values)
        if mode in ("RGB", "RGBA"):
            colours = rng.integers(1, 200, (4, 4, BYTES[mode]), dtype=np.uint8)
            picture, grey = Image.fromarray(colours), False
        elif mode == "LA":
            picture = Image.merge("LA", [picture, Image.fromarray(values)])
        elif mode != "I;16":
            picture = picture.convert(mode)
        picture.save(folder / f"{i}.png")
    channels = (1 if grey else 3) + any(mode in ("LA", "RGBA") for mode in modes)
    read = data.images(folder)
    x = read.batch(slice(None))["x"]
    assert x.shape == (len(modes), channels, 4, 4)
    assert 0 <= x.min() <= x.max() <= 1
    for i, mode in enumerate(modes):
        if mode in ("L", "P", "1", "I;16") and channels > 2:
            assert bool((x[i, 0] == x[i, 1]).all())  # Grey as colour.
        if mode in ("L", "RGB", "P", "1") and channels in (2, 4):
            assert bool((x[i, -1] == 1).all())  # Opaque.


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=7).filter(lambda p: 0 in p), st.data())
def test_a_split_is_the_same_in_any_file(tmp_path_factory, parts, draw):
    folder = tmp_path_factory.mktemp("s")
    words = {part: sorted(w for w, p in PARTS.items() if p == part) for part in range(3)}
    chosen = [draw.draw(st.sampled_from(words[part])) for part in parts]
    written = [draw.draw(st.sampled_from([w, w.upper(), w.title(), f" {w} "])) for w in chosen]
    x = np.arange(len(parts))[:, None] + 0.5
    for split, name in ((written, "words"), (parts, "numbers")):
        pd.DataFrame({"a": x[:, 0], "split": split}).to_csv(folder / f"{name}.csv", index=False)
        np.savez(folder / f"{name}.npz", x=x, split=np.array(split))
    pictures = folder / "pictures"
    labels = ["file,split"]
    for i, part in enumerate(parts):
        place = pictures / {0: "train", 1: "val", 2: "test"}[part]
        place.mkdir(parents=True, exist_ok=True)
        (folder / "flat").mkdir(exist_ok=True)
        picture = Image.fromarray(np.full((2, 2), i, np.uint8))
        picture.save(place / f"{i}.png")
        picture.save(folder / "flat" / f"{i}.png")
        labels.append(f"{i}.png,{written[i]}")
    (folder / "l.csv").write_text("\n".join(labels) + "\n")
    reads = [data.load(folder / f"{n}.{s}") for n in ("words", "numbers") for s in ("csv", "npz")]
    reads.append(data.load(folder / "flat", labels=folder / "l.csv"))
    if len(set(parts)) > 1:  # One folder alone is read as any other.
        reads.append(data.load(pictures))
    for splits in reads:
        rows = [
            sorted({int(v) for v in part["x"].reshape(part.num_rows, -1)[:, 0]}) if part else []
            for part in splits
        ]
        assert rows == [[i for i, p in enumerate(parts) if p == part] for part in range(3)]


@settings(max_examples=15, deadline=None)
@given(
    arrays(bool, (6, 5, 7), elements=st.booleans()),
    st.sampled_from([bool, np.uint8, np.float32, np.int64]),
    st.sampled_from(["values", "rows", "file"]),
)
def test_a_mask_of_a_mapped_array_is_read_by_rows(tmp_path_factory, mask, kind, where):
    folder = tmp_path_factory.mktemp("m")
    x = np.arange(6 * 35, dtype=np.float32).reshape(6, 5, 7)
    mask = mask[:, 0, 0] if where == "rows" else mask
    np.save(folder / "x.npy", x)
    np.save(folder / "mask.npy", mask.astype(kind))
    np.savez(folder / "a.npz", x=x, mask=mask.astype(kind))
    if where == "file":
        read = data.npy(folder / "x.npy", mask=folder / "mask.npy")
    else:
        read = Dataset({"x": np.load(folder / "x.npy", mmap_mode="r")[:, None], "mask": mask})
    assert read.mapped
    whole = data.npz(folder / "a.npz")
    order = np.array([4, 1, 1, 5])
    for some, same in ((read, whole), (read.take(order), whole.take(order))):
        expected = same.batch(slice(None))["x"].numpy()
        np.testing.assert_array_equal(some.batch(slice(None))["x"].numpy(), expected)
    assert read.spec["x"].get("missing") == whole.spec["x"].get("missing")


@pytest.mark.parametrize("values", [255, 0.5])
def test_a_mapped_mask_has_zeros_and_ones(tmp_path, values):
    np.save(tmp_path / "x.npy", np.ones((6, 3)))
    np.save(tmp_path / "mask.npy", np.full((6, 3), values))
    with pytest.raises(DataError, match=f"got {values:g}"):
        data.npy(tmp_path / "x.npy", mask=tmp_path / "mask.npy")


@pytest.mark.parametrize("suffix", ["dm3", "dm4"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
@pytest.mark.parametrize("kind", KINDS)
def test_micrographs_keep_their_values(tmp_path, kind, shape, suffix):
    pytest.importorskip("rsciio")
    values = np.arange(np.prod(shape)).reshape(shape).astype(kind) - (kind[0] in "if") * 5
    write_gatan(tmp_path / f"a.{suffix}", values.astype(kind))
    read = data.load(tmp_path / f"a.{suffix}", seed=None).train
    top = {"uint8": 255, "uint16": 65535}.get(kind, 1)
    x = read.batch(slice(None))["x"].double().numpy() * top
    np.testing.assert_allclose(x, values.reshape(-1, 1, 3, 4), rtol=1e-6)


@pytest.mark.parametrize("suffix", ["dm3", "dm4"])
def test_micrographs_in_colour_and_spectral_images(tmp_path, suffix):
    pytest.importorskip("rsciio")
    colours = np.zeros((3, 4), [(band, "u1") for band in "BGRA"])
    colours["R"], colours["G"], colours["B"] = 10, 20, 30
    write_gatan(tmp_path / f"a.{suffix}", colours)
    read = data.images(tmp_path / f"a.{suffix}")
    assert read["x"][0, :, 0, 0].tolist() == [10, 20, 30]
    assert "x: the channel A of records left out" in " ".join(read.notes)
    write_gatan(tmp_path / f"a.{suffix}", np.zeros((5, 3, 4), np.float32), spectral=True)
    with pytest.raises(DataError, match=rf"a\.{suffix}: expected one picture, or a stack"):
        data.images(tmp_path / f"a.{suffix}")
