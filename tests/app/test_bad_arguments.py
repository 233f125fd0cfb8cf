"""Flags with bad values end a command with one line in words: a sample of each kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppvae import report
from ppvae.app.cli import main
from ppvae.app.workflow import fit_entry


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a run of them without a report, and places to search."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.normal(size=(40, 6)))
    at = np.stack(np.meshgrid(range(3), range(3)), -1).reshape(-1, 2)
    np.savez(folder / "places.npz", x=rng.normal(size=(9, 1, 4)), position=at, target=at[:, 0])
    (folder / "other").mkdir()
    (folder / "loop").symlink_to("loop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_all", lambda run, splits, out: run.save(out))
        options = {"hidden": (4,), "latent_dim": 2}
        given = {"epochs": 1, "progress": False, "device": "cpu"}
        fit_entry("vae", folder / "run", data=folder / "d.npz", options=options, **given)
    return folder


EXPLORE = ["explore", "--data", "places.npz", "--budget", "4", "--start", "2", "--quiet"]
BAD = {
    "a flag given twice": (
        ["sample", "run", "--count=1", "--count=2"],
        2,
        "--count: expected once",
    ),
    "an option given twice": (
        ["fit", "vae", "--latent-dim", "2", "--latent-dim=3"],
        2,
        "--latent-dim: expected once",
    ),
    "an option in the words of Python": (
        ["fit", "vae", "--latent_dim", "2"],
        2,
        "--latent_dim 2. The nearest is --latent-dim.",
    ),
    "an option that no other is near to": (
        ["fit", "vae", "--lr=0.1"],
        2,
        "--lr=0.1. ppvae fit MODEL --help shows",
    ),
    "a setting of a sweep": (["sweep", "vae", "--epochs", "1"], 2, "by --set epochs=VALUES."),
    "rows of numbers for convolutions": (
        ["fit", "vae", "--data", "d.npz", "--network", "conv", "--quiet"],
        1,
        "for networks of convolutions; got rows with shape (6,). Use mlp as network.",
    ),
    "rows of numbers for a pose": (
        ["fit", "rvae", "--data", "d.npz", "--quiet"],
        1,
        "x: expected pictures, with shape (C, H, W), for the pose; got rows with shape (6,).",
    ),
    "rows of numbers for solids": (
        ["fit", "so3vae", "--data", "d.npz", "--quiet"],
        1,
        "x: expected pictures, with shape (C, H, W), for the rotation of solids",
    ),
    "no path": (["sample", "run", "--out="], 2, "expected a path; got ''"),
    "no run": (["report", ""], 2, "expected a path; got ''"),
    "a device of no kind": (["sample", "run", "--device=,"], 1, "expected 'cuda', 'mps' or 'cpu'"),
    "a device that is not here": (
        ["encode", "run", "--data", "d.npz", "--out", "z.csv", "--device=xpu"],
        1,
        "device: expected an available one",
    ),
    "trust in nothing": (["report", "run", "--trust="], 1, "--trust: expected a module"),
    "trust in a folder": (["report", "run", "--trust=other"], 1, "a folder without code"),
    "data that would be lost": (
        ["encode", "run", "--data", "d.npz", "--out", "d.npz"],
        1,
        "expected another file than the data",
    ),
    "this folder, without pictures": (["inspect", "."], 1, "ppvae: .: expected picture files"),
    "more draws than fit into memory": (
        ["sample", "run", "--count", "99999999999999"],
        1,
        "count: expected at most",
    ),
    "more networks than are fitted": (
        [*EXPLORE, "--ensemble", "99999999999999"],
        1,
        "ensemble: expected an integer from 1 to 1000",
    ),
    "data that lead in a circle": (
        ["encode", "run", "--data", "loop", "--out", "z.csv"],
        1,
        "expected",
    ),
    "a price below zero": ([*EXPLORE, "--price=-1"], 1, "expected price >= 0"),
    "a price of nan": ([*EXPLORE, "--price=nan"], 1, "price: expected"),
    "a reach of nan": ([*EXPLORE, "--reach=nan"], 1, "reach: expected"),
    "a search in a run": ([*EXPLORE, "--out", "run"], 1, "holds other files"),
    "a meeting of one": (["fit", "vae", "--meet", "a:1"], 1, "--meet: expected HOST:PORT"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_argument_is_refused_in_words(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    arguments, status, words = BAD[kind]
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    before = (place / "d.npz").read_bytes()
    if status == 2:
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    else:
        assert main(arguments) == status
    assert words in capsys.readouterr().err
    assert (place / "d.npz").read_bytes() == before
    assert not (place / "plots").exists()
