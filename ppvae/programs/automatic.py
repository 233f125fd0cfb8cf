"""Special treatment of Pyro's automatic guides (:mod:`pyro.infer.autoguide`).

They create their parameters in their first run, from a trace of the model. Their parameters belong
to sites: one value for a global site, and one per row of the batch for a site in the data plate.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from pyro.infer.autoguide import (
    AutoCallable,
    AutoGuide,
    AutoGuideList,
    AutoLaplaceApproximation,
)
from pyro.poutine.guide import GuideMessenger
from torch import nn

from ppvae.errors import ContractError
from ppvae.programs.sites import DATA_PLATE

__all__ = [
    "check_rows",
    "copied",
    "program_of",
    "refuse_unsuitable",
    "unprepared",
    "with_models",
]

T = TypeVar("T")


def program_of(guide: AutoGuide) -> nn.Module | None:
    """The model of an automatic guide, without the handlers around it; None for a copied guide.

    Arguments:
        guide: An automatic guide.
    """
    model: Any = (guide._model or (None,))[0]
    while isinstance(model, partial):
        model = model.args[-1]
    return model if isinstance(model, nn.Module) else None


def with_models(module: nn.Module) -> Iterator[nn.Module]:
    """A module and its parts, and those of the models that automatic guides run but do not own."""
    for part in module.modules():
        yield part
        for model in getattr(part, "_model", None) or ():
            while isinstance(model, partial):
                model = model.args[-1]
            if isinstance(model, nn.Module):
                yield from model.modules()


def unprepared(*modules: nn.Module) -> list[str]:
    """The automatic guides among modules and their parts that have not run yet, by class name."""
    return [
        type(part).__name__
        for part in _automatic(*modules)
        if part.prototype_trace is None and not isinstance(part, AutoCallable)
    ]


def refuse_unsuitable(guide: nn.Module) -> None:
    """Refuse an automatic guide that runs the model itself, or that is a point after training.

    ``AutoLaplaceApproximation`` is trained as a point; the covariance comes from a further call
    after that, so that every evaluation of the trained guide would have a width of zero.

    Raises:
        ContractError: If the guide is one, or has one as its part.
    """
    if any(isinstance(part, AutoLaplaceApproximation) for part in _automatic(guide)):
        raise ContractError(
            "guide AutoLaplaceApproximation: expected a guide with a width after training; got "
            "one that is a point until its laplace_approximation is called. Use "
            "AutoMultivariateNormal, or AutoDelta for a point."
        )
    if isinstance(guide, GuideMessenger):
        raise ContractError(
            f"guide {type(guide).__name__}: expected a program of the latent sites alone; got one "
            "that runs the model. Use one of the other automatic guides, such as AutoNormal."
        )


def check_rows(guide: nn.Module) -> None:
    """Refuse automatic guides for latents per datum, where training goes by batches.

    Such a guide learns a value for each row of the first batch, by the row's position, and uses
    the same values for every other batch.

    Arguments:
        guide: The variational program; parts that have not run yet are passed over.

    Raises:
        ContractError: If the guide or a part of it is automatic and has a latent site in the data
            plate.
    """
    for part in _automatic(guide):
        own = not isinstance(part, AutoGuideList | AutoCallable)
        if own and part.prototype_trace is not None and DATA_PLATE in part._prototype_frames:
            raise ContractError(
                f"guide {type(part).__name__}: expected latent sites outside the data plate; got "
                "one inside, for which it learns a value per row of the batch, while ppvae.fit "
                "draws other rows at each step. Use a guide that takes the data, such as "
                "ppvae.guides.AmortizedGuide, or train on all rows in one order with "
                "pyro.infer.SVI."
            )


def copied(modules: T, *, shared: Iterable[object] = ()) -> T:
    """A deep copy of modules in which automatic guides keep their models.

    Arguments:
        modules: A module, or a tuple of modules.
        shared: Objects that the copy has in common with them.
    """
    parts: Any = modules if isinstance(modules, tuple) else (modules,)
    guides = _automatic(*(part for part in parts if isinstance(part, nn.Module)))
    models = [guide._model for guide in guides]
    try:
        return copy.deepcopy(modules, {id(one): one for one in shared})
    finally:
        for guide, model in zip(guides, models, strict=True):
            guide._model = model  # Pyro drops it when a guide is copied.


def _automatic(*modules: nn.Module) -> list[Any]:
    return [part for module in modules for part in module.modules() if isinstance(part, AutoGuide)]
