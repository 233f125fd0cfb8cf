"""The observed column of an entry: its likelihood by name, and the handling of missing values.

The names of likelihoods are those of the command line; ``auto`` is chosen from the data:

- 0 and 1 alone: ``bernoulli``;
- in [0, 1]: for images ``bernoulli`` where most values are near 0 or 1, else ``normal``;
  ``continuous-bernoulli`` for others;
- whole numbers from 0, some above 1: ``negative-binomial``;
- any others: ``normal-per-feature``, with a location, a unit and a learned scale for each feature
  of a table, and one unit for all pixels of an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ppvae.data import Splits
from ppvae.data.values import describe_values
from ppvae.errors import ArgumentError
from ppvae.nets import LogCounts, MaskedEncoder, Standardized, heads, masked_shape
from ppvae.typing import ColumnSpec, Keywords, Spec
from ppvae.zoo.options import Options
from ppvae.zoo.parts import LIKELIHOODS, UNITS

__all__ = ["LIKELIHOODS", "Observed", "chosen_likelihood", "likelihood", "resolved"]

COUNTS = ("poisson", "negative-binomial", "zero-inflated")
# Standard deviation of an image's intensities, as a share of that of binary ones with their mean,
# below which a Bernoulli likelihood's noise would hide them, and latents be left unused.
BINARY = 0.5
# Initial scale of a normal likelihood: of numbers, and of pixels, whose residuals are smaller; a
# scale moves by no more than the learning rate per step.
NUMBERS, PIXELS = 0.3, 0.1
# Likelihoods that take numbers as they are, and the sizes that a fit can reach from its start.
AS_THEY_ARE = ("normal", "normal-per-pixel", "laplace")
SMALL, LARGE = 0.01, 30.0


def likelihood(
    name: str,
    event_shape: tuple[int, ...],
    *,
    library: tuple[float, float] | None = None,
    units: tuple[Tensor, Tensor] | None = None,
    per_datum: bool = False,
    pixels: bool = False,
) -> heads.Head:
    """A likelihood head by its name on the command line.

    Arguments:
        name: One of :data:`LIKELIHOODS`, except auto.
        event_shape: Shape of a datum.
        library: Library of counts, as for :class:`ppvae.nets.heads.Poisson`.
        units: Mean and standard deviation of each feature: center and unit of a
            normal-per-feature, and where the shares and dispersions of counts start.
        per_datum: Whether the dispersion of counts differs by datum.
        pixels: Whether the values are intensities in [0, 1], whose scale starts smaller.

    Raises:
        ArgumentError: If ``name`` is auto, or zero-inflated without a library.
    """
    if name == "zero-inflated" and library is None:
        raise ArgumentError(
            "likelihood: expected counts (whole numbers from 0, some above 1) for zero-inflated; "
            "got other values. Use --likelihood auto."
        )
    center, unit = units or (None, None)
    start = PIXELS if pixels else NUMBERS
    shares: Tensor | None = None
    log_theta: Tensor | None = None
    if center is not None and unit is not None and library is not None:
        mean = center.clamp_min(1e-4 * float(center.mean()) + 1e-12).expand(event_shape)
        shares = mean.log()
        theta = mean.square() / (unit.square().expand(event_shape) - mean).clamp_min(1e-6)
        log_theta = theta.clamp(0.05, 20.0).log()
    makers: dict[str, Callable[[], heads.Head]] = {
        "bernoulli": lambda: heads.Bernoulli(event_shape),
        "continuous-bernoulli": lambda: heads.ContinuousBernoulli(event_shape),
        "normal": lambda: heads.Normal(event_shape, heads.Shared(start)),
        "normal-per-pixel": lambda: heads.Normal(event_shape, heads.PerElement(start)),
        UNITS: lambda: heads.Normal(
            event_shape, heads.Shared(shape=event_shape), center=center, unit=unit
        ),
        "laplace": lambda: heads.Laplace(event_shape),
        "poisson": lambda: heads.Poisson(event_shape, library=library, center=shares),
        "negative-binomial": lambda: heads.NegativeBinomial(
            event_shape,
            library=library,
            center=shares,
            log_theta=log_theta,
            per_datum=per_datum,
        ),
        "zero-inflated": lambda: heads.ZeroInflatedNegativeBinomial(
            event_shape,
            library=library or (0.0, 0.0),
            center=shares,
            log_theta=log_theta,
            per_datum=per_datum,
        ),
    }
    if name not in makers:
        raise ArgumentError(
            f"likelihood: expected one of {', '.join(makers)}; got {name!r}, which ppvae fit "
            "chooses from the data. Name one."
        )
    return makers[name]()


@dataclass(frozen=True)
class Observed:
    """The description of a column that networks are built from.

    Attributes:
        shape: Shape of a datum.
        missing: Whether some values are missing (NaN): not scored, and masked at the encoder.
        library: Mean and standard deviation of the logarithm of the totals; counts only.
        likelihood: Name of its likelihood; None for a column that is an input only.
        units: Mean and standard deviation of each feature, for a likelihood that uses them.
        pixels: Whether the values are intensities stored as bytes, 0 to 255 for [0, 1].
    """

    shape: tuple[int, ...]
    missing: bool = False
    library: tuple[float, float] | None = None
    likelihood: str | None = None
    units: tuple[Tensor, Tensor] | None = None
    pixels: bool = False

    @classmethod
    def of(cls, spec: Spec, likelihood: str | None, column: str = "x") -> Observed:
        """The description of a column in a dataset's spec."""
        facts = spec[column]
        library = facts.get("library")
        units = None
        if likelihood in (UNITS, *COUNTS) and "mean" in facts:
            center, unit = torch.tensor(facts["mean"]), torch.tensor(facts["sd"])
            units = center, torch.where(unit > 0, unit, torch.ones_like(unit))
        return cls(
            tuple(facts["shape"]),
            bool(facts.get("missing")),
            None if library is None else (library[0], library[1]),
            likelihood,
            units,
            facts.get("dtype") == "uint8",
        )

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """Shape of an encoder's input, including the mask."""
        return masked_shape(self.shape) if self.missing else self.shape

    def scored(self, head: heads.Head) -> heads.Head:
        """The likelihood head; missing values, if there are any, are left out of its density."""
        return heads.Masked(head) if self.missing else head

    def head(self, *, per_datum: bool = False) -> heads.Head:
        """The likelihood's head; of counts, the dispersion may differ by datum."""
        named = likelihood(
            self.likelihood or "",
            self.shape,
            library=self.library,
            units=self.units,
            per_datum=per_datum,
            pixels=self.pixels,
        )
        return self.scored(named)

    def encoder(self, network: nn.Module) -> nn.Module:
        """A network that takes :attr:`seen_shape`, as an encoder of the data."""
        if self.missing:
            network = MaskedEncoder(network, event_dim=len(self.shape))
        if self.units is not None and self.likelihood == UNITS:
            network = Standardized(network, *self.units)
        if self.library is not None and self.likelihood in COUNTS:
            network = LogCounts(network)
        return network


