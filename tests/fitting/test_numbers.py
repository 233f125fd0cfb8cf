"""Numbers that are not finite: named, undone, tried again with a smaller step, given up."""

from __future__ import annotations

import itertools
import logging
import math

import pytest
import torch
from torch import Tensor, nn

from ppvae.data import Dataset, Splits
from ppvae.errors import DataError, DivergenceError, PPVAEError
from ppvae.fitting import Checkpoint, fit, training
from ppvae.fitting.callbacks import load_checkpoint
from ppvae.fitting.record import Record
from ppvae.guides import ConditionalGuide, SemiSupervisedGuide
from ppvae.models import ConditionalVAE, SemiSupervisedVAE
from ppvae.nets import MLP, Conditions, OneHot, heads
from tests.fitting.programs import D, LinearGuide, pair, splits, table


def quiet(*arguments, **options):
    return fit(
        *arguments, **{"epochs": 2, "batch_size": 16, "seed": 0, "progress": False, **options}
    )


class BreaksOnce(LinearGuide):
    """Breaks at a step, as long as the learning rate is above a bound."""

    def __init__(self, at: int, bound: float) -> None:
        super().__init__()
        self.at, self.bound, self.rate = at, bound, math.inf
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> None:
        if self.training:
            self.count += 1
            if self.rate > self.bound and self.count == self.at:
                x = x * torch.where(torch.arange(len(x)) == 3, torch.inf, 1.0)[:, None]
        super().forward(x)


