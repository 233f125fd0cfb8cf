"""Options of the models on the command line: what each takes."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from ppvae import zoo
from ppvae.app import cli
from ppvae.zoo.options import parse_options


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("beta", -1.0, "a number from 0; got -1.0. Leave it out for 1.0"),
        ("beta", math.nan, "a number from 0; got nan"),
        ("beta", math.inf, "a number from 0; got inf"),
        ("latent_dim", 0, "a number from 1; got 0. Leave it out for 10"),
        ("hidden", [64, 0], "a number from 1; got 64,0. Leave it out for 512,256"),
        ("network", "cnn", "one of mlp, conv; got cnn"),
    ],
)
def test_values_out_of_range_are_refused_in_words(name, value, rule):
    with pytest.raises(ValueError, match=f"^{name}: expected {rule}"):
        parse_options(zoo.entry("vae").options, {name: value})


def test_bounds_of_numbers_that_have_others():
    options = zoo.entry("gpvae").options
    with pytest.raises(ValueError, match="period: expected a number above 0; got 0"):
        options(period=0.0)
    with pytest.raises(ValueError, match="lowest: expected a finite number; got -inf"):
        options(lowest=-math.inf)
    assert options(lowest=-3.0).lowest == -3.0
    assert zoo.entry("vae").options(hidden=()).hidden == ()


def test_every_default_is_within_its_own_range():
    for name in zoo.names():
        made = zoo.entry(name).options()
        assert {f.name for f in fields(made)} == set(vars(made))


def test_the_command_line_says_so(capsys, tmp_path):
    assert cli.main(["fit", "vae", "--beta", "-1", "--out", str(tmp_path / "run")]) != 0
    assert "beta: expected a number from 0; got -1.0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
