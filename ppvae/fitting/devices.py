"""The choice of a device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ppvae.expected import expect_device

__all__ = ["choose_device", "emulates_bfloat16"]


def choose_device(device: str | torch.device | None, module: nn.Module) -> torch.device:
    """An available device; by default the best one: CUDA, then MPS, then the CPU.

    MPS has no float64, so that it is no default for a module with float64 tensors, such as a GP
    prior.

    Raises:
        ArgumentError: If there is no such device.
    """
    if device is None:
        double = any(
            tensor.dtype == torch.float64 for tensor in (*module.parameters(), *module.buffers())
        )
        if torch.cuda.is_available():
            device = "cuda"
        else:
            device = "mps" if torch.backends.mps.is_available() and not double else "cpu"
    return expect_device(device)


def emulates_bfloat16(device: torch.device) -> bool:
    """Whether a device has no instructions for bfloat16 products, which then take much longer.

    False where torch does not say what the processor has.
    """
    if device.type == "cuda":
        return not torch.cuda.is_bf16_supported(including_emulation=False)
    has: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if device.type != "cpu" or not has:
        return False
    return not any(value is True for name, value in has.items() if "bf16" in name)
