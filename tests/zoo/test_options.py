"""Options of the models on the command line: what each takes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields

import numpy as np
import pytest

from ppvae import zoo
from ppvae.app import cli
from ppvae.zoo.options import parse_options


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("beta", -1.0, "a number >= 0; got -1.0. Leave it out for 1"),
        ("beta", math.nan, "a number >= 0; got nan"),
        ("beta", math.inf, "a number >= 0; got inf"),
        ("latent_dim", 0, "an integer >= 1; got 0. Leave it out for 10"),
        ("latent_dim", 2**31, "an integer below 2,147,483,648; got 2147483648"),
        ("latent_dim", 2.5, "an integer >= 1; got 2.5"),
        ("latent_dim", True, "an integer >= 1; got True"),
        ("full_covariance", 1, "True or False; got 1"),
        ("hidden", [64, 0], r"integers >= 1; got \(64, 0\). Leave it out for 512,256"),
        ("hidden", [64, "32"], "integers such as 32,16; got .*Leave it out for 512,256"),
        ("network", "cnn", "one of 'mlp', 'conv'; got 'cnn'"),
    ],
)
def test_values_out_of_range_are_refused_in_words(name, value, rule):
    with pytest.raises(ValueError, match=f"^{name}: expected {rule}"):
        parse_options(zoo.entry("vae").options, {name: value})


def test_bounds_of_numbers_that_have_others():
    options = zoo.entry("gpvae").options
    with pytest.raises(ValueError, match="period: expected a number > 0; got 0"):
        options(period=0.0)
    with pytest.raises(ValueError, match="lowest: expected a finite number; got -inf"):
        options(lowest=-math.inf)
    assert options(lowest=-3.0).lowest == -3.0
    assert zoo.entry("vae").options(hidden=()).hidden == ()


def test_numbers_of_numpy_are_taken_as_pythons():
    made = zoo.entry("vae").options(
        latent_dim=np.int64(3), hidden=(np.int32(8), 4), beta=np.float32(0.5)
    )
    assert json.loads(json.dumps(asdict(made)))["latent_dim"] == 3
    assert made == zoo.entry("vae").options(latent_dim=3, hidden=(8, 4), beta=0.5)


def test_help_says_what_to_type_and_the_default(capsys):
    with pytest.raises(SystemExit):
        cli.main(["fit", "rvae", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--undo {true,false} undo the pose" in said
    assert "--rotation NUMBER standard deviation" in said
    assert "any angle (default 3.14159)" in said
    assert "number of passes over the training data (default 40)" in said
    with pytest.raises(SystemExit):
        cli.main(["fit", "gpvae", "--help"])
    assert "(default )" not in capsys.readouterr().out


def test_every_default_is_within_its_own_range():
    for name in zoo.names():
        made = zoo.entry(name).options()
        assert {f.name for f in fields(made)} == set(vars(made))


def test_the_command_line_says_so(capsys, tmp_path):
    assert cli.main(["fit", "vae", "--beta", "-1", "--out", str(tmp_path / "run")]) != 0
    assert "beta: expected a number >= 0; got -1.0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
