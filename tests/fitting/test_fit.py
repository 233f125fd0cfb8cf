"""The loop: what it reaches, what it repeats, what it leaves alone, what it refuses."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn
from tqdm import tqdm

from ppvae.data import Dataset, Splits
from ppvae.errors import DataError
from ppvae.fitting import DivergenceError, adam, cosine, fit
from ppvae.fitting.diagnose import loss_of_elbo
from ppvae.fitting.tensors import named_tensors
from ppvae.objectives import ELBO, Linear, Penalty
from ppvae.programs import ContractError
from ppvae.runs.run import RunError, load
from tests.fitting.guard import Guard
from tests.fitting.programs import (
    PPCA,
    D,
    Indexed,
    LinearGuide,
    SharedGuide,
    Z,
    pair,
    splits,
    table,
)


def weights(*modules: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for module in modules for p in module.parameters()]


def quiet(model: nn.Module, guide: nn.Module, data=None, objective=None, **options):
    options = {"epochs": 2, "batch_size": 16, "seed": 0, "progress": False, **options}
    return fit(model, guide, splits() if data is None else data, objective, **options)


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


# What it reaches


def test_ppca_reaches_the_maximum_of_the_exact_evidence():
    # Tipping and Bishop (1999): the maximum-likelihood W, b, sigma are known in closed form.
    x = table(300)
    model, guide = pair()
    run = quiet(
        model,
        guide,
        {"x": x},
        ELBO(num_particles=4),
        epochs=300,
        batch_size=100,
        learning_rate=0.03,
        schedule=cosine,
    )
    centred = x - x.mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred / len(x)).flip(0)
    noise = values[Z:].mean()
    log_det = values[:Z].log().sum() + (D - Z) * noise.log()
    maximum = -0.5 * (D * math.log(2 * math.pi) + log_det + D)
    reached = model.log_evidence(x).mean()
    assert reached <= maximum + 1e-5
    assert reached > maximum - 0.02
    # The guide's family holds the exact posterior, so the bound is tight.
    tail = [row["elbo"] for row in run.history[-20:]]
    assert sum(tail) / len(tail) == pytest.approx(float(maximum), abs=0.03)
    assert all(row["loss"] == pytest.approx(-row["elbo"]) for row in run.history)


def test_history_means_are_over_data_not_over_batches():
    # 50 data in batches of 16: the last has 2. With learning rate ~0 the mean is over all 50.
    model, guide = pair()
    objective = ELBO() + Penalty("first", lambda c: c.batch["x"][:, 0])
    x = table(50)
    run = quiet(model, guide, {"x": x}, objective, epochs=1, learning_rate=1e-12)
    row = run.history[0]
    assert row["first"] == pytest.approx(float(x[:, 0].mean()), abs=1e-6)
    assert row["elbo"] == pytest.approx(row["log_likelihood/x"] - row["kl/z"])
    assert (row["epoch"], row["step"]) == (1, 4)


def test_validation_is_the_plain_elbo_over_all_validation_data():
    model, guide = pair()
    run = quiet(model, guide, splits(50, 37), ELBO(weights={"z": 7.0}), epochs=1)
    row = run.history[-1]
    assert row["val_elbo"] == pytest.approx(row["val_log_likelihood/x"] - row["val_kl/z"])
    x = table(37, seed=1)
    objective = ELBO(num_particles=3000)(model, guide)
    with torch.no_grad():
        many = objective({"x": x})
    assert row["val_kl/z"] == pytest.approx(float(many.kl["z"].mean()), rel=1e-9)
    assert row["val_elbo"] == pytest.approx(float(many.elbo.mean()), rel=0.2)
    assert "val_loss" not in row


# What it repeats


def test_the_same_seed_gives_the_same_result_whatever_went_before():
    runs = []
    for before in (0, 5):
        torch.manual_seed(before)
        torch.randn(before)
        model, guide = pair()
        run = quiet(model, guide, seed=3)
        runs.append((weights(model, guide), [r["elbo"] for r in run.history]))
    assert same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    other = pair()
    quiet(*other, seed=4)
    assert not same(runs[0][0], weights(*other))


def test_no_seed_draws_one_from_torch_and_records_it():
    seeds = []
    for state in (1, 1, 2):
        torch.manual_seed(state)
        seeds.append(quiet(*pair(), seed=None, epochs=1).seed)
    assert seeds[0] == seeds[1] != seeds[2]
    model, guide = pair()
    quiet(model, guide, seed=seeds[0], epochs=1)
    again = pair()
    torch.manual_seed(1)
    quiet(*again, seed=None, epochs=1)
    assert same(weights(model, guide), weights(*again))


def test_two_instances_train_independently():
    alone = pair(1)
    quiet(*alone)
    first, second = pair(0), pair(1)
    quiet(*first)
    before = weights(*first)
    quiet(*second)
    assert same(weights(*first), before)
    assert same(weights(*second), weights(*alone))
    assert len(pyro.get_param_store()) == 0


# What it leaves alone


def test_the_callers_random_numbers_and_data_are_untouched():
    data = splits()
    x = data.train["x"].clone()
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    quiet(*pair(), data)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert torch.equal(data.train["x"], x)


@pytest.mark.parametrize("average", [None, 0.9])
def test_validation_moves_nothing(average):
    def trained(**options):
        guide = Indexed()
        guide.load_state_dict(start.state_dict())
        model = pair()[0]
        run = quiet(model, guide, epochs=3, average=average, **options)
        return model, guide, run

    start = Indexed()
    one = trained(validate_every=1)
    never = trained(data=Splits(splits().train))
    assert same(weights(*one[:2]), weights(*never[:2]))
    assert torch.equal(one[1].table, never[1].table)
    assert torch.equal(one[1].mean, never[1].mean)
    assert [r["loss"] for r in one[2].history] == [r["loss"] for r in never[2].history]
    assert one[1].calls == ["prepare", *["settle"] * 4]
    assert never[1].calls == ["prepare", "settle"]


def test_settled_shows_the_end_and_puts_everything_back():
    seen = []

    class Look:
        def on_epoch_end(self, training):
            before = {k: v.clone() for k, v in named_tensors(training.objective).items()}
            where = {k: v.data_ptr() for k, v in named_tensors(training.objective).items()}
            state = torch.get_rng_state()
            with training.settled():
                seen.append(float(training.guide.mean[0]))
                assert not training.model.training
                torch.randn(3)
                training.guide.mean.fill_(5)
            assert torch.equal(torch.get_rng_state(), state)
            after = named_tensors(training.objective)
            assert all(torch.equal(after[name], before[name]) for name in before)
            # The tensors themselves are the same ones: a captured graph may hold them.
            assert all(after[name].data_ptr() == where[name] for name in where)
            assert training.model.training

    quiet(pair()[0], Indexed(), {"x": table(20)}, callbacks=[Look()])
    assert seen == [1.0, 1.0]


def test_every_row_is_seen_once_an_epoch_under_its_number():
    guide = Indexed()
    counts = []

    class Count:
        def on_epoch_end(self, training):
            counts.append(guide.table.clone())

    quiet(pair()[0], guide, {"x": table(50)}, epochs=3, callbacks=[Count()])
    assert [set(c.tolist()) for c in counts] == [{1.0}, {2.0}, {3.0}]


EVERYTHING = {"epochs": 1, "clip_norm": 1.0, "average": 0.99, "schedule": cosine}


def test_a_step_never_waits_for_the_device(monkeypatch):
    objective = ELBO(weights={"z": Linear(0, 1, steps=4)}) + Penalty(
        "size", lambda c: c.values["z"].square().sum(-1)
    )
    run = quiet(*pair(), objective=objective, **EVERYTHING)
    guard = Guard(monkeypatch)
    guarded = quiet(*pair(), objective=objective, callbacks=[guard], **EVERYTHING)
    assert guarded.history[0]["loss"] == run.history[0]["loss"]


@pytest.mark.parametrize("wait", [Tensor.item, bool, float, Tensor.tolist])
def test_the_guard_of_that_test_sees_a_wait(monkeypatch, wait):
    def waits(context):
        if context.model.training:
            name = wait.__name__
            getattr(context.step, f"__{name}__" if name in ("bool", "float") else name)()
        return context.batch["x"][:, 0]

    objective = ELBO() + Penalty("waits", waits)
    with pytest.raises(AssertionError, match="waited for the device"):
        quiet(*pair(), objective=objective, callbacks=[Guard(monkeypatch)], **EVERYTHING)
    monkeypatch.undo()


# Parts of the step


def test_shared_parameters_are_counted_once():
    model = PPCA()
    guide = SharedGuide(model)
    counted = []

    def optimizer(parameters, lr):
        counted.extend(parameters)
        return adam(counted, lr)

    run = quiet(model, guide, optimizer=optimizer)
    assert len(counted) == 4
    assert len({id(p) for p in counted}) == 4
    assert run.config["fit"]["optimizer"].endswith("optimizer")


def test_frozen_parameters_stay():
    model, guide = pair()
    model.bias.requires_grad_(False)
    before = model.bias.clone()
    quiet(model, guide)
    assert torch.equal(model.bias, before)
    for parameter in (*model.parameters(), *guide.parameters()):
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="expected some to train; got none"):
        quiet(model, guide)


def test_parts_in_evaluation_mode_stay_so_while_the_rest_trains():
    modes = []

    class Watched(nn.Dropout):
        def forward(self, x: Tensor) -> Tensor:
            modes.append((self.name, self.training))
            return super().forward(x)

    model, guide = pair()
    guide.free, guide.frozen = Watched(0.5), Watched(0.5)
    guide.free.name, guide.frozen.name = "free", "frozen"
    inner = guide.net
    guide.net = nn.Sequential(guide.free, guide.frozen, inner)
    guide.frozen.eval()
    quiet(model, guide, epochs=1)
    assert ("free", True) in modes
    assert ("frozen", True) not in modes


def test_clipping_bounds_the_first_step_of_sgd():
    def optimizer(parameters, lr):
        return torch.optim.SGD(parameters, lr=lr)

    model, guide = pair()
    before = weights(model, guide)
    options = {"epochs": 1, "batch_size": 1000, "optimizer": optimizer, "learning_rate": 0.1}
    quiet(model, guide, clip_norm=0.5, **options)
    moved = [a - b for a, b in zip(weights(model, guide), before, strict=True)]
    norm = torch.stack([m.norm() for m in moved]).norm()
    assert float(norm) == pytest.approx(0.05, rel=1e-4)


def test_the_schedule_moves_the_rate_at_every_step():
    model, guide = pair()
    run = quiet(model, guide, epochs=4, learning_rate=0.1, schedule=cosine)
    expected = [0.1 * 0.5 * (1 + math.cos(math.pi * e / 4)) for e in range(4)]
    assert run.history.column("learning_rate") == pytest.approx(expected)


def test_averaged_weights_are_those_left_at_the_end():
    kept = []

    class Keep:
        def on_step_end(self, training):
            kept.append(weights(model, guide))

    model, guide = pair()
    first = weights(model, guide)
    quiet(model, guide, average=0.9, callbacks=[Keep()], learning_rate=0.1)
    expected = first
    for t, current in enumerate(kept):
        d = min(0.9, (1 + t) / (10 + t))
        expected = [d * a + (1 - d) * w for a, w in zip(expected, current, strict=True)]
    torch.testing.assert_close(weights(model, guide), expected)
    assert not same(weights(model, guide), kept[-1])


def test_mixed_precision_trains_in_bfloat16_and_keeps_the_weights():
    model, guide = pair()
    model.float(), guide.float()
    seen = []

    class Look:
        def on_fit_start(self, training):
            guide.net.register_forward_hook(lambda m, a, out: seen.append((m.training, out.dtype)))

    run = quiet(model, guide, precision=torch.bfloat16, callbacks=[Look()])
    assert {dtype for training, dtype in seen if training} == {torch.bfloat16}
    # Validation is in full precision.
    assert {dtype for training, dtype in seen if not training} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert math.isfinite(run.history[-1]["loss"])


def test_the_data_follow_the_dtype_of_the_weights():
    model, guide = pair()
    model.float(), guide.float()
    assert quiet(model, guide).config["fit"]["dtype"] == "torch.float32"


# Early stopping


def test_early_stopping_restores_the_best_weights():
    # Validation data far from the training data: the better the fit, the worse the validation.
    data = Splits(Dataset({"x": table(50)}), Dataset({"x": -5 * table(20) + 30}))
    best = []

    class Keep:
        def on_epoch_end(self, training):
            if training.best.stale == 0:
                best[:] = weights(model, guide)

    model, guide = pair()
    run = quiet(model, guide, data, epochs=60, learning_rate=0.1, patience=3, callbacks=[Keep()])
    elbos = run.history.column("val_elbo")
    assert run.status == "stopped"
    assert run.epochs < 60
    assert elbos.index(max(elbos)) + 1 == run.metrics["best_epoch"] == run.epochs - 3
    assert run.metrics["best_val_elbo"] == max(elbos)
    assert same(weights(model, guide), best)
    last = pair()
    quiet(*last, data, epochs=run.epochs, learning_rate=0.1)
    assert not same(weights(*last), best)
    kept = pair()
    quiet(*kept, data, epochs=run.epochs, learning_rate=0.1, restore_best=True)
    assert same(weights(*kept), best)


def test_patience_is_counted_from_the_best_validation():
    """Validations that are better, worse, better, ...: two worse ones in a row end the fit."""
    model, guide = pair()
    distances = [3.0, 4.0, 2.0, 4.0, 1.0, 4.0, 0.5, 4.0, 4.0, 0.1]

    class Placed(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure=None):
            model.bias.fill_(10 * distances.pop(0))

    data = Splits(Dataset({"x": torch.randn(8, D)}), Dataset({"x": torch.randn(8, D)}))
    given = {"epochs": 10, "batch_size": 8, "patience": 2, "compile": False}
    run = quiet(model, guide, data, optimizer=lambda p, lr: Placed(p, lr), **given)
    assert run.status == "stopped"
    assert run.epochs == 9
    assert run.metrics["best_epoch"] == 7


def test_validation_comes_every_so_often_and_after_the_last_epoch():
    run = quiet(*pair(), epochs=5, validate_every=2)
    assert [r["epoch"] for r in run.history if "val_elbo" in r] == [2, 4, 5]


# Divergence


class Breaks(LinearGuide):
    """Its scale becomes infinite after some steps in training."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> None:
        if self.training:
            self.count += 1
        with torch.no_grad():
            self.raw.masked_fill_(self.count > self.after, torch.inf)
        super().forward(x)


