"""What a fitted pair says of data: posterior means of latents, and means decoded from them.

Encoding and decoding do not draw at random: the same data give the same numbers twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ppvae.programs.contract import arguments, signature
from ppvae.programs.scopes import evaluating

__all__ = ["decode", "encode", "posterior"]


class _AtMean(Messenger):
    """Puts each distribution's mean in place of a draw; the mode where it has no mean."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"] or not hasattr(msg["fn"], "batch_shape"):
            return
        fn = msg["fn"]
        discrete = fn.has_enumerate_support
        msg["value"] = fn.mode if discrete else fn.mean
        msg["done"] = True


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