class Rate:
    """Tells the guide the learning rate, before the first step and after each epoch's loss."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_fit_start(self, training):
        self.training = training
        training.optimizer.register_step_pre_hook(self._tell)

    def _tell(self, optimizer, *arguments):
        training = self.training
        training.guide.rate = optimizer.param_groups[0]["lr"]
        self.seen.append(training.guide.rate)


def test_a_step_that_breaks_is_undone_and_made_again_with_half_the_rate(caplog):
    guide = BreaksOnce(at=7, bound=6e-4)
    with caplog.at_level(logging.WARNING):
        run = quiet(pair()[0], guide, splits(), epochs=3, callbacks=[Rate()])
    assert (run.status, run.epochs, run.metrics["retries"]) == ("completed", 3, 1)
    assert all(math.isfinite(row["loss"]) for row in run.history)
    assert run.history.column("learning_rate") == pytest.approx([1e-3, 5e-4, 5e-4])
    (said,) = caplog.messages
    assert "step 6 (epoch 2 of 3)" in said
    assert "site 'z'" in said or "site 'x'" in said
    assert "rows " in said
    assert run.config["faults"][0] in said
    # Twelve steps that count, as without the fault.
    assert run.history[-1]["step"] == 12


def test_rows_and_site_are_named(caplog):
    with pytest.raises(DivergenceError, match=r"site '[xz]' in rows \d+.* of 16\)"):
        quiet(pair()[0], BreaksOnce(at=2, bound=0.0), splits(), retries=0)


def test_rows_of_a_last_batch_with_one_row_more_are_named():
    data = {"x": splits().train["x"][:49]}
    with pytest.raises(DivergenceError, match=r"site '[xz]' in rows \d+.* of 17\)"):
        quiet(pair()[0], BreaksOnce(at=3, bound=0.0), data, retries=0)


@pytest.mark.parametrize("seed", range(4))
def test_the_row_is_named_where_a_state_was_kept_within_the_epoch(monkeypatch, seed):
    class BreaksAtRow(LinearGuide):
        def forward(self, x: Tensor) -> None:
            super().forward(x * torch.where(x[:, :1] == 9.0, torch.inf, 1.0))

    monkeypatch.setattr(training, "READ_EVERY", 1)
    x = splits().train["x"].clone()
    x[x == 9.0] = 8.0
    x[40] = 9.0
    with pytest.raises(DivergenceError, match=r"in rows 40 \(1 of 16\)"):
        quiet(pair()[0], BreaksAtRow(), {"x": x}, retries=0, seed=seed)


def test_a_gradient_that_is_not_finite_is_named():
    class Steep(LinearGuide):
        def forward(self, x):
            # sqrt at zero: finite forwards, infinite backwards.
            zero = (self.raw - self.raw.detach())[0, 0]
            super().forward(x + zero.abs().sqrt())

    with pytest.raises(DivergenceError, match="beginning with the gradient of .*raw"):
        quiet(pair()[0], Steep(), splits(), retries=1)


def test_weights_that_are_not_finite_are_in_no_checkpoint(tmp_path):
    checkpoint = Checkpoint(tmp_path / "c", every=None, seconds=1e-9)
    with pytest.raises(DivergenceError):
        quiet(pair()[0], BreaksOnce(at=2, bound=0.0), splits(), retries=0, callbacks=[checkpoint])
    tensors = load_checkpoint(tmp_path / "c")["tensors"]
    assert all(bool(value.isfinite().all()) for value in tensors.values())


def test_retries_are_counted_and_come_to_an_end(tmp_path):
    guide = BreaksOnce(at=7, bound=0.0)
    with pytest.raises(DivergenceError, match="after 2 retries") as caught:
        quiet(pair()[0], guide, splits(), epochs=3, retries=2, callbacks=[Rate()])
    run = caught.value.run
    assert (run.status, run.epochs) == ("diverged", 1)
    assert len(run.config["faults"]) == 2
    assert all(p.isfinite().all() for p in (*run.model.parameters(), *run.guide.parameters()))


@pytest.mark.parametrize("rate", [1e3, 30.0])
def test_a_rate_far_too_high_is_no_completed_run(rate):
    with pytest.raises(DivergenceError, match="'elbo' was .* at first|not finite"):
        quiet(*pair(), {"x": table(64)}, epochs=20, learning_rate=rate, retries=1)


def test_an_elbo_that_rises_and_falls_within_reason_is_fine():
    assert quiet(*pair(), {"x": table(64)}, epochs=20, learning_rate=0.3).status == "completed"


def test_a_validation_that_is_not_finite_is_an_event():
    class Overflows(LinearGuide):
        def forward(self, x):
            broken = not self.training and self.done
            super().forward(x * torch.inf if broken else x)

    guide = Overflows()
    guide.done = False

    class Start:
        def on_fit_start(self, training):
            guide.done = True

    with pytest.raises(DivergenceError, match=r"'val_.*rows 0, 1.* of the validation") as caught:
        quiet(pair()[0], guide, splits(), callbacks=[Start()])
    assert caught.value.run.epochs == 0
    assert len(caught.value.run.history) == 0
    assert len(caught.value.run.config["faults"]) == 3


def test_the_means_of_an_epoch_are_those_of_its_own_data():
    record, epochs = Record([nn.Parameter(torch.zeros(1))]), []
    for values in ((1.0, 4.0), (6.0, 9.0)):
        for value, rows in zip(values, (2, 1), strict=True):
            record.add({"elbo": torch.tensor(value)}, rows)
            assert record.read() is None
        epochs.append(record.finish())
    assert epochs == [{"elbo": 2.0}, {"elbo": 7.0}]


def test_labels_out_of_range_are_refused_wherever_they_are():
    def cvae():
        c = Conditions(OneHot(3))
        decoder = MLP([2, 3], heads.Normal((D,)), hidden=[8])
        encoder = MLP([D, 3], heads.DiagonalNormal(2), hidden=[8])
        return ConditionalVAE(decoder, c, latent_dim=2), ConditionalGuide(encoder, c)

    def ssvae():
        decoder = MLP([2, 3], heads.Normal((D,)), hidden=[8])
        encoder = MLP([D, 3], heads.DiagonalNormal(2), hidden=[8])
        classifier = MLP(D, heads.Classes(3), hidden=[8])
        model = SemiSupervisedVAE(decoder, latent_dim=2, num_classes=3)
        return model, SemiSupervisedGuide(encoder, classifier=classifier, num_classes=3)

    y = torch.arange(64) % 3
    bad = y.clone()
    bad[40] = 7
    good = Dataset({"x": table(64), "y": y})
    wrong = Dataset({"x": table(64), "y": bad})
    assert quiet(*cvae(), Splits(good, good, good), epochs=1).epochs == 1
    parts = Splits(wrong, good, good), Splits(good, wrong, good), Splits(good, good, wrong)
    for data, build in itertools.product(parts, (cvae, ssvae)):
        with pytest.raises(ValueError, match="expected labels from 0 to 2.*; got 7"):
            quiet(*build(), data, epochs=1)


def test_data_without_any_known_value_are_refused(caplog):
    x = torch.full((20, D), math.nan)
    with pytest.raises(DataError, match="column 'x': expected some known values in the training"):
        quiet(*pair(), Dataset({"x": x}, missing_ok=["x"]))
    some = torch.randn(20, D)
    parts = [Dataset({"x": values}, missing_ok=["x"]) for values in (some, x)]
    with pytest.raises(DataError, match="column 'x': expected some known values in the valid"):
        quiet(*pair(), Splits(*parts))
    some[:, 2] = math.nan
    with caplog.at_level(logging.WARNING), pytest.raises(PPVAEError):
        quiet(*pair(), Dataset({"x": some}, missing_ok=["x"]))  # The pair takes no missing values.
    assert "no known value in the training data of the features 2," in caplog.text
