"""Many kinds of tables, one row each: read with these values, or refused in these words."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import lzma
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppvae import data
from ppvae.errors import DataError

NAN = math.nan
ALL = {"missing_ok": ("x",)}
COUNTED = "a,b\n" + "".join(f"{i},{i * 7 % 13}\n" for i in range(50_000))

# What it is: name of the file, its content, options, and x or the words of the refusal.
TEXTS = {
    "UTF-8 with a mark": ("t.csv", b"\xef\xbb\xbfa,b\n1,2\n", {}, [[1, 2]]),
    "UTF-16": ("t.csv", "a,b\n1,2\n".encode("utf-16"), {}, [[1, 2]]),
    "Latin-1": ("t.csv", "gr\xf6\xdfe,b\n1,2\n".encode("latin-1"), {}, "as UTF-8"),
    "line ends of Windows": ("t.csv", b"a,b\r\n1,2\r\n3,4\r\n", {}, [[1, 2], [3, 4]]),
    "line ends of an old Mac": ("t.csv", b"a,b\r1,2\r3,4\r", {}, [[1, 2], [3, 4]]),
    "line ends mixed": ("t.csv", b"a,b\r\n1,2\n3,4\r5,6\n", {}, [[1, 2], [3, 4], [5, 6]]),
    "a separator in quotes": ("t.csv", b'a,"b,c"\n1,2\n', {}, [[1, 2]]),
    "a line end in quotes": ("t.csv", b'a,b,note\n1,2,"x\ny"\n3,4,z\n', {}, [[1, 2], [3, 4]]),
    "numbers in quotes": ("t.csv", b'"a","b"\n"1","2"\n', {}, [[1, 2]]),
    "blank lines": ("t.csv", b"\na,b\n\n1,2\n\n3,4\n\n", {}, [[1, 2], [3, 4]]),
    "semicolons, decimal commas": ("t.csv", b"a;b\n1,5;2\n2,25;4\n", {}, [[1.5, 2], [2.25, 4]]),
    "bars": ("t.csv", b"a|b\n1|2\n", {}, [[1, 2]]),
    "tabs": ("t.tsv", b"a\tb\n1\t2\n", {}, [[1, 2]]),
    "spaces": ("t.txt", b"a  b\n1   2\n3 4\n", {}, [[1, 2], [3, 4]]),
    "a name in capitals": ("T.CSV", b"a,b\n1,2\n", {}, [[1, 2]]),
    "a separator at the ends": ("t.csv", b"a,b,\n1,2,\n3,4,\n", {}, [[1, 2], [3, 4]]),
    "exponents": ("t.csv", b"a,b\n1e3,-2.5E-1\n", {}, [[1000, -0.25]]),
    "units in the header": ("t.csv", b"a (cm),b [kg]\n1,2\n", {}, [[1, 2]]),
    "wavelengths as header": ("t.csv", b"400.5,401,402\n1,2,3\n", {}, [[1, 2, 3]]),
    "years as header": (
        "t.csv",
        b"id,2019,2020\nu,2018,2021\nv,2020,2019\n",
        {},
        [[2018, 2021], [2020, 2019]],
    ),
    "names behind a hash": ("t.csv", b"# y,a,b\n1,2,3\n0,5,6\n", {}, [[2, 3], [5, 6]]),
    "booleans": ("t.csv", b"a,b\nTrue,2\nFalse,3\n", {}, [[1, 2], [0, 3]]),
    "dates beside numbers": ("t.csv", b"a,b\n2024-01-01,2\n2024-01-02,3\n", {}, [[2], [3]]),
    "names of rows": ("t.csv", b"id,a\nr1,2\nr2,3\n", {}, [[2], [3]]),
    "numbers of rows": ("t.csv", b",a\n0,2\n1,3\n", {}, [[2], [3]]),
    "identifiers of rows": (
        "t.csv",
        b"sample_id,a\n1001,2\n1007,3\n1002,5\n",
        {},
        [[2], [3], [5]],
    ),
    "missing, let through": ("t.csv", b"a,b\n,2\n13,NA\n", ALL, [[NAN, 2], [13, NAN]]),
    "missing, written so": (
        "t.csv",
        b"a,b\n.,2\n13,3\n",
        {**ALL, "na": (".",)},
        [[NAN, 2], [13, 3]],
    ),
    "a column of missing": ("t.csv", b"a,b\n,2\n,3\n", ALL, [[NAN, 2], [NAN, 3]]),
    "a mask, one per row": ("t.csv", b"a,b,mask\n1,2,1\n3,4,0\n", {}, [[1, 2], [NAN, NAN]]),
    "digits in groups, stated": (
        "t.csv",
        b'a,b\n"1,234",2\n"5,678,901",4\n',
        {"thousands": ","},
        [[1234, 2], [5678901, 4]],
    ),
    "groups and decimals, stated": (
        "t.csv",
        b"a;b;day ;d\n1.234,5;2,5;12.03.2020;1\n5;0,25;;2.345.678\n",
        {"thousands": ".", "decimal": ","},
        [[1234.5, 2.5, 1], [5, 0.25, 2345678]],
    ),
    "a decimal for a sign of thousands": (
        "t.csv",
        b"a;b\n1.234,5;2.5\n2,5;0.25\n",
        {"thousands": ".", "decimal": ","},
        "groups of three digits; got '2.5' in row 0 of column 'b'",
    ),
    "decimal commas for signs of thousands": (
        "t.csv",
        b"a;b\n1,5;2\n12,34;3\n",
        {"thousands": ","},
        "groups of three digits; got '1,5' in row 0 of column 'a'",
    ),
    "decimal comma, stated": ("t.csv", b"a;b\n1,234;2\n", {"decimal": ","}, [[1.234, 2]]),
    "whole numbers beyond 2^24": (
        "t.csv",
        b"a,b\n16777217,2\n16777216,3\n",
        {},
        [[2**24 + 1, 2], [2**24, 3]],
    ),
    "whole numbers beyond 2^64": (
        "t.csv",
        b"a,b\n123456789012345678901,2\n4,3\n",
        {},
        [[123456789012345678901, 2], [4, 3]],
    ),
    "seconds since 1970": (
        "t.csv",
        b"a,t\n1,1700000001\n2,1700000002\n",
        {},
        [[1, 1700000001], [2, 1700000002]],
    ),
    "gzip": ("t.csv.gz", gzip.compress(b"a,b\n1,2\n"), {}, [[1, 2]]),
    "bzip2": ("t.csv.bz2", bz2.compress(b"a,b\n1,2\n"), {}, [[1, 2]]),
    "xz": ("t.tsv.xz", lzma.compress(b"a\tb\n1\t2\n"), {}, [[1, 2]]),
    "xz, cut off": ("t.csv.xz", lzma.compress(COUNTED.encode())[:-500], {}, "cannot be read"),
    "gzip that is none": ("t.csv.gz", b"a,b\n1,2\n", {}, "cannot be read"),
    "empty": ("t.csv", b"", {}, "header and at least one row"),
    "a header alone": ("t.csv", b"a,b\n", {}, "header and at least one row"),
    "no header": ("t.csv", b"1.5,2\n3,4\n", {}, "names of the columns in the first line"),
    "a name twice": ("t.csv", b"a, a\n1,2\n", {}, "more than once"),
    "a name missing": ("t.csv", b"a,,b\n1,2,3\n4,5,6\n", {}, "expected a name for each column"),
    "rows wider than the header": ("t.csv", b"a,b\n1,2,3\n", {}, "got 3 in row 0"),
    "a wide row far below": ("t.csv", b"a,b\n" + b"1,2\n" * 500 + b"3,4,5\n", {}, "one width"),
    "a row cut off": ("t.csv", b"a,b,c2\n1,2,3\n4,5\n6,7,8\n", ALL, "got 2 in row 1"),
    "the last row cut off": ("t.csv", b"a,b\n" + b"1,2\n" * 500 + b"3\n", ALL, "got 1 in row 500"),
    "a line of units": ("t.csv", b"a,b\ncm,kg\n1,2\n", {}, "got 'cm' in row 0"),
    "a line of totals": ("t.csv", b"a,b\n1,2\nTotal,6\n", {}, "got 'Total' in row 1"),
    "a comment above": ("t.csv", b"# made by hand\na,b\n1,2\n", {}, [[1, 2]]),
    "comments above": ("t.csv", b'\n# made by "me\n#\n\na,b\n1,2\n3,4\n', {}, [[1, 2], [3, 4]]),
    "a comment as wide": ("t.csv", b"# by me, today\na,b\n1,2\n", {}, [[1, 2]]),
    "a comment of units": ("t.csv", b"# mm,kg\na,b\n1,2\n", {}, [[1, 2]]),
    "a comment above tabs": ("t.tsv", b"#version 1.2\na\tb\n1\t2\n", {}, [[1, 2]]),
    "a comment above names behind a hash": ("t.csv", b"# run 5\n# y,a\n0,2\n", {}, [[2]]),
    "names behind a hash, spaces": ("t.txt", b"# run\n# u v\n1 2\n3 4\n", {}, [[1, 2], [3, 4]]),
    "names behind a hash, gaps": (
        "t.csv",
        b"#name,y,a\nu,s,\nv,t,3\n",
        {"missing_ok": ("x",)},
        [[NAN], [3]],
    ),
    "a comment, no names": ("t.csv", b"# c\n0.3,0.2\n0.4,0.6\n0.5,0.1\n", {}, "names of the col"),
    "a comment, a row cut off": ("t.csv", b"# c\na,b\n1,2\n3\n", {}, "got 1 in row 1"),
    "a row of units": ("t.csv", b"a,b\nmm,kg\n1,2\n", {}, "remove a row of units"),
    "zero bytes": ("t.csv", b"a,b\n1,\x002\n3,4\n", {}, "got NUL characters"),
    "digits in groups, or decimals": (
        "t.csv",
        b'a,b\n"1,234",2\n',
        {},
        "--decimal , or --thousands",
    ),
    "digits in groups of a million": ("t.csv", b'a,b\n"1,234,567",2\n', {}, "got '1,234,567'"),
    "digits in groups with points": ("t.csv", b"a;b\n1.234,5;2\n", {}, "got '1.234,5'"),
    "digits in groups with spaces": ("t.csv", b"a;b\n1 234;2\n", {}, "got '1 234'"),
    "percent": ("t.csv", b"a,b\n12%,2\n13%,4\n", {}, "got '12%'"),
    "money": ("t.csv", b"a,b\n$12,2\n$13,4\n", {}, r"got '\$12'"),
    "units in cells": ("t.csv", b"a,b\n12 mg,2\n13 mg,4\n", {}, "got '12 mg'"),
    "below a limit": ("t.csv", b"a,b\n<0.1,2\n0.5,4\n", {}, "got '<0.1' in row 0"),
    "all below a limit": ("t.csv", b"a,b\n<0.1,2\n<0.5,4\n", {}, "got '<0.1'"),
    "negative in brackets": ("t.csv", b"a,b\n(12),2\n(13),3\n", {}, r"got '\(12\)'"),
    "a typographic minus": (
        "t.csv",
        "a,b\n\u221212,2\n".encode(),
        {},
        "expected numbers in column",
    ),
    "hexadecimal": ("t.csv", b"a,b\n0x1F,2\n0x2A,3\n", {}, "got '0x1F'"),
    "exponents of Fortran": ("t.csv", b"a,b\n1.0D+02,2\n", {}, r"got '1.0D\+02'"),
    "underscores": ("t.csv", b"a,b\n1_000,2\n", {}, "got '1_000'"),
    "complex": ("t.csv", b"a,b\n1+2j,2\n", {}, r"got '1\+2j'"),
    "infinity": ("t.csv", b"a,b\n1,inf\n", {}, "NaN or infinity in row 0 of 'b'"),
    "no header, classes": (
        "t.csv",
        b"5.1,3.5,1.4,setosa\n4.9,3.0,1.4,setosa\n5.3,3.7,1.3,setosa\n",
        {},
        "got a row like those below it",
    ),
    "no header, falling numbers": (
        "t.csv",
        b"5.1,3.5,1.4\n4.9,3.0,1.4\n5.3,3.7,1.3\n",
        {},
        "got a row like those below it",
    ),
    "beyond floating point": ("t.csv", b"a,b\n1,1e400\n", {}, "infinity in row 0|got '1e400'"),
    "a question mark": ("t.csv", b"a,b\n?,2\n13,3\n", {}, r"--na '\?'"),
    "text alone": ("t.csv", b"a,b\nx,y\n", {}, "expected numeric columns"),
    "a workbook called .csv": ("t.csv", b"PK\x03\x04\xff\xfe\x00" * 9, {}, "cannot be read"),
    "text called .parquet": ("t.parquet", b"a,b\n1,2\n", {}, "cannot be read"),
    "text called .xlsx": ("t.xlsx", b"a,b\n1,2\n", {}, "cannot be read"),
    "text called .feather": ("t.feather", b"a,b\n1,2\n", {}, "cannot be read"),
    "a separator of two characters": ("t.csv", b"a::b\n1::2\n", {"sep": "::"}, "one character"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts(tmp_path, kind):
    name, content, options, expected = TEXTS[kind]
    (tmp_path / name).write_bytes(content)
    if name.endswith((".parquet", ".feather")):
        pytest.importorskip("pyarrow")
    if name.endswith(".xlsx"):
        pytest.importorskip("openpyxl")
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            data.table(tmp_path / name, **options)
        return
    read = data.table(tmp_path / name, **options)
    np.testing.assert_allclose(read["x"].numpy(), np.array(expected, float), rtol=1e-7)
    assert any("fields between" in note for note in read.notes)


# Of columns beside x: their text, and their numbers or the words of the refusal.
BESIDE = {
    "classes in text": ("y", ["dog", "cat", " cat "], [1, 0, 0]),
    "classes in numbers": ("y", ["2", "0", "1"], [2, 0, 1]),
    "classes with decimals": ("y", ["2.0", "0.0", "1.0"], [2, 0, 1]),
    "classes with gaps": ("y", ["1001", "2002", "1001"], [0, 1, 0]),
    "classes, one blank": ("y", ["", "1", "0"], [-1, 1, 0]),
    "classes, one NA": ("y", ["NA", "b", "a"], [-1, 1, 0]),
    "classes below -1": ("y", ["-2", "1", "0"], "ids from -1"),
    "classes with fractions": ("y", ["0.5", "1", "0"], "whole numbers"),
    "an infinite class": ("y", ["inf", "1", "0"], "whole numbers"),
    "a huge class": ("y", ["1e20", "1", "0"], "whole numbers"),
    "factors with a unit": ("c", ["15nm", "20 nm", "7nm"], [15, 20, 7]),
    "factors with two units": ("c", ["15nm", "20um", "7nm"], "one unit"),
    "factors in words": ("c", ["red", "1", "2"], "got 'red'"),
    "views with a unit": ("view", ["0deg", "90deg", "15deg"], [0, 90, 15]),
    "splits in words": ("split", ["Training", "held-out", "DEV"], [0, 2, 1]),
    "splits in numbers": ("split", ["0", "2", "1"], [0, 2, 1]),
    "splits, one blank": ("split", ["train", "", "test"], "expected a column 'split'"),
    "splits, mistyped": ("split", ["train", "tset", "test"], "tset"),
    "splits as booleans": ("split", ["True", "False", "True"], "expected a column 'split'"),
    "objects below 0": ("object", ["-1", "0", "1"], "object"),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_columns_beside(tmp_path, kind):
    name, texts, expected = BESIDE[kind]
    path = tmp_path / "t.csv"
    path.write_text(f"a,{name}\n" + "".join(f"{i},{t}\n" for i, t in enumerate(texts)))
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            data.table(path)
        return
    assert data.table(path)[name].tolist() == expected


# Typed tables: a DataFrame, and x or the words of the refusal.
TYPED = {
    "whole numbers": (pd.DataFrame({"a": [1, 2], "b": [3, 4]}), [[1, 3], [2, 4]]),
    "decimals": (pd.DataFrame({"a": [decimal.Decimal("1.5")], "b": [2]}), [[1.5, 2]]),
    "categories of numbers": (pd.DataFrame({"a": pd.Categorical([10, 20])}), [[10], [20]]),
    "dates": (pd.DataFrame({"a": [datetime.date(2024, 1, 1)], "b": [1]}), [[1]]),
    "bytes": (pd.DataFrame({"a": [b"x"], "b": [1]}), [[1]]),
    "unsigned 64 bits": (
        pd.DataFrame({"a": np.array([2**63 + 2**40], np.uint64)}),
        [[2**63 + 2**40]],
    ),
    "missing whole numbers": (pd.DataFrame({"a": pd.array([1, None], "Int64")}), "NaN"),
    "missing booleans": (pd.DataFrame({"a": pd.array([True, None], "boolean")}), "NaN"),
    "times": (pd.DataFrame({"a": pd.to_datetime(["2024-01-01"]), "b": [1]}), "--columns x="),
    "durations": (pd.DataFrame({"a": pd.to_timedelta([1], unit="s"), "b": [1]}), "seconds"),
    "no rows": (pd.DataFrame({"a": np.zeros(0)}), "at least one row; got 0"),
    "lists": (pd.DataFrame({"a": [1.0], "emb": [[1.0, 2.0]]}), "in each row"),
}


@pytest.mark.parametrize("kind", TYPED)
def test_typed_tables(tmp_path, kind):
    pytest.importorskip("pyarrow")
    frame, expected = TYPED[kind]
    frame.to_parquet(tmp_path / "t.parquet")
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            data.table(tmp_path / "t.parquet")
        return
    np.testing.assert_allclose(data.table(tmp_path / "t.parquet")["x"].numpy(), expected)


@pytest.mark.parametrize(
    ("values", "number"),
    [
        ([0.1, -999.0, 0.3, 0.2], "-999"),
        ([5, 99, 7, 6], "99"),
        ([0.5, 1e20, 0.25, 1.0], "1e+20"),
        ([3, 3, -99, 3], "-99"),
        ([0.0, 99.0, 180.0, 360.0], ""),
        ([97, 98, 99, 96], ""),
        ([-999, -999, -999, -999], ""),
        ([0.1, -998.0, 0.3, 0.2], ""),
    ],
)
def test_numbers_that_may_stand_for_missing_values_are_named(tmp_path, values, number):
    path = tmp_path / "t.csv"
    pd.DataFrame({"a": values, "b": [2.5, 1.0, 4.0, 3.0]}).to_csv(path, index=False)
    noted = [note for note in data.table(path).notes if "far from all other values" in note]
    assert bool(noted) == bool(number)
    if number:
        assert f"a {number} (1 row); --na={number} reads" in noted[0]
        read = data.table(path, na=[number], **ALL)
        assert read["x"][:, 0].isnan().tolist() == [v == float(number) for v in values]
        assert not [note for note in read.notes if "far from" in note]


def test_rows_without_a_label_are_counted():
    read = data.Dataset({"x": np.zeros((4, 2)), "y": np.array([-1, 1, -1, 1])})
    assert read.notes == ("y: 2 of 4 rows are without a label (-1)",)
    assert data.Dataset({"x": np.zeros((4, 2)), "y": np.arange(4)}).notes == ()


def test_workbooks_say_which_sheet_was_read(tmp_path):
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        pd.DataFrame({"a": [1, 2]}).to_excel(book, sheet_name="one", index=False)
        pd.DataFrame({"a": [3, 4]}).to_excel(book, sheet_name="two", index=False)
    read = data.table(tmp_path / "t.xlsx")
    assert read["x"].tolist() == [[1], [2]]
    assert any("sheet one read; left out: sheets two" in note for note in read.notes)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=6),
    st.sampled_from([(",", "."), (";", ","), (";", "."), ("\t", "."), ("\t", ","), ("|", ".")]),
    st.randoms(use_true_random=False),
)
def test_separators_signs_and_orders_give_the_same_numbers(
    tmp_path_factory, values, dialect, random
):
    separator, sign = dialect
    names = [f"f{i}" for i in range(3)]
    frame = pd.DataFrame([[v, v + 1.5, -v] for v in values], columns=names).astype(np.float32)
    order = random.sample(names, 3)
    path = tmp_path_factory.mktemp("t") / "t.csv"
    frame[order].to_csv(path, index=False, sep=separator, decimal=sign, float_format="%.4f")
    like = {"x": {"names": names, "shape": [3]}}
    read = data.table(path, like=like)["x"].numpy()
    np.testing.assert_allclose(read, frame.to_numpy(), rtol=1e-6, atol=6e-5)
    assert data.table(path).names["x"] == tuple(order)
