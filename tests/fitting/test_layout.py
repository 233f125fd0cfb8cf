"""How weights lie in memory while they are trained, and that nobody sees it afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppvae.data import Dataset, Splits
from ppvae.fitting import Checkpoint, fit
from ppvae.fitting.layout import align_state, channels_last, same_layout
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import ConvDecoder, ConvEncoder, heads

SHAPE = (2, 6, 6)


def pair(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = ConvDecoder(2, heads.Bernoulli(SHAPE), channels=[4])
        encoder = ConvEncoder(SHAPE, heads.DiagonalNormal(2), channels=[4], hidden=8)
        return VAE(decoder, latent_dim=2), AmortizedGuide(encoder)


def quiet(pair, **options):
    x = torch.rand(12, *SHAPE, generator=torch.Generator().manual_seed(0))
    options = {"epochs": 4, "batch_size": 4, "seed": 0, "progress": False, **options}
    return fit(*pair, Splits(Dataset({"x": x})), learning_rate=0.02, **options)


def convolutions(*modules: nn.Module) -> list[torch.Tensor]:
    found = [m.weight for top in modules for m in top.modules() if isinstance(m, nn.Conv2d)]
    assert found
    return found


class Look:
    """Notes whether weights and all that goes with them lie channels last, and the losses."""

    def __init__(self, *modules: nn.Module) -> None:
        self.weights = convolutions(*modules)
        self.seen = []

    def on_epoch_end(self, training):
        states = [training.optimizer.state[w]["exp_avg"] for w in self.weights]
        self.seen += [
            t.is_contiguous(memory_format=torch.channels_last) for t in (*self.weights, *states)
        ]


def test_channels_last_while_training_and_never_afterwards():
    made = pair()
    identities = [id(p) for m in made for p in m.parameters()]
    look = Look(*made)
    quiet(made, callbacks=[look])
    assert look.seen
    assert all(look.seen)
    assert all(p.is_contiguous() for m in made for p in m.parameters())
    assert [id(p) for m in made for p in m.parameters()] == identities


def test_it_changes_no_result(monkeypatch):
    ours, theirs = pair(), pair()
    quiet(ours)
    monkeypatch.setattr("ppvae.fitting.layout._KINDS", ())
    quiet(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.state_dict(), b.state_dict())


def test_a_run_of_convolutions_goes_on_where_it_stopped(tmp_path):
    class Stop:
        def on_epoch_end(self, training):
            training.stop = training.epoch == 2

    whole, part, rest = pair(), pair(), pair(1)
    quiet(whole)
    quiet(part, callbacks=[Stop(), Checkpoint(tmp_path / "c")])
    look = Look(*rest)
    quiet(rest, resume=tmp_path / "c", callbacks=[look])
    assert all(look.seen)
    for a, b in zip(whole, rest, strict=True):
        for name, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[name])


def test_an_optimisers_state_is_laid_out_as_its_weights():
    weight = nn.Parameter(torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam([weight])
    moment = torch.randn(4, 3, 3, 3)
    optimizer.state[weight] = {"step": torch.tensor(1.0), "exp_avg": moment}
    assert not same_layout(moment, weight)
    align_state(optimizer)
    assert same_layout(optimizer.state[weight]["exp_avg"], weight)
    assert torch.equal(optimizer.state[weight]["exp_avg"], moment)


def test_the_layout_is_put_back_after_an_error():
    made = pair()[0]

    def fail():
        with channels_last(made):
            assert not convolutions(made)[0].is_contiguous()
            raise KeyError

    pytest.raises(KeyError, fail)
    assert all(w.is_contiguous() for w in convolutions(made))
