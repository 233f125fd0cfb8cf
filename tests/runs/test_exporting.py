"""Exported encoders and decoders: their numbers are the run's, for any number of rows."""

from __future__ import annotations

import importlib.util
import sys
import warnings

import pytest
import torch
from torch import nn

import ppvae
from ppvae.errors import ArgumentError, ContractError, MissingPackageError, RunError
from ppvae.runs.run import Run

ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


pytestmark = pytest.mark.usefixtures("single_precision")


def run_of(name, columns, **options):
    """A run of an entry with its initial weights."""
    data = ppvae.Dataset(columns)
    model, guide, objective = ppvae.zoo.build(name, data.spec, **options)
    for module in (model, guide):
        module.eval()
    return Run(model, guide, objective, config={"data": {"columns": data.spec}})


def pictures(count=8):
    return torch.rand(count, 1, 12, 12)


def loaded(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch itself
        return torch.export.load(path).module()


CASES = {
    "vae": lambda: run_of("vae", {"x": pictures()}, hidden=(8,), latent_dim=2),
    "jvae": lambda: run_of("jvae", {"x": pictures()}, hidden=(8,), latent_dim=2),
    "rvae": lambda: run_of("rvae", {"x": pictures()}, latent_dim=2),
    "svae": lambda: run_of("svae", {"x": pictures()}, hidden=(8,), latent_dim=3),
    "cvae": lambda: run_of("cvae", {"x": pictures(), "y": torch.arange(8) % 3}, hidden=(8,)),
    "counts": lambda: run_of("counts", {"x": torch.randint(0, 9, (8, 6))}),
    "gpvae": lambda: run_of(
        "gpvae",
        {"x": pictures(), "object": torch.arange(8) // 2, "view": torch.arange(8.0) % 2},
    ),
}


SLOW = ("jvae", "rvae", "svae")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES]
)
def test_the_numbers_are_those_of_the_run(name, tmp_path):
    run = CASES[name]()
    spec = run.config["data"]["columns"]
    rows = {n: torch.rand(7, *f["shape"]) for n, f in spec.items() if not f["classes"]}
    if name == "counts":
        rows["x"] = torch.randint(0, 9, (7, 6))
    rows |= {n: torch.arange(7) % f["classes"] for n, f in spec.items() if f["classes"]}
    if name == "gpvae":
        rows["object"] = torch.arange(7) % 4
    encoded = run.encode(rows)
    encoder = loaded(run.export(tmp_path / "encoder.pt2"))
    inputs = ppvae.programs.batch_for(run.guide, ppvae.Dataset(rows))
    taken = {n: inputs[n] for n in ppvae.programs.signature(run.guide) if n in inputs}
    outputs = encoder(taken)
    assert set(outputs) == set(encoded)
    for site, value in encoded.items():
        torch.testing.assert_close(outputs[site], value, rtol=1e-4, atol=1e-5)

    if name == "gpvae":
        with pytest.raises(ContractError, match="GPVAE, which branches on the values"):
            run.export(tmp_path / "decoder.pt2", "decoder")
        return
    decoder = loaded(run.export(tmp_path / "decoder.pt2", "decoder"))
    latents = {n: v for n, v in encoded.items() if not n.endswith("_probs")}
    known = {n: inputs[n] for n in ppvae.programs.signature(run.model) if n in inputs}
    known = {n: v for n, v in known.items() if n not in ("x", *latents)}
    decoded = run.decode(latents, **known)["x"]
    torch.testing.assert_close(decoder(latents | known)["x"], decoded, rtol=1e-4, atol=1e-5)


def test_the_caller_is_as_before(tmp_path):
    run = CASES["vae"]()
    run.model.train()
    before = torch.get_rng_state()
    state = {n: v.clone() for n, v in run.guide.state_dict().items()}
    run.export(tmp_path / "encoder.pt2")
    assert run.model.training
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(v, state[n]) for n, v in run.guide.state_dict().items())
    assert torch.distributions.Distribution._validate_args


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("encoder.pt",), r"suffix .pt2 or .onnx; got 'encoder.pt'. Use encoder.pt2"),
        (("encoder.pt2", "guide"), "expected 'encoder' or 'decoder'; got 'guide'"),
    ],
)
def test_arguments_are_refused_in_words(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        CASES["vae"]().export(*arguments)


def test_rows_are_needed_where_none_are_recorded(tmp_path):
    run = CASES["vae"]()
    run.config = {}
    with pytest.raises(ArgumentError, match="expected rows, as the run does not record"):
        run.export(tmp_path / "encoder.pt2")
    with pytest.raises(ArgumentError, match="at least 5 rows; got 2"):
        run.export(tmp_path / "encoder.pt2", data={"x": pictures(2)})
    assert run.export(tmp_path / "encoder.pt2", data={"x": pictures(6)}).is_file()


class Centred(nn.Module):
    """A guide that looks at all rows of a batch: no two lengths give the same means."""

    def __init__(self, guide):
        super().__init__()
        self.guide = guide

    def forward(self, x):
        return self.guide(x - x.mean(0) if len(x) == 5 else x)


def test_another_number_is_refused_and_leaves_no_file(tmp_path):
    run = CASES["vae"]()
    run.guide = Centred(run.guide)
    with pytest.raises((RunError, ContractError), match=r"Use run\.encode|use run\.encode"):
        run.export(tmp_path / "encoder.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_posterior_without_a_mean_is_refused(tmp_path):
    import pyro
    import pyro.distributions as dist
    from pyro.distributions.transforms import SigmoidTransform

    from ppvae.programs import data_plate

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(144, 2)

        def forward(self, x):
            with data_plate(x):
                base = dist.Normal(self.net(x.flatten(1)), 1.0)
                flow = dist.TransformedDistribution(base, [SigmoidTransform()]).to_event(1)
                return pyro.sample("z", flow)

    run = CASES["vae"]()
    run.guide = Guide()
    with pytest.raises(ContractError, match=r"no mean in closed form. Use run\.encode"):
        run.export(tmp_path / "encoder.pt2")


@pytest.mark.skipif(not ONNX, reason="needs the extra onnx")
def test_onnx_gives_the_same_numbers(tmp_path):
    import onnxruntime

    run = CASES["vae"]()
    path = run.export(tmp_path / "encoder.onnx")
    x = pictures(3)
    (got,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.as_tensor(got), run.encode({"x": x})["z"])


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'ppvae\[onnx\]'"):
        CASES["vae"]().export(tmp_path / "encoder.onnx")
