"""What a file of ArviZ holds of pairs with deterministic, discrete and oddly named sites."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppvae import evaluate
from ppvae.errors import ContractError
from ppvae.programs import data_plate
from ppvae.runs.run import Run

ROWS = 7


class Computed(nn.Module):
    """A global g, z per datum, and what is computed from them inside and outside the plate."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(3))

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        g = pyro.sample("g", dist.Normal(self.zero, 1.0).to_event(1))
        pyro.deterministic("total", g.sum(-1))
        pyro.deterministic("twice", 2 * g)
        pyro.deterministic("declared", 2 * g, event_dim=1)
        pyro.deterministic("constant", torch.arange(3.0))
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero[:2], 1.0).to_event(1))
            pyro.deterministic("norm", z.norm(dim=-1))
            pyro.deterministic("square", z.square())
            pyro.deterministic("same", z.square(), event_dim=1)
            pyro.deterministic("outer", z.unsqueeze(-1) * z.unsqueeze(-2))
            pyro.deterministic("one", torch.tensor(1.0))
            x = pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)
        pyro.deterministic("outside", z[..., 1])
        return x


class ComputedGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> None:
        pyro.sample("g", dist.Normal(torch.zeros(3), self.scale).to_event(1))
        with data_plate(x):
            loc = x.unsqueeze(-1).expand(-1, 2)
            pyro.sample("z", dist.Normal(loc, self.scale).to_event(1))


@pytest.mark.parametrize("chunk", [None, 3])
def test_deterministic_sites_are_in_the_posterior_at_its_draws(chunk, tmp_path):
    run, data = Run(Computed(), ComputedGuide()), {"x": torch.randn(ROWS)}
    path = tmp_path / "arviz.nc"
    tree = evaluate.to_arviz(run, data, num_draws=4, prior_rows=3, chunk=chunk, path=path)
    for group, rows in (("posterior", ROWS), ("prior", 3)):
        values = {name: tree[group][name].values for name in tree[group].data_vars}
        g, z = values["g"], values["z"]
        assert z.shape == (1, 4, rows, 2)
        for name, expected in {
            "total": g.sum(-1),
            "twice": 2 * g,
            "declared": 2 * g,
            "constant": np.broadcast_to(np.arange(3.0), (1, 4, 3)),
            "norm": np.linalg.norm(z, axis=-1),
            "square": z**2,
            "same": z**2,
            "outer": z[..., None] * z[..., None, :],
            "one": np.ones((1, 4, rows)),
            "outside": z[..., 1],
        }.items():
            assert values[name].shape == expected.shape, name
            np.testing.assert_allclose(values[name], expected, atol=1e-5, err_msg=name)
        assert tree[group]["outer"].dims == ("chain", "draw", "sample", "outer_0", "outer_1")


class Named(nn.Module):
    """z and x under other names, beside a column of any name."""

    def __init__(self, latent: str, observed: str) -> None:
        super().__init__()
        self.latent, self.observed = latent, observed
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(x, size=size):
            z = pyro.sample(self.latent, dist.Normal(torch.zeros(2), 1.0).to_event(1))
            fn = dist.Normal(z.repeat_interleave(2, -1), self.scale).to_event(1)
            return pyro.sample(self.observed, fn, obs=x)


class NamedGuide(Named):
    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            pyro.sample(self.latent, dist.Normal(x[..., :2], self.scale).to_event(1))


