"""Encoder-decoders: x predicted from another modality, with its spread."""

from __future__ import annotations

import pyro
import torch
from pyro import poutine

from ppvae.models import Translation
from tests.pairs import N, build


def test_a_translation_is_the_guides_latents_through_the_decoder():
    pair = build("ved")
    program = Translation(pair.model, pair.guide)
    with torch.no_grad():
        nodes = [
            poutine.trace(program).get_trace(source=pair.batch["source"]).nodes for _ in range(400)
        ]
        q = pair.guide.encoder(pair.batch["source"])
        expected = pair.model.decoder(q.rsample((400,))).mean.mean(0)
    z = torch.stack([n["z"]["value"] for n in nodes])
    mean = torch.stack([n["x"]["fn"].mean for n in nodes]).mean(0)
    assert nodes[0]["x"]["value"].shape == (N, 1, 16)
    torch.testing.assert_close(z.mean(0), q.mean, atol=0.3, rtol=0)
    torch.testing.assert_close(mean, expected, atol=0.05, rtol=0)


def test_it_leaves_the_pair_alone():
    pair = build("ved")
    before = [v.clone() for v in pair.model.state_dict().values()]
    Translation(pair.model, pair.guide)(source=pair.batch["source"])
    assert all(
        torch.equal(a, b) for a, b in zip(before, pair.model.state_dict().values(), strict=True)
    )
    assert len(pyro.get_param_store()) == 0
