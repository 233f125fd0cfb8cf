"""TIFF files whose first header describes pictures, axes or meanings that Pillow does not see."""

from __future__ import annotations

import numpy as np
import pytest

from ppvae import data
from ppvae.data.headers import stated_in
from ppvae.errors import DataError

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
SHAPE = (16, 12)


def _values(*shape, dtype="u1"):
    return RNG.integers(0, 256, shape).astype(dtype)


def _pixels(path, **options):
    """The rows of a file with the values that are in it."""
    return data.load(path, seed=None, range=(0, 1), **options).train["x"].numpy()


@pytest.mark.parametrize("number", ["u1", "u2", "f4"])
@pytest.mark.parametrize("imagej", [True, False])
@pytest.mark.parametrize("axes", ["ZYX", "TYX", "TCYX", "TYXS"])
def test_a_stack_with_one_header_has_all_of_its_pictures(tmp_path, number, imagej, axes):
    if axes == "TYXS" and number != "u1":
        pytest.skip("no colour with more than 8 bits in ImageJ")
    shape = {"ZYX": (5, *SHAPE), "TYX": (5, *SHAPE), "TCYX": (3, 2, *SHAPE)}.get(
        axes, (5, *SHAPE, 3)
    )
    array = _values(*shape, dtype=number)
    kind = "rgb" if axes[-1] == "S" else "minisblack"
    tifffile.imwrite(
        tmp_path / "a.tif",
        array,
        truncate=True,
        imagej=imagej,
        photometric=kind,
        metadata={"axes": axes},
    )
    wanted = np.moveaxis(array, -1, 1) if axes[-1] == "S" else array
    wanted = wanted[:, None] if wanted.ndim == 3 else wanted
    np.testing.assert_array_equal(_pixels(tmp_path / "a.tif"), wanted)


def test_headers_of_several_stacks_are_counted_each(tmp_path):
    first, second = _values(5, *SHAPE), _values(5, *SHAPE)
    tifffile.imwrite(tmp_path / "a.tif", first, truncate=True)
    with tifffile.TiffWriter(tmp_path / "a.tif", append=True) as file:
        file.write(second)
    read = _pixels(tmp_path / "a.tif")
    np.testing.assert_array_equal(read[:, 0], np.concatenate([first, second]))


@pytest.mark.parametrize("imagej", [True, False])
def test_a_stack_with_one_header_that_is_cut_off_is_refused(tmp_path, imagej):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _values(5, *SHAPE), truncate=True, imagej=imagej)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"a\.tif: expected 5 pictures, as its description states"):
        data.load(path)


@pytest.mark.parametrize(
    "text",
    [
        "ImageJ=1.53t\nimages=6\nslices=6\n",
        "ImageJ=1.53t\nchannels=3\nslices=2\n",
        '{"shape": [6, 16, 12]}',
    ],
)
def test_a_page_that_was_taken_out_of_a_stack_is_read_with_a_note(tmp_path, text):
    array = _values(*SHAPE)
    tifffile.imwrite(tmp_path / "a.tif", array, description=text, metadata=None)
    read = data.load(tmp_path / "a.tif", seed=None).train
    np.testing.assert_array_equal(read["x"][0, 0].numpy(), array)
    assert any("a.tif has 1 picture, where its description states 6" in n for n in read.notes)