def test_divergence_keeps_the_last_good_weights_and_says_where(tmp_path):
    model = pair()[0]
    guide = Breaks(after=9)  # four steps an epoch: step 9, counted from 0, in epoch 3
    with pytest.raises(
        DivergenceError, match=r"diverged at step 9 \(epoch 3 of 5\): '(kl/z|log_likelihood/x)' "
    ) as caught:
        quiet(model, guide, epochs=5, out=tmp_path / "run")
    run = caught.value.run
    assert run.status == "diverged"
    assert run.epochs == len(run.history) == 2
    assert all(torch.isfinite(p).all() for p in (*model.parameters(), *guide.parameters()))
    loaded = load(tmp_path / "run", PPCA(), Breaks(9))
    assert loaded.status == "diverged"
    assert same(weights(loaded.model, loaded.guide), weights(model, guide))


def test_weights_that_break_in_the_last_step_of_an_epoch_are_found_then():
    model, guide = pair()

    class Break:
        def on_step_end(self, training):
            if training.steps == 8:
                with torch.no_grad():
                    model.bias.fill_(torch.nan)

    with pytest.raises(DivergenceError, match="step 7 .*the weights were") as caught:
        quiet(model, guide, epochs=5, callbacks=[Break()])
    assert caught.value.run.epochs == 1
    assert torch.isfinite(model.bias).all()


