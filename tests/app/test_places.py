"""No result is written over a run, over what a command reads, or over another evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ppvae
from ppvae.app import workflow
from ppvae.app.cli import main
from ppvae.app.places import refuse_taken
from ppvae.app.workflow import evaluation_folder
from ppvae.errors import ArgumentError, RunError

FIT = ["fit", "vae", "--epochs", "1", "--quiet", "--hidden", "4", "--checkpoint-every", "1"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs without evaluation, and data."""
    folder = tmp_path_factory.mktemp("places")
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("f4")
    pd.DataFrame(x, columns=["g1", "g2", "g3"]).to_csv(folder / "d.csv", index=False)
    for number in (1, 2):
        (folder / f"s{number}").mkdir()
        np.savez(folder / f"s{number}" / "test.npz", x=x * number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow.report, "write_all", lambda *given, **named: None)
        patch.setattr("ppvae.app.commands.fit.show_report", lambda folder: None)
        for name in ("run", "other"):
            out = ["--data", str(folder / "d.csv"), "--out", str(folder / name)]
            assert main([*FIT, *out, "--seed", str(len(name))]) == 0
    return folder


@pytest.fixture
def place(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which commands run, and evaluations write no more than the run."""

    def write_all(run: ppvae.Run, data: object, folder: Path, **named: object) -> None:
        run.save(folder)

    monkeypatch.setattr(workflow.report, "write_all", write_all)
    monkeypatch.setattr("ppvae.app.commands.evaluate.show_report", print)
    copy = shutil.copytree(fitted, tmp_path / "place")
    monkeypatch.chdir(copy)
    return Path(copy)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("evaluate run --data s1/test.npz --out other", "holds a trained run"),
        ("evaluate run --data s1/test.npz --out run/plots/new", "a file of a run"),
        ("encode run --data s1/test.npz --out run/history.csv", "a file of a run"),
        ("encode run --data s1/test.npz --out other/history.csv", "a file of a run"),
        ("encode run --data s1/test.npz --out other/checkpoint/z.csv", "a file of a run"),
        ("encode run --data s1/test.npz --out s1/test.npz", "another file than the data"),
        ("sample run --out run/plots", "a file of a run"),
        ("reconstruct run --data reconstructions.npz --out .", "another file than the data"),
        ("reconstruct run --data s1/test.npz --out run/checkpoint", "a file of a run"),
        ("compare run other --data comparison.csv --out .", "another file than the data"),
        ("inspect pictures --out other/config.json", "ends in .png"),
        ("inspect pictures --out pictures/0.png", "another file than the data"),
        ("inspect pictures --out run/plots/loss.png", "a file of a run"),
        ("fit vae --resume run --out other", "which holds another run"),
    ],
)
def test_no_command_writes_over_a_run_or_over_what_it_reads(
    place: Path, capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    shutil.copy("s1/test.npz", "reconstructions.npz")
    shutil.copy("d.csv", "comparison.csv")
    (place / "pictures").mkdir()
    (place / "pictures" / "0.png").write_bytes(b"mine")
    before = contents(place)
    assert main(command.split()) == 1
    assert words in capsys.readouterr().err
    assert contents(place) == before


def test_the_data_of_the_fit_are_kept(
    place: Path, fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(fitted)
    assert main(["encode", "run", "--data", "s1/test.npz", "--out", str(fitted / "d.csv")]) == 1
    assert "another file than the data" in capsys.readouterr().err
    assert contents(fitted) == before


def test_files_of_sweeps_searches_and_runs_that_are_new_are_kept(tmp_path: Path) -> None:
    for marker, file in (("sweep.json", "study.log"), ("search.json", "maps/00015.npz")):
        folder = tmp_path / marker
        folder.mkdir()
        refuse_taken(folder / file)
        (folder / marker).touch()
        refuse_taken(folder / "latents.csv")
        with pytest.raises(RunError, match="a place of its own"):
            refuse_taken(folder / file)
    source = tmp_path / "d.csv"
    source.touch()
    (tmp_path / "same.csv").hardlink_to(source)
    with pytest.raises(ArgumentError, match="which would be lost"):
        refuse_taken(tmp_path / "same.csv", reads=(None, source))


def test_an_evaluation_replaces_an_earlier_one_of_the_same_data_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 1, 2):
        assert main(["evaluate", "run", "--data", f"s{number}/test.npz"]) == 0
    assert sorted(p.name for p in Path("run/evaluations").iterdir()) == ["test", "test-2"]
    for name, number in (("test", 1), ("test-2", 2)):
        source = str(place / f"s{number}" / "test.npz")
        assert ppvae.load(Path("run/evaluations") / name).config["source"] == source
    into = ["--out", "mine"]
    for _ in range(2):
        assert main(["evaluate", "run", "--data", "s1/test.npz", *into]) == 0
    capsys.readouterr()
    (place / "other" / "config.json").rename(place / "kept.json")
    assert main(["evaluate", "run", "--data", "s1/test.npz", "--out", "other"]) == 1
    assert "holds a run in training" in capsys.readouterr().err
    (place / "kept.json").rename(place / "other" / "config.json")
    for run, data in (("other", "s1"), ("run", "s2")):
        assert main(["evaluate", run, "--data", f"{data}/test.npz", *into]) == 1
        assert "the same run on the same data" in capsys.readouterr().err
    assert evaluation_folder("run", "..") == Path("run/evaluations") / place.parent.name
