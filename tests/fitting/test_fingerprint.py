"""Fingerprints of data: another value, name, order or dtype is seen, also in the last row."""

from __future__ import annotations

import torch

from ppvae.data import Dataset
from ppvae.fitting.fingerprint import ROWS, fingerprint


def test_a_fingerprint_tells_data_apart():
    x = torch.randn(20, 3)
    base = fingerprint(Dataset({"x": x, "y": torch.arange(20)}))
    assert base == fingerprint(Dataset({"y": torch.arange(20), "x": x.clone()}))
    other = x.clone()
    other[-1, -1] += 1e-6
    for changed in (
        {"x": other, "y": torch.arange(20)},
        {"x": x.flip(0), "y": torch.arange(20)},
        {"x": x.float(), "y": torch.arange(20)},
        {"x": x},
    ):
        assert fingerprint(Dataset(changed)) != base


def test_a_fingerprint_of_many_rows_looks_at_the_last_one(monkeypatch):
    monkeypatch.setattr("ppvae.fitting.fingerprint.WHOLE", 0)
    x = torch.zeros(2 * ROWS, 1)
    base = fingerprint(Dataset({"x": x}))
    x[-1] = 1.0
    assert fingerprint(Dataset({"x": x})) != base