def test_a_long_epoch_is_looked_at_before_its_end(monkeypatch):
    monkeypatch.setattr("ppvae.fitting.training.READ_EVERY", 3)
    steps = []

    class Count:
        def on_step_end(self, training):
            steps.append(training.steps)

    guide = Breaks(after=4)
    with pytest.raises(DivergenceError, match="step 4 "):
        quiet(pair()[0], guide, batch_size=2, callbacks=[Count()], retries=0)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert float(guide.count) == 3
    monkeypatch.setattr("ppvae.fitting.training.READ_EVERY", 3)
    often, once = pair(), pair()
    rows = [quiet(*often, batch_size=4).history]
    monkeypatch.setattr("ppvae.fitting.training.READ_EVERY", 500)
    rows.append(quiet(*once, batch_size=4).history)
    assert same(weights(*often), weights(*once))
    assert rows[0].column("loss") == pytest.approx(rows[1].column("loss"))


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({}, "Clip the gradient"),
        ({"clip_norm": 1.0}, "Lower the learning rate"),
        ({"precision": torch.bfloat16}, "full precision"),
    ],
)
def test_divergence_comes_with_one_remedy(options, remedy):
    with pytest.raises(DivergenceError, match=remedy):
        quiet(pair()[0], Breaks(after=0), **options)


