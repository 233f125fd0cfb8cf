"""An entry of a user's own, named on the command line as module:function."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import ppvae
from ppvae.app.cli import main
from ppvae.app.users import trusting

SOURCE = '''
from typing import Annotated
from torch import nn
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.zoo import option, register

@register("tiny", "a tiny VAE", fit={"epochs": 1, "batch_size": 16})
def tiny(columns, *, width: Annotated[int, option("size of z", least=1)] = 2, beta: float = 1.0):
    """Linear networks."""
    n = columns["x"]["shape"][0]
    model = VAE(MLP(width, heads.Normal((n,), heads.Shared()), hidden=()), latent_dim=width)
    guide = AmortizedGuide(MLP(n, heads.DiagonalNormal(width), hidden=()))
    return model, guide, ELBO(weights={"z": beta})

@register("taken", "an option with a name that is taken")
def taken(columns, *, seed: int = 2):
    return None

def plain(columns):
    return None
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"entries_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 3)).astype("f4"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    return name


def test_it_is_explained_fitted_and_evaluated(module, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["fit", f"{module}:tiny", "--help"])
    shown = capsys.readouterr().out
    assert "a tiny VAE" in shown
    assert "Linear networks." in shown
    assert "size of z (default 2)" in shown
    fit = ["fit", f"{module}:tiny", "--data", "x.npy", "--width", "3", "--quiet"]
    assert main([*fit, "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "Is it trained? " in shown
    out = tmp_path / "runs" / "tiny"
    config = json.loads((out / "config.json").read_text())
    assert config["recipe"]["builder"] == f"{module}:tiny"
    assert config["recipe"]["options"] == {"width": 3, "beta": 1.0}
    assert "a tiny VAE" in (out / "report.html").read_text()
    assert main(["inspect", "x.npy", "--model", f"{module}:tiny"]) == 0
    assert "tiny: 26 parameters, built for columns x" in capsys.readouterr().out
    elbo = json.loads((out / "metrics.json").read_text())["elbo"]
    (out / "report.html").unlink()
    assert main(["evaluate", str(out), "--device", "cpu"]) == 0
    assert json.loads((out / "metrics.json").read_text())["elbo"] == pytest.approx(elbo, rel=1e-3)
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{module}:plain", "to be an entry; got a function"),
        ("{module}:taken", "seed: expected options that ppvae fit has no flag for; got --seed"),
        ("{module}:other", "to be an entry; got nothing"),
        ("no_such_module:tiny", "a module 'no_such_module' on the path"),
    ],
)
def test_what_is_no_entry_is_refused_in_words(module, name, message, capsys):
    assert main(["fit", name.format(module=module), "--data", "x.npy"]) == 1
    assert message in capsys.readouterr().err


def test_an_entry_without_data_asks_for_them(module, capsys):
    assert main(["fit", f"{module}:tiny", "--quiet"]) == 1
    assert "--data PATH" in capsys.readouterr().err


def test_options_out_of_range_are_refused(module, capsys):
    assert main(["fit", f"{module}:tiny", "--data", "x.npy", "--width", "0"]) == 1
    assert "width: expected an integer >= 1; got 0" in capsys.readouterr().err


def test_it_is_callable(module, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = ppvae.zoo.entry(f"{module}:tiny")
    model, guide, objective = entry({"x": np.zeros((4, 3), "f4")}, beta=4.0)
    assert objective.weights == {"z": 4.0}


def test_commands_that_are_suggested_trust_its_module():
    assert trusting("my_module:tiny") == " --trust my_module"
    assert trusting("vae") == ""
