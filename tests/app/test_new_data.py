"""New data for a fitted run: another scale, another type, columns by roles that were named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import ppvae
from ppvae import report
from ppvae.app import workflow
from ppvae.app.cli import main
from ppvae.app.exports import encode_run, new_rows
from ppvae.app.workflow import (
    _refuse_other_columns,
    evaluate_run,
    fit_entry,
    predict_run,
    splits_of,
)
from ppvae.data import Dataset, Splits, as_splits
from ppvae.data import load as load_data
from ppvae.data.scales import compare_values, compared_scale, ranges_of
from ppvae.errors import ArgumentError, DataError, RunError
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.runs.run import load

OPTIONS = {"likelihood": "normal", "hidden": (4,), "latent_dim": 2}
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 255, (20, 3), dtype=np.uint8)
BYTES[0] = 0, 255, 128
COUNTS = RNG.poisson(30, (20, 3))

# What a run was fitted with, new data, and the words of a refusal or a note (empty: neither).
SCALES = {
    "bytes, bytes": (BYTES, BYTES, ""),
    "bytes, fractions": (BYTES, BYTES / 255, ""),
    "bytes, floats": (BYTES, BYTES.astype("f4"), "!expected x as uint8.*Divide by 255"),
    "bytes, whole numbers": (BYTES, BYTES.astype(int), "!expected x as uint8"),
    "bytes, 16 bits": (BYTES, BYTES.astype("u2") * 257, "!expected x as uint8"),
    "bytes, centred": (BYTES, BYTES / 255 - 0.5, "!expected x as uint8"),
    "floats, bytes": (BYTES.astype("f4"), BYTES, "!got uint8, which is scaled"),
    "fractions, bytes": (BYTES / 255, BYTES, ""),
    "counts, bytes": (COUNTS, COUNTS.astype("u1"), "!got uint8, which is scaled"),
    "logarithms, counts": (np.log1p(COUNTS), COUNTS, "!whole numbers from .* logarithm"),
    "counts, more counts": (COUNTS, 5 * COUNTS, ""),
    "counts, corrected": (COUNTS, COUNTS * 0.9, "with fractions, where the run was fitted"),
    "metres, millimetres": (COUNTS / 7, 1000 * COUNTS / 7, "check the unit or scale"),
    "millimetres, metres": (COUNTS / 7, COUNTS / 7000, "check the unit or scale"),
}


@pytest.mark.parametrize("kind", SCALES)
def test_another_scale_is_refused_or_said(kind):
    fitted, new, words = SCALES[kind]
    run = Splits(Dataset({"x": fitted}))
    ranges = {name: list(ends) for name, ends in ranges_of(run).items()}
    if words.startswith("!"):
        with pytest.raises(DataError, match=words[1:]):
            compared_scale("a.npz", Dataset({"x": new}), run.spec, ranges)
        return
    notes = compared_scale("a.npz", Dataset({"x": new}), run.spec, ranges)
    assert [words in note for note in notes] == [True] * bool(words)


def test_a_single_feature_in_another_unit_is_said(tmp_path, caplog):
    large, share = RNG.normal(size=30) * 1000, RNG.random(30)
    fitted = load_data(_table(tmp_path / "t.csv", large=large, share=share), seed=None)
    ranges = {name: list(ends) for name, ends in ranges_of(fitted).items()}
    percent = load_data(_table(tmp_path / "q.csv", large=large, share=100 * share), seed=None)
    (note,) = compared_scale("q.csv", percent.train, fitted.train.spec, ranges)
    assert note.startswith("x: share from ")
    assert "large" not in note
    with caplog.at_level("WARNING", "ppvae"):
        compare_values(percent.train, fitted.train.spec, ranges)
        compare_values(percent.train.noted(note), fitted.train.spec, ranges)
    assert caplog.messages == [note]
    few = load_data(_table(tmp_path / "f.csv", large=[0.1], share=[0.5]), seed=None)
    assert not compared_scale("f.csv", few.train, few.train.spec, {**ranges, "x": [-1.0, 1.0]})


def test_encoding_values_of_another_scale_warns(caplog):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("f4")
    head = heads.DiagonalNormal(2)
    model = VAE(MLP(2, heads.Normal((3,)), hidden=[4]), latent_dim=2)
    guide = AmortizedGuide(MLP(3, head, hidden=[4]))
    run = ppvae.fit(model, guide, {"x": x}, epochs=1, progress=False, compile=False)
    with caplog.at_level("WARNING", logger="ppvae"):
        run.encode({"x": 2 * x})
        assert not caplog.records
        run.encode({"x": 1000 * x})
    assert "check the unit or scale" in caplog.text


def test_what_a_reader_did_to_new_data_is_said(tmp_path, caplog):
    grey, colour = tmp_path / "grey", tmp_path / "colour"
    for folder, size in ((grey, (8, 8)), (colour, (8, 8, 3))):
        folder.mkdir()
        for n in range(12):
            pixels = RNG.integers(0, 255, size, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{n}.png")
    given = {"data": grey, "epochs": 1, "options": {"hidden": (4,), "latent_dim": 2}}
    fit_entry("vae", tmp_path / "run", progress=False, **given)
    with caplog.at_level("WARNING", logger="ppvae"):
        encode_run(tmp_path / "run", grey, tmp_path / "a.csv")
        assert "turned to grey" not in caplog.text
        encode_run(tmp_path / "run", colour, tmp_path / "b.csv")
    assert "colour turned to grey" in caplog.text


def test_features_without_names_are_matched_by_order_with_a_note():
    named = Splits(Dataset({"x": pd.DataFrame(COUNTS, columns=["a", "b", "c"])}))
    plain = Splits(Dataset({"x": COUNTS}))
    for run, new, whose in ((named, plain, "the data"), (plain, named, "the run")):
        (note,) = compared_scale("a", new.train, run.spec, {})
        assert note == f"x: {whose} without names of features; matched by their order"


@pytest.fixture
def quick(monkeypatch):
    """Runs are saved without their report."""
    monkeypatch.setattr(report, "write_all", lambda run, splits, out, **_: run.save(out))


def _table(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.fixture
def measured(tmp_path, quick):
    columns = {name: RNG.normal(size=30).round(3) for name in "pqr"}
    columns |= {"age": np.arange(30) / 3, "dose": np.arange(30) % 4}
    return _table(tmp_path / "t.csv", **columns, kind=["cat", "dog", "eel"] * 10), columns


def test_a_run_with_columns_by_role_is_loaded_again(measured, tmp_path, capsys):
    data, _ = measured
    roles = {"y": "kind", "c": ["age", "dose"], "x": ["p", "q", "r"]}
    given = [f"{k}={v if isinstance(v, str) else ','.join(v)}" for k, v in roles.items()]
    common = ["--epochs", "1", "--likelihood", "normal", "--hidden", "4", "--out"]
    command = ["fit", "cvae", "--data", str(data), "--columns", *given, *common]
    assert main([*command, str(tmp_path / "run")]) in (0, None)
    run, _, splits = splits_of(tmp_path / "run")
    assert run.config["reading"] == {"columns": roles}
    assert splits.train["c"].shape[1:] == (2,)
    rows = new_rows(run, data)
    assert rows.names["y"] == ("cat", "dog", "eel")
    assert rows.num_rows == 30
    with pytest.raises(ArgumentError, match=r"c: expected \[2\] numbers per datum.*--at"):
        predict_run(tmp_path / "run", {"y": ["cat"], "c": [1.0]}, tmp_path / "p")
    at = _table(tmp_path / "at.csv", dose=[1, 2], y=["dog", "cat"], age=[3.5, 4.5])
    _, asked = predict_run(tmp_path / "run", {}, tmp_path / "p", at=at, num_draws=4)
    assert asked["c"].tolist() == [[3.5, 1], [4.5, 2]]
    assert asked["y"].tolist() == [1, 0]


def test_a_table_to_predict_at_is_read_as_that_of_the_fit(measured, tmp_path):
    """The role of a column goes before its name, and words for missing values stay such words."""
    data, columns = measured
    columns |= {"c": np.full(30, 7.0)}
    _table(data, **columns)
    settings = {"options": {"likelihood": "normal", **OPTIONS}, "epochs": 1, "progress": False}
    reading = {"columns": {"c": "dose"}, "na": ("-2",)}
    fit_entry("cvae", tmp_path / "run", data=data, reading=reading, **settings)
    _, asked = predict_run(tmp_path / "run", {}, tmp_path / "p", at=data, num_draws=2)
    assert asked["c"].flatten().tolist() == columns["dose"].tolist()
    at = _table(tmp_path / "at.csv", c=[1.5, 2.5])
    _, asked = predict_run(tmp_path / "run", {}, tmp_path / "q", at=at, num_draws=2)
    assert asked["c"].flatten().tolist() == [1.5, 2.5]
    at = _table(tmp_path / "at.csv", dose=[1.5, -2])
    with pytest.raises(DataError, match="a value of 'c' in every row; got none in row 1"):
        predict_run(tmp_path / "run", {}, tmp_path / "r", at=at, num_draws=2)


def test_new_pictures_have_a_table_of_labels_of_their_own(tmp_path, quick, caplog):
    for folder, number in (("old", 12), ("new", 4)):
        (tmp_path / folder).mkdir()
        for n in range(number):
            pixels = RNG.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{n:02}.png")
        files = [f"{n:02}.png" for n in range(number)]
        _table(tmp_path / f"{folder}.csv", file=files, label=(["a", "b"] * number)[1 : number + 1])
    run, new, table = tmp_path / "run", tmp_path / "new", tmp_path / "new.csv"
    given = {"data": tmp_path / "old", "reading": {"labels": tmp_path / "old.csv"}}
    options = {"hidden": (4,), "latent_dim": 2}
    fit_entry("cvae", run, **given, options=options, epochs=1, progress=False)
    assert new_rows(load(run), new, labels=table)["y"].tolist() == [1, 0, 1, 0]
    command = ["--data", str(new), "--label-table", str(table), "--out"]
    assert main(["encode", str(run), *command, str(tmp_path / "z.csv")]) in (0, None)
    assert main(["reconstruct", str(run), *command, str(tmp_path / "r")]) in (0, None)
    evaluated = evaluate_run(run, data=new, labels=table, out=tmp_path / "e")
    assert evaluated.config["reading"]["labels"] == str(table.resolve())
    _, _, splits = splits_of(tmp_path / "e")
    assert len(splits.train["y"]) == 4
    with caplog.at_level("WARNING", "ppvae"), pytest.raises(ArgumentError, match="y: expected"):
        new_rows(load(run), new)
    assert "--label-table names the table" in caplog.text
    with pytest.raises(ArgumentError, match="expected new pictures with it"):
        evaluate_run(run, labels=table)
    np.savez(tmp_path / "n.npz", x=np.ones((2, 1, 8, 8)))
    with pytest.raises(DataError, match=r"labels: expected pictures.*got n\.npz"):
        encode_run(run, tmp_path / "n.npz", tmp_path / "z.csv", labels=table)


def test_an_evaluation_is_evaluated_again_on_all_of_its_rows(measured, tmp_path, monkeypatch):
    data, _ = measured
    settings = {"options": {"likelihood": "normal", **OPTIONS}, "epochs": 1, "progress": False}
    fit_entry("vae", tmp_path / "run", data=data, **settings)
    scored = []

    def write_all(run, splits, out, *, max_rows=1000):
        scored.append((splits.held_out.num_rows, max_rows, run.metrics["n_test"]))
        run.metrics["accuracy"] = 0.5
        run.save(out)

    monkeypatch.setattr(report, "write_all", write_all)

    def unwritable(*given):
        raise RunError("out: read-only")

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "refuse_unwritable", unwritable)
        with pytest.raises(RunError, match="read-only"):
            evaluate_run(tmp_path / "run")
    assert not scored  # Refused before the work.
    first = evaluate_run(tmp_path / "run", data=data, out=tmp_path / "e")
    again = evaluate_run(tmp_path / "e")
    assert scored == [(30, None, 30), (30, None, 30)]
    assert again.id == first.id
    assert "all 30 rows scored" in splits_of(tmp_path / "e")[2].test.notes


def test_columns_in_further_files_are_not_followed(tmp_path, quick):
    for name, values in (("x", np.ones((20, 3))), ("y", np.arange(20) % 2)):
        np.save(tmp_path / f"{name}.npy", values)
    reading = {"columns": {"y": str(tmp_path / "y.npy")}}
    settings = {"options": OPTIONS, "epochs": 1, "progress": False, "reading": reading}
    fit_entry("vae", tmp_path / "run", data=tmp_path / "x.npy", **settings)
    with pytest.raises(RunError, match="data in one file; got columns in further .npy files"):
        splits_of(tmp_path / "run")
    assert new_rows(load(tmp_path / "run"), tmp_path / "x.npy").num_rows == 20


def test_values_beyond_the_encoder_are_refused_in_words(tmp_path, quick):
    np.savez(tmp_path / "t.npz", x=COUNTS)
    settings = {"options": {"hidden": (4,)}, "epochs": 1, "progress": False}
    run = fit_entry("vae", tmp_path / "run", data=tmp_path / "t.npz", **settings)
    assert run.config["ranges"] == {"x": [COUNTS.min(), COUNTS.max()]}
    np.savez(tmp_path / "n.npz", x=-COUNTS)
    with pytest.raises(DataError, match="can compute with; got x from -.*Check their range"):
        encode_run(tmp_path / "run", tmp_path / "n.npz", tmp_path / "o.csv")


def test_inspect_says_what_fit_would_choose_and_shows_pictures_with_gaps(tmp_path, capsys):
    x = RNG.integers(0, 9, (12, 6, 8))
    np.savez(tmp_path / "counts.npz", x=x)
    np.savez(tmp_path / "gaps.npz", x=x / 8, mask=np.arange(8) * np.ones(x.shape) > 2)
    text = [str(tmp_path / "counts.npz"), "--model", "vae"]
    assert main(["inspect", *text]) in (0, None)
    said = capsys.readouterr().out
    assert "likelihood: negative-binomial (whole numbers from 0, values from 0 to 8)" in said
    assert "does not suit" not in said
    sheet = tmp_path / "s.png"
    assert main(["inspect", str(tmp_path / "gaps.npz"), "--out", str(sheet)]) in (0, None)
    said = capsys.readouterr().out
    assert f"contact sheet: {sheet}, 10 pictures, black 0, white 1, missing pixels black" in said
    grey = np.asarray(Image.open(sheet).convert("L"))
    assert len(np.unique(grey)) > 5
    assert grey.min() == 0


def test_inspect_says_how_what_was_left_out_is_read_and_what_a_model_uses(tmp_path, capsys):
    lines = [
        "image,a,b,kind",
        *(f"p{n}.tif,{n / 10},{n % 7},{'xy'[n % 2]}" for n in range(30)),
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines), "utf-8")
    assert main(["inspect", str(tmp_path / "table.csv")]) == 0
    left = "left out: columns of text image, kind; --columns y=kind reads one as classes"
    assert left in capsys.readouterr().out
    x = RNG.integers(0, 9, (30, 5))
    np.savez(tmp_path / "cells.npz", x=x, batch=np.arange(30) % 2, y=np.arange(30) % 3)
    for model, used in {"counts": "x, batch", "vae": "x", "cvae": "x, y"}.items():
        assert main(["inspect", str(tmp_path / "cells.npz"), "--model", model]) == 0
        assert f"built for columns {used}\n" in capsys.readouterr().out + "\n"
    (tmp_path / "pictures").mkdir()
    for mode in ("L", "RGB"):
        Image.new(mode, (8, 8)).save(tmp_path / "pictures" / f"{mode}.png")
    assert main(["inspect", str(tmp_path / "pictures")]) == 0
    assert "2 pictures (1 in grey, 1 in colour), 3 channels" in capsys.readouterr().out


def test_a_few_rows_are_all_training_data(tmp_path):
    np.savez(tmp_path / "few.npz", x=COUNTS[:4])
    splits = load_data(tmp_path / "few.npz")
    assert [part is None for part in splits] == [False, True, True]
    assert "rows: all 4 are training data, as they are too few to divide" in splits.notes


FRAME = pd.DataFrame(COUNTS / 7, columns=["a", "b", "c2"])
# Test data beside training data, and x of their first row or the words of the refusal.
BESIDE = {
    "another order": (FRAME, FRAME[["c2", "a", "b"]], FRAME.iloc[0].tolist()),
    "a further column": (FRAME, FRAME.assign(d=1.0), FRAME.iloc[0].tolist()),
    "a column less": (FRAME, FRAME[["a", "b"]], r"missing \['c2'\]"),
    "another name": (FRAME, FRAME.rename(columns={"a": "z"}), r"missing \['a'\]"),
    "datasets in another order": (
        Dataset({"x": FRAME}),
        Dataset({"x": FRAME[["b", "a", "c2"]]}),
        "test data: expected x with the names.* a, b, c2; got b, a, c2",
    ),
    "another width": ({"x": COUNTS}, {"x": COUNTS[:, :2]}, r"shape \(3,\).*got \(2,\)"),
    "bytes and floats": (
        {"x": BYTES},
        {"x": BYTES.astype("f4")},
        "test data: expected x as uint8",
    ),
    "floats and bytes": ({"x": BYTES.astype("f4")}, {"x": BYTES}, "test data: .* got uint8"),
    "bytes and fractions": ({"x": BYTES}, {"x": BYTES / 255}, (BYTES[0] / 255).tolist()),
    "another unit": (
        FRAME.assign(c=["1nm"] * 20),
        FRAME.assign(c=["1um"] * 20),
        "test data: expected c in nm.*got um",
    ),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_parts_of_a_split_are_alike(kind):
    train, test, expected = BESIDE[kind]
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            as_splits(Splits(train, None, test))
        return
    x = as_splits(Splits(train, None, test)).test.batch(slice(0, 1))["x"][0]
    np.testing.assert_allclose(x, expected, rtol=1e-6)


def test_a_run_takes_bytes_only_if_it_was_fitted_with_them(tmp_path, quick):
    np.savez(tmp_path / "t.npz", x=BYTES.astype("f4"))
    settings = {"options": OPTIONS, "epochs": 1, "progress": False}
    run = fit_entry("vae", tmp_path / "run", data=tmp_path / "t.npz", **settings)
    assert run.encode({"x": BYTES.astype("f4")})["z"].shape == (20, 2)
    with pytest.raises(DataError, match="got uint8, which is scaled"):
        run.encode({"x": BYTES})


def test_a_runs_own_data_that_are_read_as_other_columns_are_refused(measured, tmp_path):
    """As after an update that reads a file otherwise; named, it is read by the run's names."""
    data, _ = measured
    settings = {"options": {"likelihood": "normal", **OPTIONS}, "epochs": 1, "progress": False}
    fit_entry("vae", tmp_path / "run", data=data, **settings)
    run, _, splits = splits_of(tmp_path / "run")
    _refuse_other_columns(tmp_path, run, splits, own=True)
    x = run.config["data"]["columns"]["x"]
    for fact, then in (("names", ["a", *x["names"][1:]]), ("dtype", "uint8"), ("shape", [9])):
        kept, x[fact] = x[fact], then
        with pytest.raises(RunError, match=f"'x' with the {fact} that the run .* --data PATH"):
            _refuse_other_columns(tmp_path, run, splits, own=True)
        x[fact] = kept
    rows = run.config["data"]["rows"]
    rows["test"] += 1
    with pytest.raises(RunError, match=r"rows of test data, as the run .* has not seen: --data"):
        _refuse_other_columns(tmp_path, run, splits, own=True)


def test_a_runs_own_data_are_read_by_its_names_where_another_version_read_other_columns(
    measured, tmp_path, monkeypatch, caplog
):
    data, _ = measured
    settings = {"options": {"likelihood": "normal", **OPTIONS}, "epochs": 1, "progress": False}
    before = workflow.load
    x = before(data).train.spec["x"]

    def other_order(path, **given):
        """As a version would read the file that orders the features by another rule."""
        if given.get("like") is not None:
            return before(path, **given)
        return before(path, like={"x": {**x, "names": x["names"][::-1]}}, **given)

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "load", other_order)
        fit_entry("vae", tmp_path / "run", data=data, **settings)
        fitted = splits_of(tmp_path / "run")[2]
    assert "read by the names of the run" not in caplog.text
    found = splits_of(tmp_path / "run")[2]
    assert found.train.names["x"] == tuple(x["names"][::-1])
    for mine, theirs in zip(found, fitted, strict=True):
        np.testing.assert_array_equal(mine["x"], theirs["x"])
    assert "read by the names of the run" in caplog.text
    assert any("read by the names of the run" in note for note in found.train.notes)