def test_an_interrupted_run_is_written_and_the_interruption_goes_on(tmp_path):
    class Interrupt:
        def on_epoch_end(self, training):
            if training.epoch == 2:
                raise KeyboardInterrupt

    model, guide = pair()
    with pytest.raises(KeyboardInterrupt):
        quiet(model, guide, epochs=9, out=tmp_path / "run", callbacks=[Interrupt()])
    run = load(tmp_path / "run", *pair(1))
    assert run.status == "interrupted"
    assert run.epochs == 2
    assert same(weights(run.model, run.guide), weights(model, guide))


# What it refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected an integer >= 1; got 0"),
        ({"epochs": 1.5}, "epochs: expected an integer >= 1; got 1.5"),
        ({"batch_size": 0}, "batch_size: expected an integer >= 1"),
        ({"batch_size": True}, "batch_size: expected an integer >= 1"),
        ({"validate_every": 0}, "validate_every: expected an integer >= 1"),
        ({"patience": 0}, "patience: expected an integer >= 1"),
        ({"learning_rate": 0.0}, "learning_rate: expected a number > 0; got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate: expected a number > 0; got nan"),
        ({"clip_norm": -1.0}, "clip_norm: expected a number > 0"),
        ({"average": 1.0}, "average: expected a decay between 0 and 1; got 1.0"),
        ({"seed": -1}, "seed: expected an integer from 0"),
        ({"seed": 1.5}, "seed: expected an integer from 0"),
        ({"workers": -1}, "workers: expected an integer >= 0"),
        ({"device": "gpu"}, "device: expected 'cuda', 'mps' or 'cpu'; got 'gpu'"),
        ({"device": "cuda:99"}, r"device: expected an available one \(1 cpu.*\); got 'cuda:99'"),
        ({"device": "meta"}, r"device: expected an available one"),
        ({"precision": torch.float16}, "precision: expected torch.bfloat16 or None"),
        ({"data": {}}, "at least one column"),
        ({"data": {"x": torch.zeros(0, D)}}, "at least one row"),
        ({"data": {"x": torch.full((9, D), math.nan)}}, "expected finite numbers; got NaN"),
        ({"data": {"x": table(9), "y": torch.zeros(8)}}, "columns of one length"),
        ({"data": {"x": table(9)}, "patience": 2}, "expected validation data; got none"),
        ({"data": {"x": table(9)}, "restore_best": True}, "expected validation data; got none"),
    ],
)
def test_bad_arguments_are_refused_in_words(options, message):
    with pytest.raises(ValueError, match=message):
        quiet(*pair(), **options)


