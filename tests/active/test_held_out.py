"""What a deep kernel's members hold out of their training, and that it makes them honest."""

from __future__ import annotations

import pytest
import torch

from ppvae.active import deep
from ppvae.nets import ResidualEmbedding
from ppvae.zoo.surrogates import deep_kernel_surrogate

N = 36


def noise_alone():
    """Measurements that nothing can predict, and 200 places of the same kind."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(N + 200, 12, generator=generator)
    return x, torch.randn(N + 200, 1, generator=generator)


def coverage(x, y, ensemble):
    model = deep_kernel_surrogate(
        x, ensemble=ensemble, dim=4, components=12, first_steps=100, seed=1
    )
    model.fit(x[:N], y[:N])
    mean, variance = model.marginals(x[N:])
    scale = (variance + model.noise_variance()).sqrt()
    return float(((y[N:] - mean).abs() < 1.645 * scale).double().mean())


@pytest.mark.parametrize("ensemble", [1, 3])
def test_intervals_are_right_where_there_is_nothing_to_learn(ensemble):
    assert coverage(*noise_alone(), ensemble) > 0.7


def test_a_member_does_not_train_on_what_it_holds_out():
    x, y = noise_alone()
    trained = []
    for change in (0.0, 1e-3):
        model = deep_kernel_surrogate(x, ensemble=1, dim=4, components=12, first_steps=10, seed=1)
        changed = y[:N].clone()
        changed[0] += change
        changed[3] -= change  # The mean and, nearly, the deviation stay.
        torch.manual_seed(0)
        model.fit(x[:N], changed)
        trained.append([p.detach().clone() for p in model.members[0].embedding.parameters()])
    gap = max(float((a - b).abs().max()) for a, b in zip(*trained, strict=True))
    assert gap < 1e-3


def test_parts_stay_when_measurements_are_added_and_repetitions_share_one():
    x, _ = noise_alone()
    rows = torch.cat([x[:5], x[1:2], x[5:8]])
    parts = deep._parts(rows, 3)
    assert parts.tolist() == [0, 1, 2, 0, 1, 1, 0, 1, 2]
    assert torch.equal(deep._parts(rows[:6], 3), parts[:6])


def test_an_embedding_without_parameters_holds_nothing_out(monkeypatch):
    x, y = noise_alone()
    judged = []
    density = deep._density

    def noted(gp, batch, held):
        judged.append(int(held.sum()))
        return density(gp, batch, held)

    monkeypatch.setattr(deep, "_density", noted)
    model = deep_kernel_surrogate(x, embedding="components", dim=4, components=12, first_steps=10)
    model.fit(x[:9], y[:9])
    assert set(judged) == {9}
    judged.clear()
    fixed = ResidualEmbedding(x, 4, components=12)
    model = deep_kernel_surrogate(x, embedding=fixed, dim=4, first_steps=10)
    model.fit(x[:9], y[:9])
    assert set(judged) == {3}
