"""Which columns of a table are classes, splits, row numbers and features, whatever their names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ppvae import data
from ppvae.data import Dataset, as_splits
from ppvae.data.columns import found_as, known_as
from ppvae.data.words import PARTS, factor_of_text, part_of
from ppvae.errors import DataError

SPLIT = ["train", "val", "train", "test"]


def _table(tmp_path, text, name="t.csv", **options):
    (tmp_path / name).write_text(text)
    return data.table(tmp_path / name, **options)


def _columns(**columns):
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["split", "object", "view", "batch", "mask"]), st.data())
def test_a_column_is_known_in_any_case(name, draw):
    cases = [draw.draw(st.sampled_from([c.upper(), c.lower()])) for c in name]
    written = f" {''.join(cases)} "
    assert known_as(written) == name
    assert found_as(name, ["a", written]) == written
    assert found_as(name, [name, written]) == name
    assert found_as(name, ["a", written, f" {written} "]) is None
    assert known_as("Y") == "Y"


@pytest.mark.parametrize("name", ["Split", "SPLIT", " split", "set", "partition", "usage"])
def test_rows_are_divided_by_words_under_any_name(tmp_path, name):
    np.savez(tmp_path / "t.npz", x=np.ones((4, 2)), **{name: np.array(SPLIT)})
    frame = pd.DataFrame({"a": [1.5, 2, 3, 5], name: SPLIT})
    reads = [as_splits(frame)]
    text = _columns(a=[1.5, 2, 3, 5], **{name: SPLIT})
    reads.append(data.files.divided(_table(tmp_path, text), "t.csv", 0))
    if name.strip().lower() == "split":
        reads.append(data.load(tmp_path / "t.npz"))
    for splits in reads:
        assert [part.num_rows for part in splits if part is not None] == [2, 1, 1]
        assert any(note.startswith("split: ") for note in splits.notes)
    assert reads[0].train["x"].tolist() == [[1.5], [3]]


def test_two_columns_with_words_of_a_split_are_refused(tmp_path):
    text = _columns(a=[1.5, 2, 3, 5], one=SPLIT, two=SPLIT)
    with pytest.raises(DataError, match=r"one column.*\['one', 'two'\].*--columns split=one"):
        _table(tmp_path, text)
    assert "split" in _table(tmp_path, text, split="two")
    text = _columns(a=[1.5, 2], kind=["train", "bus"])  # Words of another meaning.
    assert "split" not in _table(tmp_path, text)


# A name, its values, and whether they number the rows rather than being a feature.
NUMBERED = {
    "No.": ([1, 2, 3], True),
    "#": ([0, 1, 2], True),
    "Nr": ([1, 2, 3], True),
    "rownames": ([1, 2, 3], True),
    "sample": ([1, 2, 3], True),
    "row_number": ([0, 1, 2], True),
    "key": ([0, 1, 2], True),
    "patientID": ([101, 107, 103], True),
    "sample_id": ([101, 107, 103], True),
    "cell_index": ([101, 107, 103], True),
    "row": ([101, 107, 103], True),
    "body_mass_index": ([1, 2, 3], True),
    "key_of_life": ([0, 1, 2], False),
    "number": ([7, 1, 9], False),
    "grid": ([101, 107, 103], False),
    "subject_id": ([1, 1, 2], False),
    "time": ([0, 1, 2], False),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_numbers_of_rows_are_no_feature(tmp_path, name):
    values, is_counter = NUMBERED[name]
    read = _table(tmp_path, _columns(**{"a": [0.5, 1.5, 0.7], name: values}))
    assert read.names["x"] == (("a",) if is_counter else ("a", name))
    if is_counter:
        assert read.row_names.tolist() == [str(v) for v in values]
        assert any("which numbers the rows" in note for note in read.notes)
    kept = _table(tmp_path, _columns(**{"a": [0.5, 1.5, 0.7], name: values}), x=["a", name])
    assert kept.names["x"] == ("a", name)
    like = {"x": {"names": ["a", name], "shape": [2]}}
    again = _table(tmp_path, _columns(**{"a": [0.5, 1.5, 0.7], name: values}), like=like)
    assert again["x"].tolist() == kept["x"].tolist()


# The name of the first column, its values, and the words of the note that leaves it out, if any.
LABELS = {
    "stacked tables": ("", [0, 1, 0, 1], "without a name, taken as labels of the rows, some of"),
    "drawn rows": ("", [7, 3, 3, 1], "some of which repeat; name it if it is a feature"),
    "times": ("", [0.5, 1.5, 2.5, 2.75], "without a name, taken as labels of the rows; name it"),
    "an index of Parquet": ("__index_level_0__", [2, 2, 5, 1], "some of which repeat; name it"),
    "stacked tables, named": ("index", [1, 2, 3, 1], "'index', taken as labels of the rows, some"),
    "a named feature": ("index", [7, 3, 3, 1], None),
    "a feature of constant 0": ("index", [0, 0, 0, 0], None),
    "a feature that is an index": ("body_mass_index", [21, 25, 31, 19], None),
    "another": ("Gini index", [21, 25, 31, 19], None),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_rows_that_repeat_are_no_feature(tmp_path, kind):
    name, values, said = LABELS[kind]
    text = _columns(**{name: values, "a": [0.5, 1.5, 0.7, 0.9]})
    read = _table(tmp_path, text)
    if said is None:
        assert read.names["x"] == (name, "a")
        return
    assert read.names["x"] == ("a",)
    assert read.row_names is None
    assert sum(said in note for note in read.notes) == 1


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("severity_index", [7, 5, 3], "its name is that of a number of rows"),
        ("index", [7, 7, 3], "its name is that of a number of rows"),
        ("Y", [0, 1, 1], "--columns y=Y makes it the class"),
        ("label", [0, 1, 1], "--columns y=label makes it the class"),
        ("subject_id", [1, 1, 2], "--columns object=subject_id makes it the object"),
        ("time", [0, 1, 2], "counts the rows"),
    ],
)
def test_features_that_may_have_another_role_are_named(tmp_path, name, values, said):
    read = _table(tmp_path, _columns(**{"a": [0.5, 1.5, 0.7], name: values}))
    assert any(repr(name) in note and said in note for note in read.notes)
    read = _table(tmp_path, _columns(**{"a": [0.5, 1.5, 0.7], name: values, "y": [0, 1, 0]}))
    assert any("makes it the class" in note for note in read.notes) is False


def test_levels_of_an_index_with_a_role_are_columns():
    index = pd.MultiIndex.from_tuples([("p", 1.5), ("q", 2.5)], names=["object", "view"])
    read = as_splits(pd.DataFrame({"a": [1.0, 2]}, index=index)).train
    assert read["view"].tolist() == [1.5, 2.5]
    assert read.names["object"] == ("p", "q")
    named = pd.DataFrame({"a": [1.0, 2]}, index=pd.Index(["u", "v"], name="gene"))
    assert as_splits(named).train.row_names.tolist() == ["u", "v"]


def test_features_are_named_once(tmp_path):
    text = "a,bc\n1.5,2\n3,4\n"
    assert _table(tmp_path, text, x="bc")["x"].tolist() == [[2], [4]]
    with pytest.raises(DataError, match=r"\['a'\] more than once. Name each once"):
        _table(tmp_path, text, x=["a", "a"])


def test_numbers_that_float64_makes_equal_are_refused(tmp_path):
    text = "a,b\n9007199254740993,2\n9007199254740992,3\n"
    with pytest.raises(DataError, match="'a' that float64 tells apart.*9007199254740993"):
        _table(tmp_path, text)
    assert _table(tmp_path, text, x=["b"])["x"].tolist() == [[2], [3]]
    wide = "a,b\n9007199254740992,2\n9007199254740998,3\n"
    assert _table(tmp_path, wide)["x"][:, 0].tolist() == [9007199254740992, 9007199254740998]


def test_the_separator_that_excel_is_told_is_not_the_header(tmp_path):
    read = _table(tmp_path, "sep=;\na;b\n1,5;2\n2,5;\n", missing_ok=("x",))
    np.testing.assert_array_equal(read["x"], [[1.5, 2], [2.5, np.nan]])
    assert any("the line sep=; says so" in note for note in read.notes)
    with pytest.raises(DataError, match="got 1 in row 1"):
        _table(tmp_path, "sep=;\na;b\n1;\n2\n", missing_ok=("x",))


def test_points_between_semicolons_may_group_digits(tmp_path):
    text = "a;b\n1.234;2.345\n5.678;9.876\n"
    with pytest.raises(DataError, match=r"'1.234' between semicolons.*--decimal \."):
        _table(tmp_path, text)
    assert _table(tmp_path, text, decimal=".")["x"][0, 0] == pytest.approx(1.234)
    grouped = _table(tmp_path, text, decimal=",", thousands=".")
    assert grouped["x"].tolist() == [[1234, 2345], [5678, 9876]]
    assert _table(tmp_path, "a;b\n1.234;0.5\n")["x"][0, 0] == pytest.approx(1.234)


def test_commas_in_a_file_called_tsv_are_separators(tmp_path):
    assert _table(tmp_path, "a,b\n1,2\n", "t.tsv")["x"].tolist() == [[1, 2]]
    assert _table(tmp_path, "a\tb\n1,5\t2\n", "t.tsv")["x"].tolist() == [[1.5, 2]]


@pytest.mark.parametrize("suffix", ["xlsx", "parquet"])
def test_typed_tables_have_stripped_names_and_sentinels(tmp_path, suffix):
    pytest.importorskip({"xlsx": "openpyxl", "parquet": "pyarrow"}[suffix])
    frame = pd.DataFrame({"a ": [1.5, -999], " split": ["train", "test"]})
    path = tmp_path / f"t.{suffix}"
    frame.to_excel(path, index=False) if suffix == "xlsx" else frame.to_parquet(path)
    read = data.table(path, na=["-999"], missing_ok=("x",))
    np.testing.assert_array_equal(read["x"], [[1.5], [np.nan]])
    assert read.names["x"] == ("a",)
    assert read["split"].tolist() == [0, 2]


def test_a_workbook_with_a_name_twice_is_refused(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["a", "a", "b"], [1, 2, 3]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match=r"\['a'\] more than once"):
        data.table(tmp_path / "t.xlsx")


def test_a_word_for_missing_is_named_as_the_shell_takes_it(tmp_path):
    for word, flag in (("-", "--na=-"), ("?", r"--na '\?'"), ("n.d.", r"--na n\.d\.")):
        with pytest.raises(DataError, match=f"command line {flag};"):
            _table(tmp_path, f"a,b\n{word},2\n13,3\n")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from(["nm", "deg", "°", "%", "µm", "cm-1", "m/s", "mg/m3", "m^2", "kΩ", "°C", ""]),
    st.sampled_from(["", " "]),
)
def test_numbers_with_a_unit_are_read(number, unit, space):
    values, units = factor_of_text("c", [f"{number}{space}{unit}".strip(), f"2.5{space}{unit}"])
    assert values.tolist() == [number, 2.5]
    assert units == ({"c": unit} if unit else {})


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 99),
    st.sampled_from(
        [":30", "h30", ",5", ",000", "'000", "_000", "/2", "^3", "D+02", "d2", "/02/2024", "*10"]
    ),
)
def test_digits_after_a_number_are_no_unit(number, rest):
    with pytest.raises(DataError, match="expected numbers, with one unit or none"):
        factor_of_text("view", [f"{number}{rest}", f"{number + 1}{rest}"])


def test_bytes_are_read_as_text(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((2, 3)), c=np.array([b"1nm", b"2 nm"]))
    assert data.npz(tmp_path / "a.npz")["c"].tolist() == [1, 2]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(PARTS)),
    st.sampled_from(["", "set", "_data", " images", "-imgs", "2017", "_split"]),
    st.booleans(),
)
def test_words_of_a_split_may_have_a_name_after_them(word, rest, upper):
    text = f"{word}{rest}"
    assert part_of(text.upper() if upper else text) == PARTS[word]
    assert part_of(f"x{text}") is None


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (pd.DataFrame({"a": [True, False], "b": [1.5, 2]}), [[1, 1.5], [0, 2]]),
        (pd.DataFrame({"a": pd.array([1, 2], "Int64"), "b": [1.5, 2]}), [[1, 1.5], [2, 2]]),
    ],
)
def test_a_frame_of_several_types_is_one_array(frame, expected):
    assert Dataset({"x": frame})["x"].tolist() == expected
    with pytest.raises(DataError, match="expected numbers"):
        Dataset({"x": frame.assign(c=["u", "v"])})
    missing = pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": [1.5, 2]})
    assert torch.isnan(Dataset({"x": missing}, missing_ok=["x"])["x"]).sum() == 1