@pytest.mark.parametrize(
    ("latent", "observed", "column"),
    [
        ("latent", "feature", "w"),
        ("feature", "latent", "direction"),
        ("draw", "sample", "chain"),
        ("z", "x", "sample"),
        ("z", "x", "feature"),
        ("class", "row", "latent"),
        ("a/z", "b/x", "w"),
    ],
)
@pytest.mark.parametrize("stored", [True, False])
def test_sites_and_columns_may_be_called_as_dims(latent, observed, column, stored, tmp_path):
    run = Run(Named(latent, observed), NamedGuide(latent, observed))
    data = {"x": torch.randn(ROWS, 4), column: torch.arange(2.0 * ROWS).reshape(ROWS, 2)}
    path = tmp_path / "arviz.nc" if stored else None
    tree = evaluate.to_arviz(run, data, num_draws=4, path=path)
    lead = {name: f"{name}_" for name in ("chain", "draw", "sample")}
    lead |= {"a/z": "a_z", "b/x": "b_x"}
    shapes = {
        ("posterior", latent): (1, 4, ROWS, 2),
        ("posterior_predictive", observed): (1, 4, ROWS, 4),
        ("observed_data", observed): (ROWS, 4),
        ("constant_data", column): (ROWS, 2),
    }
    for (group, name), shape in shapes.items():
        variable = tree[group][lead.get(name, name)]
        assert variable.shape == shape
        assert not set(variable.dims) & {latent, observed, column} - set(lead)
    np.testing.assert_array_equal(
        tree["constant_data"][lead.get(column, column)].values, data[column].numpy()
    )


class Switches(nn.Module):
    """A class u, a switch v and a global switch k, all of them summed exactly."""

    def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
        k = pyro.sample("k", dist.Categorical(logits=torch.zeros(2)))
        with data_plate(x, size=size):
            u = pyro.sample("u", dist.Categorical(logits=torch.zeros(3)))
            v = pyro.sample("v", dist.Bernoulli(torch.tensor(0.5)))
            return pyro.sample("x", dist.Normal(u + v + k, 1.0), obs=x)


class SwitchesGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> None:
        exact = {"enumerate": "parallel"}
        two = self.logit * torch.arange(2.0)
        pyro.sample("k", dist.Categorical(logits=two), infer=exact)
        with data_plate(x):
            logits = x.unsqueeze(-1) * torch.arange(3.0)
            pyro.sample("u", dist.Categorical(logits=logits), infer=exact)
            pyro.sample("v", dist.Bernoulli(logits=self.logit * x), infer=exact)


def test_probabilities_of_classes_switches_and_global_sites_are_stored():
    run, x = Run(Switches(), SwitchesGuide()), torch.randn(ROWS)
    posterior = evaluate.to_arviz(run, {"x": x}, num_draws=4, chunk=3)["posterior"]
    assert posterior["u_probs"].dims[:3] == ("chain", "draw", "sample")
    assert posterior["u_probs"].shape == (1, 4, ROWS, 3)
    assert posterior["v_probs"].dims == ("chain", "draw", "sample")
    assert posterior["k_probs"].dims[:2] == ("chain", "draw")
    assert posterior["k_probs"].shape == (1, 4, 2)
    expected = torch.sigmoid(0.3 * x).numpy()
    np.testing.assert_allclose(posterior["v_probs"].values[0, 0], expected, atol=1e-6)
    data = {"x": x}
    assert 0 <= evaluate.check_predictions(run, data, num_draws=20).means()["coverage/0.9"] <= 1


class Anchored(nn.Module):
    """A global mu with a measurement of its own, beside the data, and no argument size."""

    def forward(self, x: Tensor | None = None) -> Tensor:
        mu = pyro.sample("mu", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("anchor", dist.Normal(mu, 1.0), obs=torch.tensor(1.0))
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            return pyro.sample("x", dist.Normal(mu + z, 1.0), obs=x)


class AnchoredGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> None:
        pyro.sample("mu", dist.Normal(self.loc, 0.1))
        with data_plate(x):
            pyro.sample("z", dist.Normal(x / 2, 0.7))


def test_a_measurement_beside_the_data_is_no_datum_and_rows_need_the_argument_size():
    run, x = Run(Anchored(), AnchoredGuide()), torch.randn(ROWS)
    tree = evaluate.to_arviz(run, {"x": x}, num_draws=4, prior_rows=0)
    assert list(tree["posterior_predictive"].data_vars) == ["x"]
    check = evaluate.check_reconstructions(run, {"x": x}, num_draws=20)
    assert check.crps.shape == (ROWS,)
    latents = run.encode({"x": x})
    assert run.decode(latents, x=x)["x"].shape == (ROWS,)
    with pytest.raises(ContractError, match=r"data_plate\(x, size=size\)"):
        run.decode(latents)
    for known in (None, {"x": x}):
        with pytest.raises(ContractError, match="expected predictions of 7 data; got 1"):
            run.predict(known, rows=ROWS)
