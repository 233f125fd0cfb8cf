"""Files that end too early or are damaged are refused in words, not read as if complete."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from ppvae import data
from ppvae.data.cut_off import refuse_cut_off
from ppvae.errors import DataError

tifffile = pytest.importorskip("tifffile")
PAGES = (np.arange(6 * 40 * 40) % 4096).astype("u2").reshape(6, 40, 40)


def _pillow(path, pages, **_):
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=others)


def _tifffile(path, pages, *, axes="TYX", **options):
    named = {"metadata": {"axes": axes}} if path.name.endswith("ome.tif") else {}
    tifffile.imwrite(
        path, pages.reshape(3, 2, 40, 40) if axes == "TCYX" else pages, **named, **options
    )


@pytest.mark.parametrize(
    ("name", "save", "options"),
    [
        ("a.tif", _pillow, {}),
        ("a.tif", _tifffile, {}),
        ("a.tif", _tifffile, {"byteorder": ">"}),
        ("a.tif", _tifffile, {"bigtiff": True}),
        ("a.tif", _tifffile, {"compression": "zlib"}),
        ("a.ome.tif", _tifffile, {"axes": "TCYX"}),
    ],
)
def test_a_tiff_file_that_is_cut_off_is_refused(tmp_path, name, save, options):
    path = tmp_path / name
    save(path, PAGES, **options)
    assert data.load(path, seed=None).train.num_rows in (3, 6)
    content = path.read_bytes()
    for share in np.linspace(0.05, 0.98, 12):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            data.load(path)


def test_headers_behind_the_end_of_a_file_are_named(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PAGES)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"expected a complete file; got one that is cut off"):
        data.load(path)
    # Some programs write no place of a next header behind the last one.
    (place,) = struct.unpack("<I", content[4:8])
    (tags,) = struct.unpack("<H", content[place : place + 2])
    last = b"II*\0" + struct.pack("<I", len(content)) + content[8:]
    last += content[place : place + 2 + 12 * tags]
    path.write_bytes(last)
    refuse_cut_off(path)
    path.write_bytes(last[:-1])
    with pytest.raises(DataError, match="one that is cut off"):
        refuse_cut_off(path)
    # A circle of headers ends, and a file that is none is left to its reader.
    path.write_bytes(b"II*\0" + struct.pack("<IHI", 8, 0, 8) + b"\0" * 4)
    refuse_cut_off(path)
    path.write_bytes(b"GIF89a" + b"\0" * 20)
    refuse_cut_off(path)


def test_an_array_whose_header_is_damaged_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.ones((50, 4)))
    # An opening bracket where the header closes one: numpy's parser has an error of its own.
    (tmp_path / "a.npy").write_bytes(buffer.getvalue().replace(b"), }", b"(, }"))
    with pytest.raises(DataError, match=r"a\.npy: expected an array saved with numpy\.save"):
        data.load(tmp_path / "a.npy")


def test_digits_whose_compression_is_damaged_are_refused(tmp_path):
    import gzip

    from ppvae.data.mnist_files import _idx

    packed = bytearray(gzip.compress(b"\0\0\x08\x01\0\0\0\x04abcd" * 9))
    packed[12] ^= 255
    (tmp_path / "images.gz").write_bytes(bytes(packed))
    with pytest.raises(DataError, match=r"images\.gz: the file is damaged"):
        _idx(tmp_path, "images")
