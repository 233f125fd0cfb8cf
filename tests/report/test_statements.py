"""What a report says of pairs made by hand follows from their numbers."""

from __future__ import annotations

import json

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppvae
from ppvae.data import Dataset, Splits
from ppvae.nets import MLP, heads
from ppvae.programs import data_plate
from ppvae.report.facts import Facts
from ppvae.report.gallery import Subject
from ppvae.report.page import render

CLASSES, ITEMS, ANSWERS = 3, 5, 4


class Kinds(nn.Module):
    """p(kind) p(answers | kind): no continuous latent."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(CLASSES, ITEMS, ANSWERS))

    def forward(self, answers: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(answers, size=size):
            kind = pyro.sample("kind", dist.Categorical(torch.ones(CLASSES) / CLASSES))
            fn = dist.Categorical(logits=self.logits[kind]).to_event(1)
            return pyro.sample("answers", fn, obs=answers)


class KindsGuide(nn.Module):
    """q(kind | answers)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(ITEMS, CLASSES)

    def forward(self, answers: Tensor) -> None:
        with data_plate(answers):
            q = dist.Categorical(logits=self.net(answers.to(self.net.weight)))
            pyro.sample("kind", q, infer={"enumerate": "parallel"})


class Tally(nn.Module):
    """p(z) p(tally | z) and, with ``mean``, a likelihood that only uses the head's mean."""

    def __init__(self, *, mean: bool = False) -> None:
        super().__init__()
        self.net = MLP(2, heads.Poisson((ITEMS,)), hidden=[8])
        self.mean = mean

    def forward(self, tally: Tensor | None = None, *, size: int | None = None) -> Tensor:
        with data_plate(tally, size=size):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            fn = self.net(z)
            if self.mean:
                fn = dist.NegativeBinomial(fn.mean, logits=torch.zeros(())).to_event(1)
            return pyro.sample("tally", fn, obs=tally)


class TallyGuide(nn.Module):
    """q(z | tally)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MLP(ITEMS, heads.DiagonalNormal(2), hidden=[8])

    def forward(self, tally: Tensor) -> None:
        with data_plate(tally):
            pyro.sample("z", self.net(tally))


def test_a_pair_of_classes_alone_is_not_told_that_no_dimension_varies(tmp_path):
    answers = torch.randint(ANSWERS, (40, ITEMS))
    run = ppvae.fit(
        Kinds(),
        KindsGuide(),
        {"answers": answers},
        epochs=2,
        batch_size=20,
        seed=0,
        progress=False,
        compile=False,
    )
    page = run.report({"answers": answers}, tmp_path / "run").read_text()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "active_units" not in metrics
    assert "No dimension" not in page
    assert "Kinds with KindsGuide" in page
    assert "data it has not seen" not in page
    assert "per evaluated datum" in page


def counted(rows: int) -> Dataset:
    return Dataset({"tally": torch.poisson(5 * torch.rand(rows, ITEMS))})


@pytest.mark.parametrize("mean", [False, True])
def test_the_null_model_is_of_the_family_that_scores_the_observed_column(mean):
    torch.manual_seed(0)
    splits = Splits(counted(30), None, counted(20))
    run = ppvae.runs.Run(Tally(mean=mean).eval(), TallyGuide().eval())
    likelihood = Subject(run, splits).likelihood
    if mean:
        assert likelihood is None
        return
    assert likelihood is not None
    assert likelihood.column == "tally"
    null = ppvae.evaluate.null_log_likelihood(
        run.model, splits.train, splits.test, column=likelihood.column
    )
    rate = splits.train["tally"].double().mean(0)
    expected = dist.Poisson(rate).log_prob(splits.test["tally"].double()).sum(1).mean()
    assert null == pytest.approx(float(expected), rel=1e-6)


def test_a_doubtful_log_likelihood_is_marked_among_the_numbers():
    numbers = {"log_likelihood": -80.0, "elbo": -90.0, "untrusted": 0.4, "effective": 1.3}
    for metrics, marked in (
        (numbers, True),
        (numbers | {"untrusted": 0.0, "effective": 9}, False),
    ):
        page = render(Facts(metrics=metrics))
        row = page[page.index('title="log_likelihood"') :].split("</tr>")[0]
        assert ("(!)" in row) == ("not to be trusted: Pareto k above 0.7" in row) == marked
