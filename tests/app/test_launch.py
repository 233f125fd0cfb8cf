"""``ppvae fit --devices``: the command of each process, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ppvae
from ppvae.app.cli import main
from ppvae.app.launch import launch, without
from ppvae.errors import ArgumentError


def test_a_process_gets_the_other_arguments() -> None:
    given = [
        "fit",
        "vae",
        "--devices",
        "4",
        "--out",
        "a",
        "--nodes=2",
        "--meet",
        "h:1",
        "--seed=1",
    ]
    assert without(given) == ["fit", "vae", "--out", "a", "--seed=1"]


@pytest.mark.parametrize(
    ("devices", "nodes", "meet"),
    [(0, 1, None), (1, 0, None), (2, 2, None), (10**9, 1, None), (2, 1, "a:1"), (2, 2, "a")],
)
def test_numbers_that_make_no_sense_are_refused(devices: int, nodes: int, meet: None) -> None:
    with pytest.raises(ArgumentError, match="HOST:PORT|8 for each core"):
        launch([], devices=devices, nodes=nodes, meet=meet)


# The tests' default dtype does not reach the processes that --devices starts.
@pytest.mark.slow
@pytest.mark.usefixtures("single_precision")
def test_two_processes_write_one_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).random((300, 1, 8, 8), np.float32))
    data = ["--data", str(tmp_path / "data.npz"), "--quiet"]
    small = ["--network", "mlp", "--hidden", "8", "--epochs", "1", *data]
    assert main(["fit", "vae", *small, "--devices", "2", "--out", str(tmp_path / "two")]) == 0
    assert main(["fit", "vae", *small, "--out", str(tmp_path / "one")]) == 0
    two, one = (ppvae.load(tmp_path / name) for name in ("two", "one"))
    assert two.history[-1]["elbo"] == pytest.approx(one.history[-1]["elbo"], rel=1e-5)
    for name, value in one.model.state_dict().items():
        assert (value - two.model.state_dict()[name]).abs().max() < 1e-4
    capfd.readouterr()
    assert main(["fit", "vae", "--batch-size", "1", "--devices", "2", *data]) == 1
    said = capfd.readouterr().err
    assert "a row for each of 2 processes" in said
    assert "process 0 failed first" in said or "process 1 failed first" in said
