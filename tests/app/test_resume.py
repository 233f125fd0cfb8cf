"""Runs of the command line are never lost: numbered, interrupted, resumed, evaluated."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import ppvae
from ppvae.app import workflow
from ppvae.app.cli import main
from ppvae.app.workflow import fit_entry, splits_of
from ppvae.data import turned_solids
from ppvae.errors import RunError
from ppvae.fitting import Checkpoint
from ppvae.fitting.step import Step
from ppvae.runs import source
from ppvae.runs.config import sealed
from ppvae.runs.run import is_run

OPTIONS = {"hidden": (4,), "latent_dim": 2}
SMALL = ["--hidden", "4", "--latent-dim", "2", "--quiet", "--device", "cpu", "--batch-size", "16"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x = (np.random.default_rng(0).random((80, 1, 6, 6)) * 255).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=x)
    return tmp_path / "d.npz"


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["fit", "vae", "--data", str(data), "--out", str(out), *SMALL, *more]


def signalled(monkeypatch, number: int, at: int) -> None:
    """Send a signal at a step of the next fit, once."""
    call, steps = Step.__call__, [0]

    def stepping(self, batch):
        steps[0] += 1
        if steps[0] == at:
            os.kill(os.getpid(), number)
        return call(self, batch)

    monkeypatch.setattr(Step, "__call__", stepping)


def test_a_second_fit_is_numbered_and_says_so(data, tmp_path, capsys):
    for _ in range(2):
        assert main(command(data, tmp_path / "run", "--epochs", "1")) == 0
    assert "holds a run; this one goes to" in capsys.readouterr().err
    first, second = ppvae.load(tmp_path / "run"), ppvae.load(tmp_path / "run-2")
    assert first.id != second.id
    assert main(command(data, tmp_path / "run", "--epochs", "1", "--overwrite")) == 0
    assert ppvae.load(tmp_path / "run").id != first.id
    assert not (tmp_path / "run-3").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_saves_and_resume_goes_on(
    data, tmp_path, capsys, monkeypatch, number, code
):
    straight = tmp_path / "straight"
    assert main(command(data, straight, "--epochs", "4", "--seed", "5")) == 0
    out = tmp_path / "a run"
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        signalled(patched, number, at=7)
        assert main(command(data, out, "--epochs", "4", "--seed", "5")) == code
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().err
    go_on = said.partition("Go on with: ")[2]
    assert shlex.split(go_on) == ["ppvae", "fit", "vae", "--resume", str(out)]
    run = ppvae.load(out)
    assert (run.status, run.epochs) == ("interrupted", 1)
    small = ["--quiet", "--device", "cpu"]
    assert main(["fit", "vae", "--resume", str(out), *small]) == 0
    resumed, whole = ppvae.load(out), ppvae.load(straight)
    assert (resumed.status, resumed.epochs, resumed.id) == ("completed", 4, run.id)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "latent-dim: expected 2" in refused(
        capsys, "fit", "vae", "--resume", str(out), "--latent-dim", "3"
    )
    # Values that are the defaults, but not those of the run.
    for flag, default in (("--latent-dim", "10"), ("--hidden", "512,256"), ("--seed", "0")):
        assert f"{flag}: expected" in refused(
            capsys, "fit", "vae", "--resume", str(out), flag, default
        )
    assert "expected a run of ppvae fit cvae" in refused(
        capsys, "fit", "cvae", "--resume", str(out)
    )


@pytest.mark.parametrize("missing", [False, True])
def test_an_unchanged_run_resumes_without_a_warning_and_with_its_notes(
    tmp_path, capsys, monkeypatch, missing
):
    x = np.random.default_rng(0).standard_normal((80, 4)) * [1, 10, 100, 1000]
    if missing:
        x[::3, 1] = np.nan
    data, out = tmp_path / "d.npz", tmp_path / "run"
    np.savez(data, x=x)
    with monkeypatch.context() as patched:
        signalled(patched, signal.SIGTERM, at=7)
        assert main(command(data, out, "--epochs", "4", "--seed", "5")) == 143
    note = ppvae.load(out).config["data_note"]
    assert note.startswith("likelihood: normal-per-feature")
    assert ("imputed" in note) is missing
    capsys.readouterr()
    assert main(["fit", "vae", "--resume", str(out), "--quiet", "--device", "cpu"]) == 0
    assert "resume:" not in capsys.readouterr().err
    run = ppvae.load(out)
    assert (run.status, run.config["data_note"]) == ("completed", note)


@pytest.mark.parametrize("more", [0, 1])
def test_what_a_search_had_ended_is_pruned_unless_it_goes_on(data, tmp_path, more):
    class Prune:
        __module__ = "ppvae.app.sweep_optuna"  # Whose callbacks end a run for good.

        def on_epoch_end(self, training):
            if training.epoch == 1:
                training.stop, training.config["pruned"] = True, 1

    options = {"data": data, "options": OPTIONS, "progress": False, "device": "cpu"}
    callbacks = [Prune(), Checkpoint(tmp_path / "c")]
    fit_entry("vae", tmp_path / "run", epochs=2, callbacks=callbacks, **options)
    options |= {"callbacks": [Prune()], "resume": tmp_path / "c"}
    run = fit_entry("vae", tmp_path / "again", epochs=2 + more, **options)
    assert run.config.get("pruned") == (None if more else 1)
    assert run.epochs == (3 if more else 1)


def refused(capsys, *arguments: str) -> str:
    assert main([*arguments]) == 1
    return capsys.readouterr().err


def test_an_interrupted_run_is_evaluated_on_its_own_data(data, tmp_path, monkeypatch):
    class Stop:
        def on_epoch_end(self, training):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_entry(
            "vae",
            tmp_path / "run",
            data=data,
            options=OPTIONS,
            epochs=2,
            progress=False,
            callbacks=[Stop()],
        )
    _, _, splits = splits_of(tmp_path / "run")
    assert tuple(splits.train["x"].shape[1:]) == (1, 6, 6)


def test_a_path_of_data_is_followed_to_the_same_bytes_alone(data, tmp_path):
    fit_entry("vae", tmp_path / "run", data=data, options=OPTIONS, epochs=1, progress=False)
    splits_of(tmp_path / "run")
    content = data.read_bytes()
    data.write_bytes(content + b"0")
    with pytest.raises(RunError, match="there is something else. Say where they are: --data"):
        splits_of(tmp_path / "run")
    data.unlink()
    with pytest.raises(RunError, match="there is nothing"):
        splits_of(tmp_path / "run")
    os.mkfifo(data)
    with pytest.raises(RunError, match="there is something else"):
        splits_of(tmp_path / "run")
    (tmp_path / "moved.npz").write_bytes(content)
    assert splits_of(tmp_path / "run", data=tmp_path / "moved.npz")[2].train.num_rows == 80


def test_a_run_that_went_on_to_more_epochs_is_not_replaced_by_a_shorter_one(data, tmp_path):
    out = tmp_path / "run"
    assert main(command(data, out, "--epochs", "2", "--checkpoint-every", "1")) == 0
    again = ["fit", "vae", "--resume", str(out), "--quiet", "--device", "cpu"]
    assert main([*again, "--epochs", "3"]) == 0  # Without a further checkpoint.
    longer = ppvae.load(out)
    assert main(again) == 0
    resumed = ppvae.load(out)
    assert (longer.epochs, resumed.epochs) == (3, 3)
    assert [row["elbo"] for row in resumed.history] == [row["elbo"] for row in longer.history]


def test_a_device_or_a_pipe_that_a_run_names_as_its_data_is_not_opened(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(source.os, "open", lambda path, *given: opened.append(path))
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path(os.devnull)):
        assert source.digest_of_data(path) is None
    assert opened == []


def test_a_finished_run_outlives_one_that_is_interrupted(data, tmp_path, caplog):
    options = {"data": data, "options": OPTIONS, "epochs": 1, "progress": False}
    old = fit_entry("vae", tmp_path / "run", **options)

    class Stop:
        def on_step_end(self, training):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_entry("vae", tmp_path / "run", callbacks=[Stop()], **options)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["id"] == old.id
    assert is_run(tmp_path / "run-2")
    assert "which stays" in caplog.text


def test_modules_that_are_trusted_must_be_there(tmp_path, capsys):
    said = refused(capsys, "evaluate", str(tmp_path), "--trust", "no_such_module")
    assert "--trust: expected a module that can be imported" in said


def test_a_run_without_a_checkpoint_says_how_to_have_one(data, tmp_path, capsys):
    assert main(command(data, tmp_path / "run", "--epochs", "1")) == 0
    said = refused(capsys, "fit", "vae", "--resume", str(tmp_path / "run"))
    assert "holds a run without one" in said
    assert "--checkpoint-every 1" in said
    many = command(data, tmp_path / "many", "--epochs", "1", "--checkpoint-every", "1")
    assert main(many) == 0
    again = ["fit", "vae", "--resume", str(tmp_path / "many"), "--epochs", "2", "--quiet"]
    assert main([*again, "--device", "cpu"]) == 0
    assert ppvae.load(tmp_path / "many").epochs == 2


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of pictures and a table of their labels."""
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = ["file,class"]
    for number, values in enumerate(np.random.default_rng(0).random((40, 6, 6))):
        Image.fromarray((values * 255).astype(np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'ab'[number % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder, tmp_path / "labels.csv"


def test_a_table_of_labels_is_followed_to_the_same_bytes_alone(pictures, tmp_path):
    folder, labels = pictures
    run, reading = tmp_path / "run", {"labels": labels}
    settings = {"epochs": 1, "progress": False, "options": OPTIONS}
    fit_entry("cvae", run, data=folder, reading=reading, **settings)
    assert splits_of(run)[2].train.names["y"] == ("a", "b")
    kept = labels.read_bytes()
    labels.write_bytes(kept + b"\n")
    with pytest.raises(RunError, match="table of labels at .*; there is something else"):
        splits_of(run)
    labels.unlink()
    with pytest.raises(RunError, match="table of labels at .*; there is nothing"):
        splits_of(run)


@pytest.mark.parametrize(
    "reading",
    [
        {"labels": "/etc/passwd"},
        {"like": {}},
        {"size": {}},
        {"labels": ["/etc/passwd"]},
        {"no such": 1},
        3,
    ],
)
def test_a_reading_in_a_file_reads_nothing_else(data, tmp_path, reading):
    fit_entry("vae", tmp_path / "run", data=data, options=OPTIONS, epochs=1, progress=False)
    path = tmp_path / "run" / "config.json"
    config = {**json.loads(path.read_text()), "reading": reading}
    path.write_text(json.dumps(sealed(config)))
    with pytest.raises(RunError, match="expected reading to be|table of labels"):
        splits_of(tmp_path / "run")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_sweep_ends_by_a_signal_and_goes_on(
    monkeypatch, data, tmp_path, capsys, number: int, code: int
) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "sweep"
    sets = ["--set", "latent_dim=2,3", "--set", "hidden=4", "--set", "epochs=2"]
    sweep = ["sweep", "vae", "--data", str(data), "--out", str(out), "--device", "cpu", *sets]
    with monkeypatch.context() as patch:
        signalled(patch, number, at=1)
        assert main(sweep) == code
    assert f"Stopped; the same command goes on with what is left in {out}" in (
        capsys.readouterr().err
    )
    assert len(list((out / "runs").iterdir())) == 1
    assert main(sweep) == 0
    assert [ppvae.load(run).status for run in (out / "runs").iterdir()] == ["completed"] * 2


def test_a_run_on_an_entrys_data_of_another_version_is_refused():
    splits = turned_solids("cube", num=20, size=8)
    recorded = {"x": {"shape": [1, 16, 16]}, "orientation": {"shape": [3, 3]}}
    run = SimpleNamespace(config={"data": {"columns": recorded}})
    with pytest.raises(RunError, match=r"the shape that .*, \[1, 16, 16\]; got \[1, 8, 8\]"):
        workflow._refuse_other_columns("run", run, splits, own=False)
    recorded["x"]["shape"] = [1, 8, 8]
    workflow._refuse_other_columns("run", run, splits, own=False)
