"""Which column of a table of labels names the pictures, and how."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from ppvae import data
from ppvae.errors import DataError

BUFFER = io.BytesIO()
Image.new("L", (4, 4), 9).save(BUFFER, format="PNG")

FOUR = ["1.png", "10.png", "11.png", "2.png"]
INDEX = ",file,label\n{}1.png,a\n{}2.png,b\n{}10.png,a\n{}11.png,b\n"
# Pictures, a table, and the classes of the pictures in their order or the words of a refusal.
TABLES = {
    "no suffix": (FOUR, "id_code,diagnosis\n1,a\n2,b\n10,a\n11,b\n", "aabb"),
    "no suffix, a class of numbers": (FOUR, "id_code,y\n1,1\n2,2\n10,1\n11,2\n", "1122"),
    "zeros in front": (["01.png", "02.png"], "id,kind\n02,b\n01,a\n", "ab"),
    "a blank among numbers": (["1.png", "2.png"], "id,kind\n2,b\n,c\n1,a\n", "ab"),
    "folders without suffix": (["u/1.png", "v/1.png"], "id,kind\nu/1,a\nv/1,b\n", "ab"),
    "points in names": (["a.b.png", "a.c.png"], "id,kind\na.c,b\na.b,a\n", "ab"),
    "an index": (FOUR, INDEX.format("0,", "1,", "2,", "3,"), "aabb"),
    "an index of chosen rows": (FOUR, INDEX.format("7,", "2,", "5,", "3,"), "aabb"),
    "an index with the numbers of others": (FOUR, INDEX.format("2,", "1,", "11,", "10,"), "aabb"),
    "an index with a name": (
        FOUR,
        "index,file,animal\n0,1.png,a\n1,2.png,b\n2,10.png,a\n3,11.png,b\n",
        "aabb",
    ),
    "an index and no suffix": (
        ["1.png", "2.png", "3.png"],
        ",id,kind\n0,3,a\n1,2,b\n2,1,c\n",
        "cba",
    ),
    "an index that counts as the files do": (
        ["0.png", "1.png"],
        ",id,kind\n0,1,a\n1,0,b\n",
        "ba",
    ),
    "the class in front": (FOUR, "label,file\na,1.png\nb,2.png\na,10.png\nb,11.png\n", "aabb"),
    "the class in front, no suffix": (
        ["p1.png", "p2.png"],
        "label,id\na,p2\nb,p1\n",
        "ba",
    ),
    "two columns of files": (
        ["1.png", "2.png"],
        "label,left,right\na,1.png,2.png\nb,2.png,1.png\n",
        r"got \['left', 'right'\].*Make the one",
    ),
    "two columns without suffix": (
        ["1.png", "2.png"],
        "id,other,label\n1,2,a\n2,1,b\n",
        r"got \['id', 'other'\]",
    ),
    "one name of two pictures": (
        ["1.png", "1.bmp"],
        "id,label\n1,a\n2,b\n",
        r"got '1', which may be 1\.bmp or 1\.png",
    ),
    "a picture without a row": (
        FOUR,
        "id,label\n1,a\n2,b\n10,a\n",
        r"1 have none, .* 11\.png",
    ),
    "an index and no class": (
        ["1.png", "2.png"],
        ",file\n0,1.png\n1,2.png\n",
        "columns file",
    ),
    "other pictures": (["1.png", "2.png"], "id,label\np,a\nq,b\n", "2 have none"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_the_column_of_the_pictures_is_found(tmp_path, kind):
    files, text, expected = TABLES[kind]
    for name in files:
        path = tmp_path / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BUFFER.getvalue())
    (tmp_path / "l.csv").write_text(text)
    if len(expected) > len(files):
        with pytest.raises(DataError, match=expected):
            data.images(tmp_path / "p", labels=tmp_path / "l.csv")
        return
    read = data.images(tmp_path / "p", labels=tmp_path / "l.csv")
    names = read.names.get("y", "0123456789")
    assert "".join(names[code] for code in read["y"].tolist()) == expected
    assert any(note.startswith("l.csv: ") for note in read.notes)


def test_the_column_that_the_caller_names_is_not_that_of_the_pictures(tmp_path):
    for name in ("1", "2"):
        (tmp_path / f"{name}.png").write_bytes(BUFFER.getvalue())
    (tmp_path / "l.txt").write_text("id,grade\n1,2\n2,1\n")
    with pytest.raises(DataError, match=r"got \['id', 'grade'\]"):
        data.images(tmp_path, labels=tmp_path / "l.txt")
    read = data.images(tmp_path, labels=tmp_path / "l.txt", y="grade")
    assert read["y"].tolist() == [2, 1]
