"""Arguments are held to annotations and ranges; a sample of the counted entry points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction as Ratio
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from gpytorch.kernels import RBFKernel
from numpy.typing import NDArray
from torch import Tensor, nn

from ppvae import (
    active,
    data,
    ensembles,
    evaluate,
    expected,
    gp,
    load,
    nets,
    objectives,
    plots,
    programs,
)
from ppvae.borders import expect_arguments, expect_fields, typed
from ppvae.data import Dataset
from ppvae.errors import ArgumentError, ContractError, PPVAEError
from ppvae.expected import ROWS, SHARE, above, at_least, between
from ppvae.fitting import Phase, fit
from ppvae.runs import Recipe, Run
from ppvae.zoo import entry, parse_options
from ppvae.zoo.surrogates import deep_kernel_surrogate
from tests.fitting.programs import pair, table

if TYPE_CHECKING:
    import fractions
    from fractions import Fraction


@typed(count=at_least(1), noise=above(0), share=SHARE, turn=between(0, 1), rows=ROWS)
def taking(
    *parts: nn.Module,
    count: int = 3,
    noise: float = math.inf,
    share: float = 0.5,
    turn: float | None = None,
    flag: bool = False,
    name: str = "z",
    path: str | Path = "here",
    rows: Tensor | None = None,
    array: np.ndarray | None = None,
    sizes: Sequence[int] = (),
    window: tuple[int, int] = (0, 1),
    weights: Mapping[str, float] | None = None,
    change: Callable[[Tensor], Tensor] = torch.neg,
    form: Literal["a", "b"] = "a",
    run: Run | None = None,
    kind: type[nn.Module] | None = None,
    numbers: NDArray[np.float64] | None = None,
    whatever: object = None,
    later: Fraction | None = None,
) -> int:
    return len(parts)


BAD: dict[str, tuple[object, str]] = {
    "count": ("3", "an integer >= 1"),
    "noise": (0, "a number > 0"),
    "share": (True, "a number between 0 and 1"),
    "turn": (2, "a number from 0 to 1 or None"),
    "flag": (0.0, "True or False"),
    "name": ("a\0", "text"),
    "path": (b"x", "a path"),
    "rows": (torch.tensor([math.nan]), r"finite numbers with shape \(N, ...\), N >= 1"),
    "array": (np.array(["a"]), "an array of numbers or None"),
    "sizes": ([1.5], "a list or a tuple, each an integer"),
    "window": ((0, 1, 2), r"\(an integer, an integer\)"),
    "weights": ({3: 1.0}, "values by name, each a finite number or None"),
    "change": (3, "a function"),
    "form": ("c", "one of 'a', 'b'"),
    "run": ("run", "a Run or None"),
    "kind": (nn.Identity(), "a class of Module or None"),
    "numbers": ("3", "an array of numbers or None"),
}


@pytest.mark.parametrize("name", BAD)
def test_another_type_is_refused_by_name(name):
    value, words = BAD[name]
    with pytest.raises(ArgumentError, match=rf"^{name}: expected {words}; got .*\. \w"):
        taking(**{name: value})


def test_good_values_and_defaults_pass():
    assert taking(nn.Identity(), nn.Identity(), count=np.int64(2), noise=float("inf")) == 2
    assert taking(share=0.1, rows=torch.ones(1), sizes=(), window=[1, 2], weights={"z": 1}) == 0
    assert (
        taking(
            run=None, whatever=object(), path=Path("x"), change=torch.abs, form="b", later="any"
        )
        == 0
    )
    with pytest.raises(ArgumentError, match="parts: expected a Module; got 'x'. Pass a Module."):
        taking("x")
    with pytest.raises(TypeError, match="unexpected keyword"):
        taking(other=1)
    assert taking.__name__ == "taking"


@typed()
@torch.no_grad()
def decorated(codes: Tensor, *, run: Run | None = None) -> int:
    return len(codes)


def test_a_decorator_between_hides_no_annotation():
    with pytest.raises(ArgumentError, match="codes: expected a tensor of real numbers; got 3"):
        decorated(3)


@pytest.mark.parametrize(("name", "value"), [("count", True), ("noise", True), ("sizes", [True])])
def test_a_boolean_is_no_number(name, value):
    with pytest.raises(ArgumentError, match=f"{name}: expected .*; got .*True"):
        taking(**{name: value})


@typed(measure=expected.taking(1))
def measuring(measure: Callable[[int], float | fractions.Fraction]) -> float:
    return float(measure(3))


def test_names_that_a_type_checker_alone_knows_hide_nothing_else():
    assert measuring(float) == 3
    with pytest.raises(ArgumentError, match="measure: expected a function; got 3"):
        measuring(3)
    with pytest.raises(ArgumentError, match="measure: expected a function of 1 argument; got"):
        measuring(lambda: 3)


def test_values_held_to_the_annotations_of_a_function():
    expect_arguments(taking, {"count": 4, "name": "y"})
    with pytest.raises(ArgumentError, match="count: expected an integer >= 5; got 4"):
        expect_arguments(taking, {"count": 4}, count=at_least(5))


def test_fields_of_a_dataclass():
    @dataclass
    class Numbers:
        start: float
        reach: float = math.inf

        def __post_init__(self) -> None:
            expect_fields(self, reach=above(0))

    Numbers(0.0, math.inf)
    with pytest.raises(ArgumentError, match="reach: expected a number > 0; got 0"):
        Numbers(0.0, 0.0)


X = table(20)
CALLS: dict[str, Callable[[], object]] = {
    "a path ratio of nothing": lambda: evaluate.path_ratio(None, X),
    "a perplexity without end": lambda: evaluate.tsne(X, perplexity=math.inf),
    "a column of no name": lambda: Dataset({3: X}),
    "a missing column of no name": lambda: Dataset({"x": X}, missing_ok=[math.nan]),
    "patches of text": lambda: data.patches("picture", torch.tensor([[0, 0]]), 3),
    "a batch of a list": lambda: Dataset({"x": X}).batch([0, 1]),
    "shapes of text": lambda: objectives.critic_between(("a",), (2,)),
    "an unknown form": lambda: objectives.critic_between((3,), (2,), form="both"),
    "no number of a site": lambda: objectives.Balance(3),
    "a weight of text": lambda: objectives.MutualInformation(
        "x", "z", objectives.critic_between((3,), (2,)), weight="1"
    ),
    "another length": lambda: gp.interpolate_latents(
        X, torch.zeros(20), X[:3, 0], at_objects=torch.zeros(1), at_views=torch.zeros(1)
    ),
    "an object below zero": lambda: gp.infer_objects(
        gp.GPPrior(gp.ObjectTable(2, 2), gp.FourierFeatures(), latent_dim=2),
        X[:2, :2],
        torch.tensor([-1, 0]),
        X[:2, 0],
    ),
    "a period of nan": lambda: gp.FourierFeatures(period=math.nan),
    "half an object": lambda: gp.ObjectTable(1.5, 2),
    "no epochs": lambda: Phase(0),
    "options by number": lambda: Recipe("a:b", options={3: 1}),
    "terms that are none": lambda: objectives.ELBO(terms=("a",)),
    "predictions of different numbers": lambda: active.calibration(
        X[:, 0], X[:2, 0], X[:, 0].abs()
    ),
    "no patches": lambda: deep_kernel_surrogate("x"),
    "a model of a number": lambda: entry(3),
    "a figure of text": lambda: plots.latents(np.array([["a", "b"]] * 3)),
    "a figure without bins": lambda: plots.calibration(X[:, 0], bins=0),
    "rows by fraction": lambda: Dataset({"x": X}).batch(torch.tensor([0.5])),
    "rows beyond the last": lambda: Dataset({"x": X}).batch(torch.tensor([20])),
    "the last row by minus one": lambda: Dataset({"x": X}).batch(torch.tensor([-1])),
    "a prior of text": lambda: gp.StandardPrior("2"),
    "a negative independence": lambda: objectives.Independence(weight=-1.0),
    "codes that are booleans": lambda: evaluate.kmeans(X > 0, 2),
    "predictions of scale zero": lambda: active.calibration(X[:, 0], X[:, 0], 0 * X[:, 0]),
    "a matrix with a hole": lambda: plots.covariance(torch.full((2, 2), math.nan)),
    "infinite pictures": lambda: plots.images(torch.full((1, 1, 2, 2), math.inf)),
    "curves by no name": lambda: plots.learning_curves({}),
    "a search by text": lambda: active.explore(None, X, "measure"),
    "options of a class of others": lambda: parse_options(dict, {}),
    "a dimension beyond memory": lambda: entry("vae")({"x": X}, latent_dim=10**30),
    "columns of text": lambda: entry("vae")("x"),
    "a folder of a number": lambda: load(3),
    "builders of numbers": lambda: load("run", builders=[3]),
    "members of nothing": lambda: ensembles.fit_ensemble(lambda: None, {"x": X}, seeds=[0]),
    "pictures turned by no spline": lambda: data.rotated_digits(order=-1),
    "codes without values": lambda: evaluate.active_units(X.to("meta")),
    "classes without values": lambda: evaluate.clustering_accuracy(
        torch.arange(20), torch.arange(20).to("meta")
    ),
    "a hidden layer of no units": lambda: nets.MLP(2, nets.heads.Normal((1,)), hidden=(4, 0)),
    "negative channels": lambda: nets.ConvEncoder(
        (1, 8, 8), nets.heads.DiagonalNormal(2), channels=(-4,)
    ),
    "a column that a terminal acts on": lambda: Dataset({"x\x1b[2J": X}),
    "a recipe of such a name": lambda: Recipe("ppvae.zoo:build", name="vae\x1b[2J"),
    "codes that are sparse": lambda: evaluate.active_units(X.to_sparse()),
    "codes whose squares are infinite": lambda: evaluate.active_units(X.double() * 1e300),
    "codes of torch's stored integers": lambda: evaluate.kmeans(X.to(torch.uint16), 2),
    "rows without values": lambda: Dataset({"x": X}).batch(torch.arange(3).to("meta")),
    "two figures of booleans": lambda: evaluate.crps(X > 0, X[0] > 0),
}


@pytest.mark.parametrize("name", CALLS)
def test_entry_points_refuse_in_words(name):
    with pytest.raises(PPVAEError, match="expected .*; got "):
        CALLS[name]()


@typed()
def doubled(count: int, share: float = 0.5, *, flag: bool = False) -> tuple[object, ...]:
    return count * 2, share, flag


def test_numbers_of_numpy_do_not_overflow():
    assert doubled(np.uint8(200), np.float32(0.5), flag=np.bool_(True)) == (400, 0.5, True)
    assert type(doubled(np.uint8(200))[0]) is int
    assert doubled(1, Ratio(1, 4)) == (2, 0.25, False)
    assert len(gp.RandomFeatures(RBFKernel(), dim=np.int64(2), seed=np.int64(1)).frequencies) > 0


def test_columns_of_a_table_are_names(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(PPVAEError, match="x: expected names of columns; got 3"):
        data.table(tmp_path / "a.csv", x=3)


@pytest.fixture(scope="module")
def run() -> Run:
    settings = {"epochs": 1, "batch_size": 16, "seed": 0, "progress": False, "compile": False}
    return fit(*pair(), {"x": table(32)}, **settings)


def test_draws_may_be_counted_by_a_number_of_numpy(run):
    given = {"data": {"x": table(4)}, "intervals": (0.5,)}
    checks = [
        evaluate.check_predictions(run, **given, num_draws=count) for count in (200, np.uint8(200))
    ]
    assert torch.equal(*(check.crps for check in checks))


def test_latents_are_those_of_the_model(run):
    z = run.encode({"x": table(4)})["z"]
    assert run.decode({"z": z.numpy()})["x"].shape == table(4).shape
    for latents, words in (
        ({"z": z[:, :1].repeat(1, 9)}, "'z': expected shape .* got .4, 9."),
        ({"z": z, "strange": z}, "expected sites of the model"),
        ({"z": z * math.nan}, "expected finite numbers"),
        ({"z": z[:0]}, "at least one row"),
        ({"z": "text"}, "z: expected real numbers"),
    ):
        with pytest.raises(ArgumentError, match=words):
            run.decode(latents)


def test_a_program_that_fails_on_a_batch_says_on_which(run):
    with pytest.raises(ContractError, match=r"takes; got {'x': \(4, 99\)}, on which it fails"):
        programs.encode(run.guide, {"x": torch.zeros(4, 99)})
    with pytest.raises(ContractError, match="batch: expected tensors by name; got 'x', a str"):
        programs.check_pair(run.model, run.guide, {"x": "text"})


def test_columns_of_other_names_are_not_ignored(run):
    prediction = run.predict({"x": table(4)}, num_draws=4)
    assert len(prediction.mean) == 4
    with pytest.raises(ArgumentError, match=r"predict: expected a column .* \['x'.*got \['X'\]"):
        run.predict({"X": table(4)}, num_draws=4)
    with pytest.raises(ArgumentError, match="columns: expected values by name; got a NAType"):
        run.predict(pd.NA)


def test_information_of_other_data_is_refused_in_words(run):
    train = {"x": table(32)}
    for bad, words in (
        ({"test": {"x": table(8)[:, :2]}}, "takes; got"),
        ({"train": {"c": table(32)}}, "expected a column and a latent site"),
        ({"site": "w"}, "expected a column and a latent site"),
        ({"train": {"x": table(32) * math.nan}}, "expected finite numbers"),
    ):
        with pytest.raises(PPVAEError, match=words):
            objectives.information_of(run.guide, **{"train": train, "test": train, **bad})


def test_the_null_model_needs_its_column(run):
    columns = {"x": table(32)}
    with pytest.raises(PPVAEError, match="expected a column 'y'"):
        evaluate.null_log_likelihood(run.model, columns, columns, column="y")
    model = entry("vae")(columns, latent_dim=2, hidden=(4,), likelihood="normal").model
    with pytest.raises(PPVAEError, match="in the support of the likelihood"):
        evaluate.null_log_likelihood(model, columns, {"x": table(8) * math.nan})


def test_booleans_in_a_column_are_noted():
    columns = Dataset({"x": table(8) > 0})
    assert columns.notes == ("x: false is 0, true is 1",)
    assert columns.batch(slice(None))["x"].unique().tolist() == [0.0, 1.0]


def test_a_search_computes_in_the_dtype_of_its_surrogate():
    candidates = table(12).double()
    small = {"ensemble": 1, "steps": 2, "first_steps": 2, "components": 2, "dim": 2}
    search = active.explore(
        deep_kernel_surrogate(candidates, **small),
        candidates,
        lambda place: float(candidates[place, 0]),
        "random",
        5,
        start=4,
    )
    assert search.candidates.dtype == torch.get_default_dtype()
