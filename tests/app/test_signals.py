"""SIGINT and SIGTERM in each command: the exit status, what is kept, and how to go on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import ppvae
from ppvae import report
from ppvae.active import Search
from ppvae.app import comparison
from ppvae.app.cli import main
from ppvae.app.workflow import fit_entry
from ppvae.data import image_spectra
from ppvae.errors import Interrupted
from ppvae.fitting import ending_on_signals, loop
from ppvae.fitting.step import Step
from ppvae.runs import files
from ppvae.signals import raising_on_signals

CODES = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
ENDED = pytest.mark.parametrize(("number", "code"), CODES)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(40, 6)), y=np.arange(40) % 2)
    return tmp_path / "d.npz"


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Path:
    """A run of classes, without its report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_all", lambda run, splits, out: run.save(out))
        options = {"hidden": (4,), "latent_dim": 2}
        given = {"epochs": 1, "progress": False, "device": "cpu"}
        fit_entry("cvae", tmp_path / "run", data=data, options=options, **given)
    return tmp_path / "run"


def signalling(number: int, function, at: int = 1):  # type: ignore[no-untyped-def]
    """A function that sends a signal to this process at its call of that number."""
    calls = [0]

    def called(*args, **kwargs):  # type: ignore[no-untyped-def]
        calls[0] += 1
        if calls[0] == at:
            os.kill(os.getpid(), number)
        return function(*args, **kwargs)

    return called


@ENDED
def test_a_search_keeps_its_measurements_and_goes_on(
    tmp_path, monkeypatch, capsys, number: int, code: int
) -> None:
    table = image_spectra(side=6)
    columns = {name: table[name].numpy() for name in ("x", "position")}
    np.savez(tmp_path / "lattice.npz", **columns, target=table["area"].numpy())
    out = tmp_path / "search"
    fast = ["--ensemble", "1", "--steps", "2", "--first-steps", "2", "--start", "4", "--quiet"]
    fast += ["--budget", "7", "--acquisition", "max-variance"]
    command = ["explore", "--data", str(tmp_path / "lattice.npz"), *fast]
    assert main([*command, "--out", str(tmp_path / "straight")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Search, "tell", signalling(number, Search.tell, at=6))
        assert main([*command, "--out", str(out)]) == code
    assert f"are saved in {out}; the same command goes on" in capsys.readouterr().err
    assert len(json.loads((out / "search.json").read_text())["steps"]) == 5
    assert main([*command, "--out", str(out)]) == 0
    both = [
        json.loads((f / "search.json").read_text())["steps"]
        for f in (out, out.parent / "straight")
    ]
    assert both[0] == both[1]


@ENDED
def test_a_prediction_before_stays_as_it_was(run, monkeypatch, capsys, number, code) -> None:
    command = ["predict", str(run), "--classes", "0", "1", "--draws", "4"]
    assert main(command) == 0
    before = (run / "predictions" / "predictions.npz").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", signalling(number, np.savez_compressed))
        assert main(command) == code
    assert "Every file is complete, old or new" in capsys.readouterr().err
    assert (run / "predictions" / "predictions.npz").read_bytes() == before
    assert [path.name for path in (run / "predictions").iterdir()] == ["predictions.npz"]


@ENDED
def test_an_evaluation_ends_and_the_run_is_whole(run, monkeypatch, capsys, number, code) -> None:
    before = ppvae.load(run).id
    with monkeypatch.context() as patch:
        patch.setattr(report, "write_all", signalling(number, report.write_all))
        assert main(["evaluate", str(run)]) == code
    name = signal.Signals(number).name
    assert f"ppvae: {name}. Every file is complete" in capsys.readouterr().err
    assert ppvae.load(run).id == before


@ENDED
@pytest.mark.parametrize("place", ["evaluation", "last step"])
def test_a_signal_after_training_leaves_the_evaluation_to_do(
    data, tmp_path, monkeypatch, capsys, place: str, number: int, code: int
) -> None:
    out = tmp_path / "new"
    command = ["fit", "vae", "--data", str(data), "--out", str(out), "--epochs", "1", "--quiet"]
    command += ["--hidden", "4", "--latent-dim", "2", "--device", "cpu", "--batch-size", "16"]
    with monkeypatch.context() as patch:
        if place == "evaluation":
            patch.setattr(report, "write_all", signalling(number, report.write_all))
        else:
            patch.setattr(Step, "__call__", signalling(number, Step.__call__, at=2))
        assert main(command) == code
    said = capsys.readouterr().err
    assert (
        f"saved in {out}, without its evaluation. Evaluate it with: ppvae evaluate {out}" in said
    )
    assert ppvae.load(out).status == "completed"
    assert not (out / "report.html").exists()


@ENDED
@pytest.mark.parametrize("command", ["fit", "sweep"])
def test_a_signal_while_a_fit_is_prepared_ends_it_before_the_first_step(
    data, tmp_path, monkeypatch, capsys, command: str, number: int, code: int
) -> None:
    if command == "sweep":
        pytest.importorskip("optuna")
    out = tmp_path / "new"
    arguments = [command, "vae", "--data", str(data), "--out", str(out), "--device", "cpu"]
    steps: list[object] = []
    monkeypatch.setattr(Step, "__call__", lambda self, batch: steps.append(batch))
    monkeypatch.setattr(loop, "assemble", signalling(number, loop.assemble))
    assert main(arguments + (["--set", "hidden=4"] if command == "sweep" else [])) == code
    said = capsys.readouterr().err
    again = (
        f"goes on with what is left in {out}" if command == "sweep" else "give the same command"
    )
    assert f"ppvae: {signal.Signals(number).name}. " in said
    assert again in said
    assert not steps
    assert not list(tmp_path.rglob("config.json"))


@pytest.mark.parametrize("scope", [ending_on_signals, raising_on_signals])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(scope, number: int) -> None:
    child = os.fork()
    if child == 0:
        with scope():
            try:
                os.kill(os.getpid(), number)
            except Interrupted:
                pass
            os.kill(os.getpid(), number)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + number


def test_an_interrupt_of_a_library_after_a_signal_names_the_signal() -> None:
    def library() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    with pytest.raises(Interrupted, match="SIGTERM"), raising_on_signals():
        library()
    with pytest.raises(KeyboardInterrupt) as plain, raising_on_signals():
        raise KeyboardInterrupt
    assert not isinstance(plain.value, Interrupted)


@ENDED
def test_a_comparison_before_stays_as_it_was(
    run, tmp_path, monkeypatch, capsys, number, code
) -> None:
    other, out = tmp_path / "other", tmp_path / "comparison"
    again = ppvae.load(run)
    with torch.no_grad():  # As a copy would be refused.
        next(again.model.parameters()).mul_(1.01)
    again.save(other)
    command = ["compare", str(run), str(other), "--out", str(out), "--draws", "8"]
    command += ["--device", "cpu", "--rows"]
    assert main([*command, "4"]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for place, name in ((comparison, "splits_of"), (comparison, "likelihoods"), (files, "sync")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, signalling(number, getattr(place, name)))
            assert main([*command, "3"]) == code
        said = capsys.readouterr().err
        assert f"ppvae: {signal.Signals(number).name}. Every file is complete" in said
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
