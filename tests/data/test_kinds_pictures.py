"""Many kinds of pictures and folders of them: read with these values, or refused in words."""

from __future__ import annotations

import io
import os
import sys

import numpy as np
import pytest
from PIL import Image

from ppvae import data
from ppvae.errors import DataError, MissingPackageError


def _bytes(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _noise(mode="RGB"):
    values = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


GREY = _bytes(Image.new("L", (4, 4), 9), "PNG")
BROKEN = bytearray(GREY)
BROKEN[45] ^= 255
INF = Image.fromarray(np.array([[np.inf, 1], [2, 3]], np.float32))

# Files that cannot be read: what a folder holds beside a good picture.
DAMAGED = {
    **{
        f"a {kind} cut off": _bytes(_noise(), kind)[:3000]
        for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
    },
    "an empty file": b"",
    "text": b"hello",
    "a wrong checksum": bytes(BROKEN),
    "Lab": _bytes(Image.new("LAB", (4, 4)), "TIFF"),
    "infinity": _bytes(INF, "TIFF"),
    "another size": _bytes(Image.new("L", (5, 4)), "PNG"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_pictures_are_named(tmp_path, kind):
    (tmp_path / "good.png").write_bytes(
        _bytes(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
        if kind == "infinity"
        else GREY
    )
    (tmp_path / "strange.tif").write_bytes(DAMAGED[kind])
    with pytest.raises(DataError, match=r"strange\.tif|expected finite numbers"):
        data.images(tmp_path)


# Trees of folders: paths, and splits with classes, classes alone, or the words of the refusal.
TREES = {
    "one folder": (["1", "2"], None, None),
    "classes": (["a/1", "b/1"], None, [0, 1]),
    "classes in classes": (["a/x/1", "a/y/1", "b/1"], None, [0, 1, 2]),
    "splits": (["train/1", "test/1"], [2, 0], None),
    "splits above classes": (
        ["Training/a/1", "Training/b/1", "held-out/b/1"],
        [0, 0, 2],
        [0, 1, 1],
    ),
    "classes above splits": (["a/train/1", "a/test/1", "b/train/1"], [2, 0, 0], [0, 0, 1]),
    "one split": (["train/a/1", "train/b/1"], [0, 0], [0, 1]),
    "a class called test": (["control/1", "test/1"], None, [0, 1]),
    "a picture without a class": (["1", "a/1"], None, [-1, 0]),
    "splits with a name after them": (
        ["train_images/a/1", "train_images/b/1", "val2017/b/1"],
        [0, 0, 1],
        [0, 1, 1],
    ),
    "folders around splits": (["data/images/test/1", "data/images/train/1"], [2, 0], None),
    "folders around classes": (["data/a/1", "data/b/1"], None, [0, 1]),
    "splits below classes of classes": (
        ["a/x/train/1", "a/x/test/1", "b/x/train/1"],
        [2, 0, 0],
        [0, 0, 1],
    ),
    "a class called NA": (["EU/1", "NA/1"], None, [0, 1]),
    "no training data": (["val/1", "test/1"], "expected a folder train", None),
    "a folder beside splits": (["train/1", "test/1", "other/1"], "other", None),
    "splits with a name before them": (
        ["seg_train/a/1", "seg_train/b/1", "seg_test/b/1"],
        [2, 0, 0],
        [1, 0, 1],
    ),
    "splits with a number": (["train/a/1", "train/b/1", "test1/b/1"], [2, 0, 0], [1, 0, 1]),
    "splits in capitals": (["xTrain/1", "xTest/1"], [2, 0], None),
    "a folder beside splits with a name": (
        ["seg_train/a/1", "seg_test/a/1", "seg_pred/1"],
        "expected a folder train, and no other",
        None,
    ),
    "splits in several folders": (["train1/1", "train2/1", "test1/1"], "may be either", None),
    "splits and classes in one name": (["trainA/1", "trainB/1", "testA/1"], "may be either", None),
    "splits in short": (["imagesTr/1", "imagesTs/1"], "may be either", None),
    "splits of several sets": (["a_train/1", "a_test/1", "b_train/1"], "may be either", None),
    "classes with a word of a split": (
        ["train_station/1", "test_tube/1", "church/1", "farm/1"],
        None,
        [0, 1, 2, 3],
    ),
    "numbered classes": (["train1/1", "train2/1"], None, [0, 1]),
    "a picture beside splits": (["train/1", "test/1", "1"], "1.png", None),
}


@pytest.mark.parametrize("kind", TREES)
def test_trees(tmp_path, kind):
    paths, parts, classes = TREES[kind]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{path}.png").write_bytes(GREY)
    if isinstance(parts, str):
        with pytest.raises(DataError, match=parts):
            data.images(tmp_path)
        return
    read = data.images(tmp_path)
    assert (read["split"].tolist() if "split" in read else None) == parts
    assert (read["y"].tolist() if "y" in read else None) == classes


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_links_are_followed_once(tmp_path):
    folder, elsewhere = tmp_path / "p", tmp_path / "elsewhere"
    (folder / "a").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (folder / "a/1.png", elsewhere / "1.png"):
        path.write_bytes(GREY)
    os.symlink(elsewhere, folder / "b")
    os.symlink(folder, folder / "a/loop")
    read = data.images(folder)
    assert read.row_names.tolist() == ["a/1.png", "b/1.png"]
    os.symlink(tmp_path / "nowhere.png", folder / "a/2.png")
    with pytest.raises(DataError, match=r"a link to nothing, 'a/2\.png'"):
        data.images(folder)


def test_what_is_no_picture_is_said_and_so_are_folders_without(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/1.PNG").write_bytes(GREY)
    (tmp_path / "b/1.heic").write_bytes(b"123")
    said = " ".join(data.images(tmp_path).notes)
    assert "left out: 1 files that are no pictures, such as 1.heic" in said
    assert "left out: folders without pictures: b" in said
    (tmp_path / "l.csv").write_text("file,class\na/1.PNG,cat\na/2.PNG,dog\n")
    said = " ".join(data.images(tmp_path / "a", labels=tmp_path / "l.csv").notes)
    assert "1 rows without a picture, such as a/2.PNG" in said
    one = data.load(tmp_path / "a/1.PNG")
    assert one.train["x"].shape == (1, 1, 4, 4)


def test_a_picture_with_another_suffix_is_read_by_what_it_is(tmp_path):
    (tmp_path / "a.jpg").write_bytes(GREY)
    assert data.images(tmp_path)["x"].unique().tolist() == [9]


@pytest.mark.parametrize("width", [4, 5, 53])
def test_lines_of_any_length_are_read(tmp_path, width):
    values = np.random.default_rng(0).integers(0, 255, (3, width, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.bmp")  # A line has 4, 16 or 160 bytes.
    np.testing.assert_array_equal(data.images(tmp_path)["x"][0], values.transpose(2, 0, 1))


def _tiff(path, array, **options):
    pytest.importorskip("tifffile").imwrite(path, array, **options)


# TIFF files that Pillow alters, misreads or does not know.
STRANGE = {
    "8 bits, signed": (np.full((4, 4), -3, np.int8), {}, (1, 1, 4, 4), -3.0),
    "16 bits, signed": (np.full((4, 4), -5, np.int16), {}, (1, 1, 4, 4), -5.0),
    "32 bits, unsigned": (np.full((4, 4), 3 * 10**9, np.uint32), {}, (1, 1, 4, 4), 3e9),
    "half precision": (np.full((4, 4), 1.5, np.float16), {}, (1, 1, 4, 4), 1.5),
    "double precision": (np.full((4, 4), 1e-3, np.float64), {}, (1, 1, 4, 4), 1e-3),
    "big-endian": (
        np.full((4, 4), 6553, np.uint16),
        {"byteorder": ">"},
        (1, 1, 4, 4),
        6553 / 65535,
    ),
    "16 bits, colour": (
        np.full((4, 4, 3), 6553, np.uint16),
        {"photometric": "rgb"},
        (1, 3, 4, 4),
        6553 / 65535,
    ),
    "five bands": (
        np.full((4, 4, 5), 51, np.uint8),
        {"photometric": "minisblack", "planarconfig": "contig"},
        (1, 5, 4, 4),
        51,
    ),
    "two channels": (
        np.full((4, 4, 2), 51, np.uint8),
        {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [0]},
        (1, 2, 4, 4),
        51,
    ),
    "two channels in planes": (
        np.full((2, 4, 4), 51, np.uint8),
        {"photometric": "minisblack", "planarconfig": "separate", "extrasamples": [0]},
        (1, 2, 4, 4),
        51,
    ),
    "colour and a channel": (
        np.full((4, 4, 4), 51, np.uint8),
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
        (1, 4, 4, 4),
        51,
    ),
    "colour, transparency and a channel": (
        np.full((4, 4, 5), 51, np.uint8),
        {
            "photometric": "rgb",
            "planarconfig": "contig",
            "extrasamples": ["unassalpha", "unspecified"],
        },
        (1, 5, 4, 4),
        51,
    ),
    "OME, times and channels": (
        np.full((2, 3, 4, 5), 6553, np.uint16),
        {"ome": True, "metadata": {"axes": "TCYX"}},
        (2, 3, 4, 5),
        6553 / 65535,
    ),
    "ImageJ, sections and channels": (
        np.full((2, 3, 4, 5), 6553, np.uint16),
        {"imagej": True, "metadata": {"axes": "ZCYX"}},
        (2, 3, 4, 5),
        6553 / 65535,
    ),
    "white is 0": (np.full((4, 4), 10, np.uint16), {"photometric": "miniswhite"}, "0 is white", 0),
    "complex": (np.full((4, 4), 1j, np.complex64), {}, "real numbers", 0),
    "a palette, lying": (
        np.full((4, 4), 1, np.uint8),
        {
            "photometric": "palette",
            "colormap": np.zeros((3, 256), np.uint16),
            "extratags": [(274, "H", 1, 6, True)],
        },
        "numbers of a palette",
        0,
    ),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_tiff_files_keep_their_values_and_axes(tmp_path, kind):
    array, options, shape, value = STRANGE[kind]
    _tiff(tmp_path / "a.tif", array, **options)
    if isinstance(shape, str):
        with pytest.raises(DataError, match=shape):
            data.images(tmp_path)
        return
    read = data.images(tmp_path)
    assert read["x"].shape == shape
    np.testing.assert_allclose(read["x"].double().unique().tolist(), [value], rtol=1e-6)
    if array.ndim == 4:
        assert any("taken as 2 rows, 3 channels" in note for note in read.notes)
        with pytest.raises(DataError, match="one number of channels"):
            data.images(tmp_path, channels=1)
        small = data.images(tmp_path, size=(2, 2))["x"]
        np.testing.assert_allclose(small.double().numpy(), value, rtol=1e-5)


def test_every_page_of_a_tiff_keeps_its_channels(tmp_path):
    with pytest.importorskip("tifffile").TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.full((4, 4), 7, np.uint8))
        file.write(np.full((4, 4, 2), 7, np.uint8), photometric="minisblack", extrasamples=[0])
    with pytest.raises(DataError, match=r"a\.tif: expected pictures of one shape"):
        data.images(tmp_path)


def test_a_tiff_cut_off_is_refused(tmp_path):
    _tiff(tmp_path / "a.tif", np.ones((40, 40, 3), np.uint16), photometric="rgb")
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"a\.tif: expected a picture that tifffile reads"):
        data.images(tmp_path)


def _ome(path, rows, planes):
    """An OME-TIFF with ``rows`` pictures of 2 channels, its planes in files by name."""
    pictures = "".join(
        f'<TiffData IFD="{ifd}" FirstT="{t}" FirstC="{c}" FirstZ="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for (t, c, ifd, name) in planes
    )
    sizes = 'SizeX="4" SizeY="4" SizeZ="1" SizeC="2"'
    text = (
        f'<OME UUID="urn:uuid:{path.name}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYZCT" Type="uint16" {sizes} SizeT="{rows}">{pictures}</Pixels>'
        "</Image></OME>"
    )
    own = sum(name == path.name for *_, name in planes)
    with pytest.importorskip("tifffile").TiffWriter(path) as file:
        for number in range(own):
            description = None if number else text
            file.write(np.full((4, 4), 9, np.uint16), description=description, metadata=None)


@pytest.mark.parametrize("other", ["c.ome.tif", "../out/b.ome.tif", "absent.ome.tif"])
def test_an_ome_tiff_of_several_files_is_refused(tmp_path, other):
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    mine = (0, 0, 0, "a.ome.tif")
    _ome(tmp_path / "out" / "b.ome.tif", 1, [(0, 0, 0, "b.ome.tif")])
    _ome(tmp_path / "in" / "c.ome.tif", 1, [mine, (0, 1, 0, "c.ome.tif")])
    _ome(tmp_path / "in" / "a.ome.tif", 1, [mine, (0, 1, 0, other)])
    with pytest.raises(DataError, match="its description names other files, which are not read"):
        data.images(tmp_path / "in")


def test_pictures_that_an_ome_tiff_lacks_are_no_zeros(tmp_path):
    planes = [(t, c, 2 * t + c, "a.ome.tif") for t in range(2) for c in range(2)]
    _ome(tmp_path / "a.ome.tif", 2, planes)
    assert data.images(tmp_path)["x"].shape == (2, 2, 4, 4)
    _ome(tmp_path / "a.ome.tif", 5, planes)
    with pytest.raises(DataError, match="expected all pictures of its description; 6 are not"):
        data.images(tmp_path)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("bands", [1, 3])
def test_orientation_is_followed_in_every_tiff(tmp_path, tag, bands):
    upright = np.arange(6 * bands).reshape(2, 3, bands)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: upright[:, ::-1].swapaxes(0, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: upright[::-1].swapaxes(0, 1),
    }[tag]
    values = np.ascontiguousarray(stored, np.uint16).squeeze()
    kind = "rgb" if bands == 3 else "minisblack"
    _tiff(tmp_path / "a.tif", values, photometric=kind, extratags=[(274, "H", 1, tag, True)])
    read = data.images(tmp_path, range=(0, 1))["x"]
    np.testing.assert_array_equal(read[0].numpy(), upright.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [None, (8, 8)])
def test_reduced_copies_in_a_tiff_are_no_rows(tmp_path, size):
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.full((16, 16), 7, np.uint8))
        file.write(np.full((8, 8), 7, np.uint8), subfiletype=1)
    read = data.images(tmp_path, size=size)
    assert read["x"].shape == (1, 1, *(size or (16, 16)))
    assert any("1 reduced copies or masks in a.tif left out" in note for note in read.notes)


@pytest.mark.parametrize(("kind", "bands"), [(2, 1), (5, 1), (3, 3), (6, 3)])
@pytest.mark.parametrize("top", [1023, 65535])
def test_deep_netpbm_files_keep_their_values(tmp_path, kind, bands, top):
    values = np.linspace(0, top, 6 * bands).astype(np.uint16).reshape(2, 3, bands)
    header = f"P{kind}\n# a comment\n3 2\n{top}\n".encode()
    text = " ".join(map(str, values.reshape(-1))).encode()
    path = tmp_path / f"a.{'pgm' if bands == 1 else 'ppm'}"
    path.write_bytes(header + (text if kind in (2, 3) else values.astype(">u2").tobytes()))
    read = data.images(tmp_path, range=(0, top))["x"]
    np.testing.assert_allclose(read[0], values.transpose(2, 0, 1) / top, rtol=1e-6)
    assert data.images(tmp_path)["x"].max() == np.float32(top / 65535)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=f"{path.name}: expected {6 * bands} numbers up to {top}"):
        data.images(tmp_path)


def test_one_folder_that_a_run_knows_is_a_class(tmp_path):
    for name in ("1", "2"):
        (tmp_path / "dog").mkdir(exist_ok=True)
        (tmp_path / "dog" / f"{name}.png").write_bytes(GREY)
    like = {"y": {"names": ["cat", "dog"], "classes": 2}}
    assert data.images(tmp_path, like=like)["y"].tolist() == [1, 1]
    assert "y" not in data.images(tmp_path)


def _mrc(path):
    with pytest.importorskip("mrcfile").new(path) as file:
        file.set_data(np.arange(24, dtype=np.float32).reshape(2, 3, 4))


def _nifti(path):
    nibabel = pytest.importorskip("nibabel")
    volume = np.arange(24, dtype=np.int16).reshape(3, 4, 2, order="F")
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)


def _emd(path):
    emd = pytest.importorskip("rsciio.emd")
    axes = [
        {
            "name": n,
            "size": s,
            "index_in_array": i,
            "navigate": i == 0,
            "scale": 1.0,
            "offset": 0.0,
            "units": "nm",
        }
        for i, (n, s) in enumerate((("t", 2), ("y", 3), ("x", 4)))
    ]
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    about = {"metadata": {"General": {"title": "t"}, "Signal": {}}, "original_metadata": {}}
    lazy = {"attributes": {"_lazy": False}, "models": {}, "learning_results": {}}
    emd.file_writer(str(path), {"data": values, "axes": axes, "package": "", **about, **lazy})


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.mrc", _mrc), ("a.nii", _nifti), ("a.nii.gz", _nifti), ("a.emd", _emd)],
)
def test_stacks_of_microscopes_and_scanners(tmp_path, name, write):
    write(tmp_path / name)
    read = data.images(tmp_path)
    assert read["x"].shape == (2, 1, 3, 4)
    if "nii" in name:  # A slice [:, :, k] is a picture.
        expected = np.arange(24).reshape(3, 4, 2, order="F").transpose(2, 0, 1)
    else:
        expected = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(read["x"][:, 0].numpy(), expected)
    assert read.row_names.tolist() == [f"{name}[0]", f"{name}[1]"]
    assert any("taken as 2 rows" in note for note in read.notes)
    assert data.files.rows(tmp_path / name)["x"].shape == (2, 1, 3, 4)
    scaled = data.images(tmp_path, range=(0, 23))["x"]
    assert scaled.min() == 0
    assert scaled.max() == 1
    cut = (tmp_path / name).read_bytes()[:-20] if name != "a.emd" else b"abc"
    (tmp_path / name).write_bytes(cut)
    with pytest.raises(DataError, match=f"{name}: expected a picture that"):
        data.images(tmp_path)


@pytest.mark.parametrize("name", ["a.dm3", "a.dm4"])
def test_damaged_micrographs_are_refused(tmp_path, name):
    pytest.importorskip("rsciio")
    for content in (b"", b"hello" * 500):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: expected a picture that rsciio reads"):
            data.images(tmp_path)


@pytest.mark.parametrize(
    ("name", "package"),
    [("a.mrc", "mrcfile"), ("a.nii", "nibabel"), ("a.dm4", "rsciio"), ("a.tif", "tifffile")],
)
def test_a_package_that_is_absent_is_named(tmp_path, monkeypatch, name, package):
    if name == "a.tif":
        _tiff(tmp_path / name, np.full((4, 4), -3, np.int8))
    else:
        (tmp_path / name).write_bytes(b"abc")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"package '{package}'.*ppvae\[images\]"):
        data.images(tmp_path)