def chosen_likelihood(splits: Splits) -> tuple[str, str]:
    """The likelihood that suits the training data, and the reason."""
    x = splits.train["x"]
    values = describe_values(x)
    if values.binary:
        return "bernoulli", "all values are 0 or 1"
    if values.low >= 0 and values.high <= 1:
        if x.ndim == 4:
            mean, sd = values.mean[0], values.sd[0]
            if sd < BINARY * math.sqrt(mean * (1 - mean)):
                return "normal", f"images with intensities of {mean:.2g} +- {sd:.2g}"
            return "bernoulli", "images with intensities in [0, 1]"
        return "continuous-bernoulli", "all values are in [0, 1]"
    span = f"values from {values.low:g} to {values.high:g}"
    if values.is_count:
        return "negative-binomial", f"whole numbers from 0, {span}"
    return UNITS, span


def resolved(splits: Splits, options: Options) -> tuple[dict[str, ColumnSpec], Options, str]:
    """The data's spec, the options with auto resolved, and a sentence on what was chosen.

    Arguments:
        splits: The data that are fitted.
        options: The entry's options; those without ``likelihood`` stay as they are.
    """
    spec = splits.spec
    name = getattr(options, "likelihood", None)
    sentence = ""
    if name == "auto":
        name, reason = chosen_likelihood(splits)
        changed: Keywords = {"likelihood": name}
        options = replace(options, **changed)
        sentence = f"likelihood: {name} ({reason}); --likelihood names another"
    elif name in AS_THEY_ARE:
        sentence = _doubt(splits, name)
    if spec["x"].get("missing"):
        parts = [sentence] if sentence else []
        sentence = "; ".join(
            [*parts, "x: missing values are not scored, and imputed by the model"]
        )
    if name == UNITS or (name in COUNTS and "library" in spec["x"]):
        values = describe_values(splits.train["x"])
        spec["x"] |= {"mean": list(values.mean), "sd": list(values.sd)}
    return spec, options, sentence


def _doubt(splits: Splits, name: str) -> str:
    """A sentence on numbers too large or too small for a likelihood; empty where they fit."""
    values = describe_values(splits.train["x"])
    size = max(abs(values.low), abs(values.high))
    if size <= LARGE and max(values.sd) >= SMALL:
        return ""
    return (
        f"likelihood: {name} takes x as it is, with values from {values.low:g} to "
        f"{values.high:g}, and starts near 0 with a scale near 1: a fit may not get there; "
        f"--likelihood {UNITS} gives each feature its own location and unit"
    )
