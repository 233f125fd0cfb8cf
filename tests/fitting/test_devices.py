"""Devices, and what they compute slowly."""

import logging

import pytest
import torch

from ppvae.fitting.devices import emulates_bfloat16
from tests.fitting.test_fit import pair, quiet

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("has", "emulated"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, True),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, False),
        ({"neon": True, "bf16": True}, False),
        ({"neon": True, "bf16": False}, True),
        ({}, False),
    ],
)
def test_processors_without_instructions_for_bfloat16(monkeypatch, has, emulated):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert emulates_bfloat16(CPU) is emulated


def test_a_torch_that_does_not_say_what_the_processor_has(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not emulates_bfloat16(CPU)


@pytest.mark.parametrize("emulated", [True, False])
def test_the_log_warns_of_slow_steps(monkeypatch, caplog, emulated):
    monkeypatch.setattr("ppvae.fitting.prepare.emulates_bfloat16", lambda device: emulated)
    model, guide = pair()
    with caplog.at_level(logging.WARNING, "ppvae"):
        quiet(model.float(), guide.float(), precision=torch.bfloat16)
        quiet(*(module.float() for module in pair()))
    assert caplog.text.count("Leave precision out") == emulated
