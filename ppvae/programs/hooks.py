"""The calls that training makes to the modules of a model, a guide and a term, and when."""

from __future__ import annotations

from collections.abc import Mapping

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppvae.data.mapped import Columns

__all__ = ["FitHooks", "hooks_of", "needs_index"]


class FitHooks(nn.Module):
    """Base class of modules that take part in training beyond their ``forward``.

    Examples: a GP prior that stores the training data's encodings, a guide that checks all labels
    before the first step, a term that counts the data. Only instances of this class are called;
    every method does nothing by default. A module's sub-modules are called before it.

    =========== ================================ ===============================================
    method      called by                        when
    =========== ================================ ===============================================
    ``check``   :func:`ppvae.fit`                before the first step, for the validation and the
                                                 test data
    ``prepare`` :func:`ppvae.fit`                once, before the first step
    ``record``  :class:`~ppvae.objectives.`      at each training step whose batch has the column
                ``Objective.evaluate``           ``index``, after the guide and before the model;
                                                 inside what is traced and compiled
    ``advance`` ``Objective.advance``            after each optimiser step, outside the graph
    ``settle``  :func:`ppvae.fit`                before each evaluation and after the last step,
                                                 in evaluation mode, without gradients
    ``caution`` :func:`ppvae.fit`                once, at its end
    =========== ================================ ===============================================

    A training loop of your own makes the same calls: ``prepare`` before its first step and
    ``objective.advance()`` after each.

    Attributes:
        standardizes: Columns of factors that the module itself brings to the size that networks
            train with; :func:`ppvae.fit` warns of others in units far from it.
    """

    standardizes: tuple[str, ...] = ()

    def check(self, data: Columns) -> None:
        """Refuse data that cannot be evaluated or predicted.

        Arguments:
            data: Columns by name of data other than the training data; any may be missing.
        """

    def prepare(self, data: Columns) -> None:
        """Read the training data.

        Arguments:
            data: The training :class:`~ppvae.data.Dataset`, on the modules' device.
        """

    def record(self, index: Tensor, posteriors: Mapping[str, TorchDistribution]) -> None:
        """Store what the module needs of a batch's encodings.

        Arguments:
            index: Row numbers in the training data, with shape (N).
            posteriors: The guide's distribution by latent site, with batch shape (..., N).
        """

    def advance(self) -> None:
        """Do the work that is due between two optimiser steps."""

    def settle(self, guide: nn.Module, data: Columns) -> None:
        """Update the state that predictions need, without changing a parameter.

        Arguments:
            guide: The variational program.
            data: The training data, as in :meth:`prepare`.
        """

    def caution(self) -> str:
        """What a user should know of the trained module, in sentences; empty for nothing."""
        return ""


def hooks_of(*modules: nn.Module) -> list[FitHooks]:
    """The :class:`FitHooks` among modules and their sub-modules, each once, sub-modules first."""
    hooks: dict[int, FitHooks] = {}

    def visit(module: nn.Module) -> None:
        for part in module.children():
            visit(part)
        if isinstance(module, FitHooks):
            hooks.setdefault(id(module), module)

    for module in modules:
        visit(module)
    return list(hooks.values())


def needs_index(*modules: nn.Module) -> bool:
    """Whether a sub-module overrides :meth:`FitHooks.record`, which needs the column ``index``."""
    return any(type(hook).record is not FitHooks.record for hook in hooks_of(*modules))