@pytest.mark.parametrize("number", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize(
    ("axes", "shape", "order"),
    [
        ("TCYX", (3, 2, 16, 12), (0, 1, 2, 3)),
        ("CTYX", (2, 3, 16, 12), (1, 0, 2, 3)),
        ("CYX", (2, 16, 12), (0, 1, 2)),
        ("YXC", (16, 12, 2), (2, 0, 1)),
        ("ZYX", (5, 16, 12), (0, 1, 2)),
        ("YXZ", (16, 12, 5), (2, 0, 1)),
    ],
)
def test_axes_that_tifffile_names_are_followed(tmp_path, number, axes, shape, order):
    array = _values(*shape, dtype=number)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", metadata={"axes": axes})
    wanted = array.transpose(order)
    if wanted.ndim == 3:
        wanted = wanted[None] if "C" in axes else wanted[:, None]
    np.testing.assert_array_equal(_pixels(tmp_path / "a.tif"), wanted)


def test_planes_of_metamorph_are_rows(tmp_path):
    array = _values(3, *SHAPE)
    tags = [(33628, 4, 2, (9999, 0), True), (33629, 5, 3, (1, 2, 3, 4, 5, 6), True)]
    tifffile.imwrite(tmp_path / "a.tif", array[0], metadata=None, extratags=tags)
    with (tmp_path / "a.tif").open("ab") as file:
        file.write(array[1:].tobytes())
    np.testing.assert_array_equal(_pixels(tmp_path / "a.tif")[:, 0], array)


def test_depth_in_one_page_is_rows(tmp_path):
    array = _values(2, 16, 32, 32)
    kind = {"volumetric": True, "tile": (16, 16, 16), "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", array, **kind)
    np.testing.assert_array_equal(_pixels(tmp_path / "a.tif")[:, 0], array.reshape(-1, 32, 32))


def test_series_of_two_types_are_scaled_each_by_its_own(tmp_path):
    small, large = _values(2, *SHAPE), _values(2, *SHAPE, dtype="u2")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for series in (small, large):
            file.write(series, metadata={"axes": "CYX"})
    read = data.load(tmp_path / "a.ome.tif", seed=None).train
    np.testing.assert_allclose(read["x"][0], small / 255, rtol=1e-6)
    np.testing.assert_allclose(read["x"][1], large / 65535, rtol=1e-6)
    assert {"x: 8 bits, 0 to 255 scaled to [0, 1]"} <= {*read.notes}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for series in (small, large.astype("f4")):
            file.write(series, metadata={"axes": "CYX"})
    with pytest.raises(DataError, match="expected pictures with one kind of number"):
        data.load(tmp_path / "a.ome.tif")
    assert _pixels(tmp_path / "a.ome.tif").shape == (2, 2, *SHAPE)


# What a second page is, and the words of its refusal.
LATER = {
    "white is 0": ({"photometric": "miniswhite"}, "0 is white"),
    "a palette": (
        {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
        "numbers of a palette",
    ),
    "turned": ({"extratags": [(274, "H", 1, 3, True)]}, "turned alike"),
}


@pytest.mark.parametrize("kind", LATER)
@pytest.mark.parametrize("first", [True, False])
def test_every_page_is_looked_at(tmp_path, kind, first):
    options, words = LATER[kind]
    pages = [(_values(*SHAPE, dtype="i1"), {}), (_values(*SHAPE), options)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for array, given in reversed(pages) if first else pages:
            file.write(array, **{"photometric": "minisblack", **given})
    with pytest.raises(DataError, match=rf"a\.tif: expected .*{words}"):
        data.load(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("kind", "bands", "words"), [("separated", 4, "inks"), ("cielab", 3, "got Lab")]
)
def test_numbers_that_are_no_light_are_refused(tmp_path, kind, bands, words):
    tifffile.imwrite(tmp_path / "a.tif", _values(*SHAPE, bands, dtype="u2"), photometric=kind)
    with pytest.raises(DataError, match=words):
        data.load(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("text", "pictures", "named"),
    [
        ("", 0, False),
        ("a stack of five", 0, False),
        ('{"shape": [16, 12]}', 1, False),
        ('{"shape": [5, 16, 12]}\0\0', 5, False),
        ('{"shape": [5, 16, 12], "axes": "CYX"}', 5, True),
        ('{"shape": [5, 16, 12], "axes": "YX"}', 5, False),
        ('{"shape": [5, 32, 24]}', 0, False),
        ('{"shape": "wide"}', 0, False),
        ('{"shape": [5, 16', 0, False),
        ("shape=(5, 16, 12)", 5, False),
        ("ImageJ=1.53\nimages=7\n", 7, False),
        ("ImageJ=1.53\nimages=6\nslices=3\nframes=2\n", 6, False),
        ("ImageJ=1.53\nimages=6\nchannels=2\nslices=3\n", 6, True),
        ('<OME><Pixels SizeC="1" SizeT="2" SizeZ="3"/></OME>', 6, False),
        ("<ome:OME><ome:Pixels SizeC='2' SizeT='1' SizeZ='3'/></ome:OME>", 6, True),
        ("<OME><Pixels SizeC='2' SizeT='1' SizeZ='3'/></OME>", 6, True),
    ],
)
def test_what_descriptions_state(text, pictures, named):
    stated = stated_in(text, SHAPE, 1)
    assert (stated.pictures, stated.named) == (pictures, named)
