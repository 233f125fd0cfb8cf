"""What a fitted pair says of data: posterior means of latents, and means decoded from them.

Encoding and decoding do not draw at random: the same data give the same numbers twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppvae.contract import arguments, forked_rng, signature
from ppvae.data import Dataset, as_splits

__all__ = [
    "batch_for",
    "batches",
    "decode",
    "encode",
    "evaluating",
    "placement",
    "posterior",
    "seeded",
]


class _AtMean(Messenger):
    """Puts each distribution's mean in place of a draw; the mode where it has no mean."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"] or not hasattr(msg["fn"], "batch_shape"):
            return
        fn = msg["fn"]
        discrete = fn.has_enumerate_support
        msg["value"] = fn.mode if discrete else fn.mean
        msg["done"] = True


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, each sub-module's own mode restored after."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def seeded(seed: int, *tensors: Tensor) -> Iterator[None]:
    """Random numbers of this seed; the caller's generators are as they were after."""
    with forked_rng(*tensors):
        torch.manual_seed(seed)
        yield


def placement(module: nn.Module) -> Tensor:
    """An empty tensor of the dtype and on the device that a module's batches must have."""
    parameters = (p for p in module.parameters() if p.is_floating_point())
    like = next(parameters, None)
    return torch.empty(0) if like is None else like.new_empty(0)


def batch_for(module: nn.Module, data: Dataset, rows: Any = slice(None)) -> dict[str, Tensor]:
    """Rows of a dataset, all by default, with the dtype and on the device that ``module`` has."""
    like = placement(module)
    return data.batch(rows, dtype=like.dtype, device=like.device)


def batches(
    module: nn.Module, data: Mapping[str, Any], batch_size: int
) -> Iterator[dict[str, Tensor]]:
    """The rows of ``data`` in order, as ``module`` takes them.

    Arguments:
        module: Says dtype and device.
        data: A :class:`~ppvae.data.Dataset`, or columns by name.
        batch_size: Rows at a time.

    Raises:
        ValueError: If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: expected an integer >= 1; got {batch_size}. Use 128.")
    columns: Dataset = as_splits(data).train
    for start in range(0, columns.num_rows, batch_size):
        rows = slice(start, min(start + batch_size, columns.num_rows))
        yield batch_for(module, columns, rows)


def _latent_sites(guide: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    with evaluating(guide), _AtMean():
        trace = poutine.trace(guide).get_trace(**arguments(guide, batch))
    return {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample"
        and not node["is_observed"]
        and hasattr(node["fn"], "batch_shape")
    }


def posterior(guide: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """The guide's distribution of each latent site, those before it at their means."""
    return {name: node["fn"] for name, node in _latent_sites(guide, batch).items()}


def encode(guide: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The posterior mean of each latent site, with shape (N, ...).

    Of a class y it is the mode, with shape (N), and its probabilities (N, K) stand beside it as
    ``y_probs``.
    """
    encoded = {}
    for name, node in _latent_sites(guide, batch).items():
        encoded[name] = node["value"]
        if node["fn"].has_enumerate_support:
            encoded[f"{name}_probs"] = node["fn"].probs
    return encoded


def decode(
    model: nn.Module,
    latents: Mapping[str, Tensor],
    *,
    columns: Mapping[str, Tensor] | None = None,
    site: str = "x",
) -> dict[str, Tensor]:
    """The mean of the observed site at these latents, by name, with shape (N, ...).

    Arguments:
        model: The generative program.
        latents: Latent sites by name, as :func:`encode` returns them, each with shape (N, ...).
        columns: Known columns that the model takes, by name.
        site: The observed site.
    """
    batch: dict[str, Any] = {
        name: value for name, value in (columns or {}).items() if name != site
    }
    if "size" in signature(model):
        batch["size"] = len(next(iter(latents.values())))
    with evaluating(model), poutine.condition(data=dict(latents)), _AtMean():
        trace = poutine.trace(model).get_trace(**arguments(model, batch))
    fn: Any = trace.nodes[site]["fn"]
    return {site: fn.mean}
