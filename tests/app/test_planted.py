"""Links planted in a run's folder: no command writes through them, or reads what they lead to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import ppvae
from ppvae.app import workflow
from ppvae.app.cli import main
from ppvae.app.comparison import _arviz
from ppvae.app.resume import arguments_of
from ppvae.data.hdf5 import refuse_outside
from ppvae.errors import DataError
from ppvae.zoo import entry

FIT = ["fit", "vae", "--epochs", "1", "--quiet", "--hidden", "4", "--checkpoint-every", "1"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without evaluation, its data, and a stranger's other files."""
    folder = tmp_path_factory.mktemp("planted")
    np.savez(folder / "d.npz", x=np.random.default_rng(0).normal(size=(40, 3)).astype("f4"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow.report, "write_all", lambda *given, **named: None)
        patch.setattr("ppvae.app.commands.fit.show_report", lambda folder: None)
        for name in ("run", "other"):
            out = ["--data", str(folder / "d.npz"), "--out", str(folder / name)]
            assert main([*FIT, *out]) == 0
    return folder


@pytest.fixture
def place(fitted: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(fitted, tmp_path / "place"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("planted", "leads", "command"),
    [
        ("samples", "", ["sample", "run"]),
        ("samples/samples.npz", "weights.safetensors", ["sample", "run"]),
        ("reconstructions", "", ["reconstruct", "run", "--data", "d.npz"]),
        ("reconstructions/reconstructions.npz", "config.json", ["reconstruct", "run", "--data"]),
        ("evaluations", "", ["evaluate", "run", "--data", "d.npz"]),
        ("evaluations/d", "", ["evaluate", "run", "--data", "d.npz"]),
        ("checkpoint", "checkpoint", [*FIT[:2], "--resume", "run", "--epochs", "2", "--quiet"]),
    ],
)
def test_no_command_writes_through_a_planted_link(
    place, monkeypatch, capsys, planted, leads, command
):
    monkeypatch.chdir(place)
    before, link = contents(place / "other"), place / "run" / planted
    shutil.rmtree(link, ignore_errors=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(place / "other" / leads)
    status = main([*command, "d.npz"] if command[-1] == "--data" else command)
    assert contents(place / "other") == before
    if leads.endswith((".json", ".safetensors")):
        assert status == 0
        assert not link.is_symlink()
    else:
        assert status == 1
        assert "expected a file or folder of its own; got a link" in capsys.readouterr().err


def test_a_checkpoint_of_another_run_is_named(place, caplog):
    shutil.rmtree(place / "run" / "checkpoint")
    shutil.copytree(place / "other" / "checkpoint", place / "run" / "checkpoint")
    given = {"options": {}, "seed": None, "data": None}
    for folder, said in (("other", False), ("run", True)):
        arguments_of(place / folder, entry("vae"), given)
        assert ("the checkpoint is not of the run in" in caplog.text) == said


def test_draws_that_are_not_finite_are_refused(place, capsys):
    run = ppvae.load(place / "run")
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(torch.finfo(parameter.dtype).max / 8)
    run.save(place / "run")
    assert main(["sample", str(place / "run")]) == 1
    assert "expected finite draws; got NaN or infinity in 'x'" in capsys.readouterr().err
    assert not (place / "run" / "samples").exists()


def test_a_folder_that_the_user_names_may_be_a_link(place):
    (place / "here").symlink_to(place / "other")
    assert main(["sample", str(place / "run"), "--out", str(place / "here")]) == 0
    assert (place / "other" / "samples.npz").exists()


def test_a_table_is_replaced_completely(place, monkeypatch):
    table = place / "codes.CSV"
    table.write_text("mine")
    encode = ["encode", str(place / "run"), "--data", str(place / "d.npz"), "--out", str(table)]
    with monkeypatch.context() as patch:
        patch.setattr(
            "pandas.DataFrame.to_csv",
            lambda *given, **named: (_ for _ in ()).throw(OSError(28, "No space left on device")),
        )
        assert main(encode) == 1
    assert table.read_text() == "mine"
    assert main(encode) == 0
    assert len(table.read_text().splitlines()) == 41
    assert sorted(p.name for p in place.iterdir()) == ["codes.CSV", "d.npz", "other", "run"]


@pytest.mark.parametrize("kind", ["link", "fifo", "external"])
def test_draws_that_are_compared_are_regular_files_without_other_files_data(place, kind):
    own, other = place / "run" / "arviz.nc", place / "other" / "arviz.nc"
    with h5py.File(other, "w") as file:
        file["log_likelihood"] = np.zeros(3)
    if kind == "link":
        own.symlink_to(other)
    elif kind == "fifo":
        os.mkfifo(own)
    else:
        with h5py.File(own, "w") as file:
            file["log_likelihood"] = h5py.ExternalLink(str(other), "/log_likelihood")
    table, without = _arviz(["run"], [place / "run"])
    assert table is None
    assert ("in the file itself" if kind == "external" else "expected a regular file") in without


def test_hdf5_with_data_in_other_files_is_refused(tmp_path):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["x"] = np.zeros((4, 2))
        file["group/own"] = h5py.SoftLink("/x")
    refuse_outside(tmp_path / "mine.h5")
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file["group/x"] = h5py.ExternalLink("mine.h5", "/x")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("x", (4, 2), "u1", external=[(str(tmp_path / "mine.h5"), 0, 8)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((4, 2), "f8")
        layout[:] = h5py.VirtualSource("mine.h5", "x", (4, 2))
        file.create_virtual_dataset("x", layout)
    for name in ("external", "raw", "virtual"):
        with pytest.raises(DataError, match="expected data in the file itself"):
            refuse_outside(tmp_path / f"{name}.h5")


def test_a_path_is_printed_without_its_escapes(monkeypatch, capsys) -> None:
    monkeypatch.setattr(workflow, "report_run", lambda run: Path(run) / "report.html")
    assert main(["report", "a\x1b[2J"]) == 0
    assert capsys.readouterr().out == "report: a\\x1b[2J/report.html\n"