@pytest.mark.parametrize("bad", [object(), Penalty, print, 3])
def test_callbacks_without_a_hook_are_refused(bad):
    with pytest.raises(TypeError, match="callbacks: expected objects with one of the methods"):
        quiet(*pair(), callbacks=[bad])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": table(9, dim=D + 1)}, "expected a program of a batch with shapes"),
        ({"c": table(9)}, "expected a column 'x' in the data; got columns"),
        (
            Splits(Dataset({"x": table(9)}), Dataset({"c": table(9)})),
            "expected a column 'x' in the data; got columns",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused_before_the_first_step(data, message):
    model, guide = pair()
    before = weights(model, guide)
    with pytest.raises(ContractError, match=message):
        quiet(model, guide, data)
    assert same(weights(model, guide), before)


def test_an_unwritable_place_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    model, guide = pair()
    before = weights(model, guide)
    for place, message in (
        ("file", "expected a folder; got the file"),
        ("file/run", "expected a place that can be written"),
        ("full", "which holds other files"),
    ):
        with pytest.raises(RunError, match=message):
            quiet(model, guide, out=tmp_path / place)
    assert same(weights(model, guide), before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full"]


def test_data_errors_are_the_datasets_own():
    with pytest.raises(DataError, match="column 'x'"):
        quiet(*pair(), {"x": np.array(["a", "b"])})


# Talking


def test_the_bar_goes_to_stderr_and_can_be_silenced(capsys):
    quiet(*pair())
    silent = capsys.readouterr()
    assert silent.out == silent.err == ""
    quiet(*pair(), progress=True)
    spoken = capsys.readouterr()
    assert spoken.out == ""
    assert "epoch 2/2" in spoken.err
    assert "val_elbo" in spoken.err


@pytest.mark.parametrize("compile", [False, True])
def test_bars_may_be_disabled_as_by_tqdm_disable(monkeypatch, capsys, compile):
    monkeypatch.setattr("ppvae.fitting.callbacks.tqdm", partial(tqdm, disable=True))
    quiet(*pair(), progress=True, compile=compile)
    assert capsys.readouterr().err == ""


# Parameters and rows of one's own programs


class Lazy(LinearGuide):
    """Its layer takes its size from the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.LazyLinear(Z)


def test_lazy_layers_are_trained_saved_and_loaded(tmp_path):
    run = quiet(PPCA(), Lazy(), out=tmp_path / "run")
    assert run.guide.net.weight.shape == (Z, D)
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    again = load(tmp_path / "run", PPCA(), Lazy())
    assert same(weights(again.model, again.guide), weights(run.model, run.guide))


class Centred(LinearGuide):
    """The encoder sees x without its mean over the rows, or summed over those before."""

    def __init__(self, over_rows) -> None:
        super().__init__()
        self.over_rows = over_rows

    def forward(self, x: Tensor) -> None:
        super().forward(self.over_rows(x))


@pytest.mark.parametrize("over_rows", [lambda x: x - x.mean(0), lambda x: x.cumsum(0)])
def test_rows_that_depend_on_others_are_warned_about(over_rows):
    with pytest.warns(
        UserWarning, match=r"guide Centred: expected each row .*change with \['x'\]"
    ):
        quiet(PPCA(), Centred(over_rows), epochs=1)


def test_statistics_that_are_kept_are_no_mixture_of_rows(recwarn):
    norm = nn.BatchNorm1d(D)
    quiet(PPCA(), Centred(norm), epochs=1)
    assert not [w for w in recwarn if "each row" in str(w.message)]
    assert norm.running_mean.abs().sum() > 0


@pytest.mark.parametrize(("end", "last"), [(0.0, 2), (0.5, 11)])
def test_a_term_is_left_out_once_its_weight_stays_zero(end, last):
    steps = set()

    def size(context):
        steps.add(int(context.step))
        return context.values["z"].square().sum(-1)

    term = Penalty("size", size, weight=Linear(1.0, end, 2, after=1))
    run = quiet(*pair(), splits(), ELBO() + term, epochs=3, batch_size=16, compile=False)
    assert steps == set(range(last + 1))
    sizes = run.history.column("size")
    assert sizes[0] > 0
    assert (sizes[-1] == 0) == (end == 0)


@pytest.mark.parametrize(
    ("elbos", "word"),
    [
        ([2342.0, 3700.0, 3760.0, -2415.0], "fell from 3760 in epoch 3 to -2415 at the end"),
        ([-200.0, -100.0, -160.0], "fell from -100 in epoch 2"),
        ([-200.0, -100.0, -130.0], ""),
        ([-200.0, -199.0, -205.0], ""),
        ([-200.0, -300.0], ""),
    ],
)
def test_a_fit_that_lost_what_it_had_gained_says_so(elbos, word):
    said = loss_of_elbo(elbos)
    assert word in said
    assert bool(said) == bool(word)


def test_a_late_divergence_is_a_caution_of_the_run(caplog):
    class Spoil:
        def on_epoch_end(self, training):
            if training.epoch == 3:
                with torch.no_grad():
                    training.model.bias.fill_(100.0)

    run = quiet(*pair(), epochs=4, callbacks=[Spoil()])
    assert run.status == "completed"
    assert "The ELBO fell from" in run.config["cautions"][0]
    assert "The ELBO fell from" in caplog.text
    assert "cautions" not in quiet(*pair(), epochs=4).config


class LightPPCA(PPCA):
    """With a tenth of the weight in training."""

    def forward(self, x=None, *, size=None):
        with poutine.scale(scale=0.1):
            return super().forward(x, size=size)


class LightGuide(LinearGuide):
    def forward(self, x):
        with poutine.scale(scale=0.1):
            super().forward(x)


def test_validation_leaves_out_scales_as_evaluations_do():
    """poutine.scale weighs training alone; patience and restore_best go by the plain ELBO."""
    (model, guide), data = pair(), splits()
    light = LightPPCA(), LightGuide()
    for ours, theirs in zip(light, (model, guide), strict=True):
        ours.load_state_dict(theirs.state_dict())
    still = {"epochs": 1, "learning_rate": 1e-9}
    found = [quiet(*p, data, **still).history[-1] for p in (light, (model, guide))]
    assert found[0]["val_elbo"] == pytest.approx(found[1]["val_elbo"], rel=1e-5)
    assert found[0]["elbo"] == pytest.approx(0.1 * found[1]["elbo"], rel=1e-5)


class WeighedPPCA(PPCA):
    """With a weight of its own for each row."""

    def forward(self, x=None, *, size=None):
        scale = 1.0 if x is None else x[..., 0].abs()
        with poutine.scale(scale=scale):
            return super().forward(x, size=size)


class WeighedGuide(LinearGuide):
    def forward(self, x):
        with poutine.scale(scale=x[..., 0].abs()):
            super().forward(x)


def test_weights_of_rows_are_said_to_be_left_out_of_validation(caplog):
    words, data = "equal ones in val_elbo", splits()
    quiet(LightPPCA(), LightGuide(), data, epochs=1)  # One weight for all rows.
    quiet(WeighedPPCA(), WeighedGuide(), data.train, epochs=1)  # Without validation.
    assert words not in caplog.text
    quiet(WeighedPPCA(), WeighedGuide(), data, epochs=1)
    assert f"at the sites ['z', 'x'] in the loss, but {words}" in caplog.text


def test_a_column_named_index_is_that_of_the_rows_where_a_program_takes_it():
    model, x = PPCA(), torch.randn(20, D)
    given = {"epochs": 1, "progress": False}
    for index in (torch.arange(20).flip(0), torch.zeros(20, 2), torch.arange(20) + 1):
        with pytest.raises(DataError, match="column 'index': expected the numbers of the"):
            fit(model, Indexed(), {"x": x, "index": index}, **given)
        fit(model, LinearGuide(), {"x": x, "index": index}, **given)
    fit(model, Indexed(), {"x": x, "index": torch.arange(20)}, **given)
