"""New tables in another dialect than that of the table that a run was fitted to."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppvae.app.exports import encode_run, new_rows
from ppvae.app.workflow import evaluate_run, fit_entry, predict_run, splits_of
from ppvae.data import table
from ppvae.data.dialects import suiting_dialect
from ppvae.errors import DataError
from ppvae.runs.run import load

NAMES = ["a", "e", "f", "d"]
GERMAN = {"sep": ";", "decimal": ","}
SPEC = {"x": {"names": NAMES, "shape": [4]}, "y": {"names": ["B", "T"], "classes": 2, "shape": []}}


def _read(path, text, options, spec=SPEC):
    path.write_text(text)
    chosen, note = suiting_dialect(path, options, spec)
    return table(path, like=spec, **chosen)["x"].numpy().tolist(), note


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_table_in_any_dialect_has_its_numbers_or_is_refused(tmp_path_factory, draw):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    signs = st.sampled_from([None, ",", "."])
    stated = {
        name: value
        for name, value in {
            "sep": draw.draw(st.sampled_from([None, ",", ";", "tab"])),
            "decimal": draw.draw(signs),
            "thousands": draw.draw(st.sampled_from([None, ",", "."])),
        }.items()
        if value is not None
    }
    if stated.get("decimal", ".") == stated.get("thousands"):
        stated.pop("thousands")
    sep, decimal = draw.draw(st.sampled_from([(",", "."), (";", ","), ("\t", "."), ("\t", ",")]))
    places = draw.draw(st.integers(0, 4))
    rows = draw.draw(
        st.lists(
            st.lists(st.integers(-(10**7), 10**7), min_size=4, max_size=4), min_size=2, max_size=5
        )
    )
    numbers = np.array(rows) / 10**places
    lines = [sep.join(f"{v:.{places}f}".replace(".", decimal) for v in row) for row in numbers]
    text = "\n".join([sep.join(NAMES), *lines]) + "\n"
    try:
        found, _ = _read(path, text, stated)
    except DataError as error:
        assert places == 3 or "thousands" in stated, error  # noqa: PT017 - numbers of one meaning
        return
    # Signs that the run's user stated, and all numbers follow, are taken at his word.
    if stated.get("thousands") == decimal and places == 3:
        return
    np.testing.assert_allclose(found, numbers, rtol=1e-6)


# A new table for a run that was read with these options, and its numbers or words of a refusal.
OTHERS = {
    "the run's own": (GERMAN, "a;e;f;d\n1,5;2;3;4\n", [1.5, 2, 3, 4], False),
    "commas between": (GERMAN, "a,e,f,d\n1.5,2,3,4\n", [1.5, 2, 3, 4], True),
    "tabs and another order": (GERMAN, "d\tf\te\ta\n4\t3\t2\t1.5\n", [1.5, 2, 3, 4], True),
    "points between semicolons": (GERMAN, "a;e;f;d\n1.5;2;3;4\n", [1.5, 2, 3, 4], True),
    "whole numbers": (GERMAN, "a,e,f,d\n1,2,3,4\n", [1, 2, 3, 4], True),
    "classes without a column": (GERMAN, "a;e;f;d;z\n1,5;2;3;4;x\n", [1.5, 2, 3, 4], False),
    "points or thousands": (
        GERMAN,
        "a,e,f,d\n1.500,2,3,4\n",
        r"'1\.500', where the point may be.*\(--sep ';' --decimal ,\)",
        None,
    ),
    "points or thousands between semicolons": (
        GERMAN,
        "a;e;f;d\n1.500;2;3;4\n",
        r"may be either\. Write the table as that of the run \(--sep",
        None,
    ),
    "thousands of the run": (
        {"thousands": ","},
        'a,e,f,d\n"1,500",2,3,4\n',
        [1500, 2, 3, 4],
        False,
    ),
    "commas where the run has thousands": (
        {"thousands": ","},
        "a;e;f;d\n1,5;2,25;3;4\n",
        [1.5, 2.25, 3, 4],
        True,
    ),
    "points where the run has thousands": (
        {"sep": ";", "decimal": ",", "thousands": "."},
        "a,e,f,d\n1500.25,2,3,4\n",
        [1500.25, 2, 3, 4],
        True,
    ),
    "a lacking feature": (GERMAN, "a,e,f\n1.5,2,3\n", r"missing \['d'\]", None),
    "nothing stated": ({}, "a;e;f;d\n1,500;2;3;4\n", "Write it with decimal points, and", None),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_new_tables_have_a_dialect_of_their_own(tmp_path, kind):
    options, text, expected, noted = OTHERS[kind]
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            _read(tmp_path / "t.csv", text, options)
        return
    found, note = _read(tmp_path / "t.csv", text, options)
    assert found == [expected]
    assert ("not in the dialect of the run's own table" in note) == noted


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A run that was fitted to a table in German, and its rows in other dialects."""
    folder = tmp_path_factory.mktemp("dialects")
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(40, 4)) + [0, 3, 6, 9], columns=NAMES)
    frame["c"] = random.normal(size=40)
    frame.to_csv(folder / "de.csv", sep=";", decimal=",", index=False)
    frame.to_csv(folder / "en.csv", index=False)
    frame.to_csv(folder / "en.tsv", sep="\t", index=False)
    frame[["c"]].assign(note="none").to_csv(folder / "at.csv", index=False)
    options = {"latent_dim": 2, "hidden": (4,), "likelihood": "normal"}
    settings = {"epochs": 1, "progress": False, "reading": GERMAN}
    fit_entry("cvae", folder / "run", data=folder / "de.csv", options=options, **settings)
    return folder, frame


@pytest.mark.parametrize("name", ["de.csv", "en.csv", "en.tsv"])
def test_every_command_reads_them(tables, tmp_path, name, caplog):
    folder, frame = tables
    run = load(folder / "run")
    with caplog.at_level(logging.WARNING):
        rows = new_rows(run, folder / name)
    np.testing.assert_allclose(rows["x"].numpy(), frame[NAMES].to_numpy(), rtol=1e-5)
    noted = "not in the dialect of the run's own table (--sep ';' --decimal ,)" in caplog.text
    assert noted == (name != "de.csv")
    encode_run(folder / "run", folder / name, tmp_path / "z.csv")
    evaluate_run(folder / "run", data=folder / name, out=tmp_path / "new")
    # The evaluation says how its own data are read.
    _, _, splits = splits_of(tmp_path / "new")
    assert splits.train.num_rows >= 30


def test_predictions_read_them(tables, tmp_path, caplog):
    folder, frame = tables
    with caplog.at_level(logging.WARNING):
        _, columns = predict_run(
            folder / "run", {}, tmp_path / "p", at=folder / "at.csv", num_draws=2
        )
    assert "not in the dialect" in caplog.text
    np.testing.assert_allclose(columns["c"].numpy(), frame["c"].to_numpy(), rtol=1e-5)
